"""Webhook endpoints of tenants, and deliveries of notifications to them: claimed, sent, settled, repeated."""
