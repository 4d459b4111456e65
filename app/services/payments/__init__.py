"""Payments: made, settled, called out to providers, read."""
