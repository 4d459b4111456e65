"""GoCardless: billing requests."""

from app.providers.adapters.gocardless.gocardless_adapter import GoCardlessAdapter

__all__ = ["GoCardlessAdapter"]
