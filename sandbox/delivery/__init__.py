"""Delivery of webhooks and steps of scripts by background threads."""
