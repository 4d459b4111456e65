"""Celery and its broker."""
