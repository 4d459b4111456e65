"""Celery and its broker: application, transport, URLs, queue lengths."""
