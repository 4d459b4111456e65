"""Paystack: transactions."""

from app.providers.adapters.paystack.paystack_adapter import PaystackAdapter

__all__ = ["PaystackAdapter"]
