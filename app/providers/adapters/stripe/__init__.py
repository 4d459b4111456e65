"""Stripe: Checkout Sessions."""

from app.providers.adapters.stripe.stripe_adapter import StripeAdapter

__all__ = ["StripeAdapter"]
