"""Adyen: payment links."""

from app.providers.adapters.adyen.adyen_adapter import AdyenAdapter

__all__ = ["AdyenAdapter"]
