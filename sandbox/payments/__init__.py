"""Merchants and their payments; a change of a payment stores its webhooks in the same transaction."""
