"""Webhooks: received, claimed, translated, settled."""
