"""Authentication of callers and of webhook senders."""
