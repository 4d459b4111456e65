"""Stripe's objects, made of the sandbox's payment. Ids of one payment share their digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.values import timestamps

SESSION = "cs_test_"
_EVIDENCE_SECONDS = 7 * 86_400
_SESSION_STATUS = {"open": "open", "cancelled": "expired", "expired": "expired"}
_REFUND_STATUS = {"done": "succeeded", "pending": "pending", "failed": "failed"}
_DISPUTE_STATUS = {"open": "needs_response", "won": "won", "lost": "lost"}

# Returns the sandbox's minor units in Stripe's.
Scale = Callable[[int, str], int]


def payment_id(payment: ProviderPayment, prefix: str) -> str:
    """Return the id of the payment's intent or charge."""
    return prefix + payment.reference.rpartition("_")[2]


def session(payment: ProviderPayment, redirect_url: str, scale: Scale) -> dict[str, Any]:
    """Return the Checkout Session."""
    status = _SESSION_STATUS.get(payment.status, "complete")
    began = status == "complete" or payment.error_message is not None
    amount = _amount(payment, scale)
    return {
        "id": payment.reference,
        "object": "checkout.session",
        "amount_subtotal": amount,
        "amount_total": amount,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "cancel_url": payment.failure_url,
        "client_reference_id": payment.request.get("client_reference_id"),
        "created": timestamps.to_epoch(payment.created_at),
        "currency": _currency(payment),
        "custom_fields": [],
        "custom_text": dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")),
        "customer": None,
        "customer_email": payment.request.get("email"),
        "expires_at": timestamps.to_epoch(payment.expires_at or payment.created_at),
        "livemode": False,
        "metadata": payment.metadata,
        "mode": "payment",
        "payment_intent": payment_id(payment, "pi_") if began else None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "payment_status": "paid" if payment.status in ("paid", "underpaid") else "unpaid",
        "shipping_options": [],
        "status": status,
        "success_url": payment.success_url,
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": redirect_url if status == "open" else None,
    }


def intent(payment: ProviderPayment, scale: Scale) -> dict[str, Any]:
    """Return the payment intent after an attempt that was declined."""
    message = payment.error_message or "Your card was declined."
    error = {"code": "card_declined", "decline_code": "generic_decline", "message": message, "type": "card_error"}
    return {
        "id": payment_id(payment, "pi_"),
        "object": "payment_intent",
        "amount": scale(payment.amount_minor, payment.currency),
        "amount_received": 0,
        "created": timestamps.to_epoch(payment.created_at),
        "currency": payment.currency.lower(),
        "last_payment_error": error,
        "livemode": False,
        "metadata": payment.request.get("intent_metadata", {}),
        "status": "requires_payment_method",
    }


def charge(payment: ProviderPayment, scale: Scale) -> dict[str, Any]:
    """Return the charge of a paid session; what was refunded is a total."""
    refunded = payment.refunded_minor
    currency = payment.received_currency or payment.currency
    return {
        "id": payment_id(payment, "ch_"),
        "object": "charge",
        "amount": _amount(payment, scale),
        "amount_captured": _amount(payment, scale),
        "amount_refunded": scale(refunded, currency),
        "billing_details": dict.fromkeys(("address", "email", "name", "phone", "tax_id")),
        "captured": True,
        "created": timestamps.to_epoch(payment.created_at),
        "currency": _currency(payment),
        "disputed": payment.disputed_minor > 0,
        "livemode": False,
        "metadata": payment.request.get("intent_metadata", {}),
        "paid": True,
        "payment_intent": payment_id(payment, "pi_"),
        "refunded": refunded > 0 and refunded == payment.received_minor,
        "status": "succeeded",
    }


def refund(payment: ProviderPayment, back: MoneyBack, scale: Scale) -> dict[str, Any]:
    """Return a refund."""
    shown = {
        "id": f"re_{back.token}",
        "object": "refund",
        "amount": scale(back.amount_minor, back.currency),
        "charge": payment_id(payment, "ch_"),
        "created": timestamps.to_epoch(back.created_at),
        "currency": back.currency.lower(),
        "metadata": back.request.get("metadata", {}),
        "payment_intent": payment_id(payment, "pi_"),
        "reason": back.request.get("reason"),
        "status": _REFUND_STATUS[back.status],
    }
    return shown | ({"failure_reason": "expired_or_canceled_card"} if back.status == "failed" else {})


def dispute(payment: ProviderPayment, back: MoneyBack, scale: Scale) -> dict[str, Any]:
    """Return a dispute."""
    created = timestamps.to_epoch(back.created_at)
    return {
        "id": f"dp_{back.token}",
        "object": "dispute",
        "amount": scale(back.amount_minor, back.currency),
        "balance_transactions": [],
        "charge": payment_id(payment, "ch_"),
        "created": created,
        "currency": back.currency.lower(),
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": created + _EVIDENCE_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": payment_id(payment, "pi_"),
        "reason": back.request.get("reason", "fraudulent"),
        "status": _DISPUTE_STATUS[back.status],
    }


def page(url: str, rows: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return a page of a list."""
    return {"object": "list", "url": url, "has_more": has_more, "data": rows}


def _amount(payment: ProviderPayment, scale: Scale) -> int:
    """Return what was received, or what was asked for while nothing was."""
    return scale(payment.received_minor or payment.amount_minor, payment.received_currency or payment.currency)


def _currency(payment: ProviderPayment) -> str:
    return (payment.received_currency or payment.currency).lower()
