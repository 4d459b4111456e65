"""The adapter of Mollie."""

from app.providers.adapters.mollie.mollie_adapter import MollieAdapter

__all__ = ["MollieAdapter"]
