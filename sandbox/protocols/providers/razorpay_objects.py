"""Razorpay's objects, made of the sandbox's payment. Ids of one payment share their digits."""

from __future__ import annotations

from typing import Any

from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.values import timestamps

LINK = "plink_"
_RESPOND_SECONDS = 7 * 86_400
_STATUS = {"paid": "paid", "underpaid": "partially_paid", "cancelled": "cancelled", "expired": "expired"}
_REFUND_STATUS = {"pending": "pending", "done": "processed", "failed": "failed"}


def link(payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
    """Return the payment link."""
    status = status_of(payment)
    ended = timestamps.to_epoch(payment.updated_at)
    paid = {"payment_id": id_of(payment, "pay_"), "amount": payment.received_minor, "status": "captured"}
    return {
        "id": payment.reference,
        "accept_partial": payment.request.get("accept_partial", False),
        "amount": payment.amount_minor,
        "amount_paid": payment.received_minor,
        "callback_method": "get" if payment.success_url else "",
        "callback_url": payment.success_url or "",
        "cancelled_at": ended if status == "cancelled" else 0,
        "created_at": timestamps.to_epoch(payment.created_at),
        "currency": payment.received_currency or payment.currency,
        "customer": payment.request.get("customer", {}),
        "description": payment.request.get("description", ""),
        "expire_by": 0 if payment.expires_at is None else timestamps.to_epoch(payment.expires_at),
        "expired_at": ended if status == "expired" else 0,
        "first_min_partial_amount": 0,
        "notes": payment.metadata,
        "notify": {"email": False, "sms": False, "whatsapp": False},
        "order_id": id_of(payment, "order_"),
        "payments": [paid] if payment.received_minor else [],
        # A script may have given the payment another name.
        "reference_id": payment.request.get("reference_id") and payment.merchant_reference,
        "reminder_enable": False,
        "reminders": [],
        "short_url": redirect_url,
        "status": status,
        "updated_at": ended,
        "upi_link": False,
        "user_id": "",
    }


def refund(payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
    """Return a refund."""
    return {
        "id": f"rfnd_{back.token}",
        "entity": "refund",
        "amount": back.amount_minor,
        "currency": back.currency,
        "payment_id": id_of(payment, "pay_"),
        "notes": back.request.get("notes") or [],
        "receipt": back.request.get("receipt"),
        "acquirer_data": {"arn": None},
        "created_at": timestamps.to_epoch(back.created_at),
        "batch_id": None,
        "status": _REFUND_STATUS[back.status],
        "speed_processed": "normal",
        "speed_requested": "normal",
    }


def dispute(payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
    """Return a dispute."""
    created = timestamps.to_epoch(back.created_at)
    return {
        "id": f"disp_{back.token}",
        "entity": "dispute",
        "payment_id": id_of(payment, "pay_"),
        "amount": back.amount_minor,
        "currency": back.currency,
        "amount_deducted": back.amount_minor if back.status == "lost" else 0,
        "reason_code": back.request.get("reason", "fraudulent"),
        "respond_by": created + _RESPOND_SECONDS,
        "status": back.status,
        "phase": "chargeback",
        "created_at": created,
    }


def payment_of(payment: ProviderPayment) -> dict[str, Any]:
    """Return the payment of a link, or its attempt that failed."""
    is_paid = payment.received_minor > 0
    refunded = payment.refunded_minor
    return {
        "id": id_of(payment, "pay_"),
        "entity": "payment",
        "amount": payment.received_minor or payment.amount_minor,
        "currency": payment.received_currency or payment.currency,
        "status": ("refunded" if refunded == payment.received_minor else "captured") if is_paid else "failed",
        "order_id": id_of(payment, "order_"),
        "amount_refunded": refunded,
        "refund_status": {0: None, payment.received_minor: "full"}.get(refunded, "partial"),
        "captured": is_paid,
        "method": "card",
        "notes": payment.metadata,
        "error_code": None if is_paid else "BAD_REQUEST_ERROR",
        "error_description": None if is_paid else payment.error_message,
        "created_at": timestamps.to_epoch(payment.created_at),
    }


def order_of(payment: ProviderPayment) -> dict[str, Any]:
    """Return the order of a link."""
    return {
        "id": id_of(payment, "order_"),
        "entity": "order",
        "amount": payment.amount_minor,
        "amount_paid": payment.received_minor,
        "amount_due": payment.remaining_minor,
        "currency": payment.currency,
        "receipt": payment.merchant_reference,
        "status": "paid" if payment.status == "paid" else "attempted",
        "notes": payment.metadata,
        "created_at": timestamps.to_epoch(payment.created_at),
    }


def status_of(payment: ProviderPayment) -> str:
    """Return the status of the link."""
    return _STATUS.get(payment.status, "created")


def id_of(payment: ProviderPayment, prefix: str) -> str:
    """Return the id of the link's payment or order."""
    return prefix + payment.reference.rpartition("_")[2]
