"""What loads the product and answers it: HTTP clients, browsers, a provider."""
