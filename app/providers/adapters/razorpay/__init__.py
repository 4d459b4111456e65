"""Razorpay: payment links."""

from app.providers.adapters.razorpay.razorpay_adapter import RazorpayAdapter

__all__ = ["RazorpayAdapter"]
