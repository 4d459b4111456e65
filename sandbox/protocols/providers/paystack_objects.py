"""Paystack's objects, made of the sandbox's payment; fields that say nothing here are there and empty."""

from __future__ import annotations

import re
from typing import Any

from sandbox.protocols.payment import MoneyBack, ProviderPayment

PREFIX = "ps_"

_STATUS = {
    "processing": "pending",
    "underpaid": "success",
    "paid": "success",
    "declined": "failed",
    **dict.fromkeys(("open", "cancelled", "expired"), "abandoned"),
}
_REFUND_STATUS = {"pending": "pending", "done": "processed", "failed": "failed"}
_DISPUTE = {
    "open": ("awaiting-merchant-feedback", None),
    "won": ("resolved", "declined"),
    "lost": ("resolved", "merchant-accepted"),
}
_AUTHORIZATION: dict[str, Any] = dict.fromkeys(
    ("authorization_code", "bin", "last4", "exp_month", "exp_year", "channel", "card_type", "bank", "country_code"), ""
) | {"brand": "visa", "reusable": False, "signature": "", "account_name": None}
_EMPTY_TRANSACTION = (
    *("log", "fees", "fees_split", "order_id", "pos_transaction_data", "source", "fees_breakdown"),
    *("connect", "receipt_number"),
)
_EMPTY_REFUND = (
    *("channel", "dispute", "settlement", "bank_reference", "reason", "session_id", "collect_account_number"),
    "refund_channel",
)
_EMPTY_DISPUTE = ("bin", "last4", "dueAt", "evidence", "attachments", "note")


def transaction(payment: ProviderPayment) -> dict[str, Any]:
    """Return the transaction."""
    status = _STATUS.get(payment.status, payment.status)
    if status == "abandoned" and payment.error_message is not None:
        status = "failed"
    if payment.received_minor and payment.reversed_minor == payment.received_minor:
        status = "reversed"
    paid_at = payment.updated_at if payment.received_minor else None
    return dict.fromkeys(_EMPTY_TRANSACTION) | {
        "id": number(payment),
        "domain": "test",
        "status": status,
        "reference": payment.merchant_reference,
        "amount": payment.received_minor or payment.amount_minor,
        "requested_amount": payment.amount_minor,
        "currency": payment.received_currency or payment.currency,
        "message": None,
        "gateway_response": payment.error_message or ("Successful" if payment.received_minor else "Not completed"),
        "paid_at": paid_at,
        "paidAt": paid_at,
        "created_at": payment.created_at,
        "createdAt": payment.created_at,
        "channel": "card",
        "metadata": payment.request.get("metadata") or {},
        "authorization": _AUTHORIZATION,
        "customer": _customer(payment),
        "plan": None,
        "plan_object": {},
        "ip_address": "127.0.0.1",
        "transaction_date": payment.created_at,
        "split": {},
        "subaccount": {},
    }


def refund(payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
    """Return a refund."""
    is_done = back.status == "done"
    return dict.fromkeys(_EMPTY_REFUND) | {
        "id": int(back.token, 16),
        "integration": 1,
        "domain": "test",
        "transaction": number(payment),
        "transaction_amount": payment.received_minor,
        "transaction_reference": payment.merchant_reference,
        "amount": back.amount_minor,
        "deducted_amount": back.amount_minor if is_done else 0,
        "fully_deducted": int(is_done),
        "currency": back.currency,
        "status": _REFUND_STATUS[back.status],
        "merchant_note": back.request.get("merchant_note") or "",
        "customer_note": back.request.get("customer_note") or "",
        "customer": _customer(payment),
        "initiated_by": payment.request.get("email"),
        "refund_type": "full" if back.amount_minor == payment.received_minor else "partial",
        "refunded_by": payment.request.get("email"),
        "refunded_at": back.updated_at if is_done else None,
        "expected_at": back.updated_at,
        "createdAt": back.created_at,
        "updatedAt": back.updated_at,
    }


def refund_in_event(payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
    """Return a refund as an event shows it."""
    return {
        "status": _REFUND_STATUS[back.status],
        "transaction_reference": payment.merchant_reference,
        "refund_reference": None,
        "amount": str(back.amount_minor),
        "currency": back.currency,
        "processor": "instant-transfer",
        "customer": {"first_name": None, "last_name": None, "email": payment.request.get("email")},
        "integration": 1,
        "domain": "test",
    }


def dispute(payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
    """Return a dispute."""
    status, resolution = _DISPUTE[back.status]
    return dict.fromkeys(_EMPTY_DISPUTE) | {
        "id": int(back.token, 16),
        "refund_amount": back.amount_minor,
        "currency": back.currency,
        "status": status,
        "resolution": resolution,
        "domain": "test",
        "category": "chargeback",
        "transaction": transaction(payment),
        "transaction_reference": payment.merchant_reference,
        "customer": _customer(payment),
        "message": back.request.get("reason"),
        "history": [],
        "messages": [],
        "resolvedAt": None if back.status == "open" else back.updated_at,
        "createdAt": back.created_at,
        "updatedAt": back.updated_at,
    }


def number(payment: ProviderPayment) -> int:
    """Return Paystack's number of the transaction; a reference that a script replaced has none."""
    digits = payment.reference.removeprefix(PREFIX)
    return int(digits, 16) if re.fullmatch(r"[0-9a-f]{1,12}", digits) else 0


def _customer(payment: ProviderPayment) -> dict[str, Any]:
    known = {"id": 1, "email": payment.request.get("email"), "customer_code": "CUS_sandbox", "risk_action": "default"}
    return known | dict.fromkeys(("first_name", "last_name", "phone", "metadata", "international_format_phone"))
