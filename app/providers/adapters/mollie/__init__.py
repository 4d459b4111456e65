"""The adapter of Mollie."""
