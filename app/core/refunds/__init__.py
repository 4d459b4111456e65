"""Refunds that a tenant asks for: their states, what is left for them, and what providers report of them."""
