"""PayPal: orders that the payer approves and that we capture."""

from app.providers.adapters.paypal.paypal_adapter import PayPalAdapter

__all__ = ["PayPalAdapter"]
