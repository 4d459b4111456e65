"""The OpenAPI document and its readable form."""
