"""GoCardless's objects, made of the sandbox's payment. Ids of one payment share their digits."""

from __future__ import annotations

from typing import Any

from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.protocols.protocol import Occurrence

REQUEST, PAYMENT, REFUND = "BRQ", "PM", "RF"

_REQUEST_STATUS = {"open": "pending", **dict.fromkeys(("cancelled", "expired"), "cancelled")}
_PAYMENT_STATUS = {"processing": "submitted", "paid": "confirmed", "underpaid": "confirmed", "declined": "failed"}
# The reason of a dispute that is none: the bank takes the money back later, and it may be collected again.
LATE_FAILURE = "late_failure"
_REFUND_STATUS = {"pending": "pending_submission", "done": "paid", "failed": "failed"}


def request(payment: ProviderPayment) -> dict[str, Any]:
    """Return the billing request."""
    status = _REQUEST_STATUS.get(payment.status, "fulfilled")
    links = {"payment_request_payment": payment_id(payment)} if status == "fulfilled" else {}
    return {
        "id": payment.reference,
        "created_at": payment.created_at,
        "status": status,
        "metadata": payment.metadata,
        "mandate_request": None,
        "payment_request": {
            "amount": payment.amount_minor,
            "currency": payment.currency,
            "description": payment.request.get("description"),
            "metadata": payment.request.get("payment_metadata", {}),
            "scheme": "faster_payments",
            "links": {"payment": links["payment_request_payment"]} if links else {},
        },
        "actions": [],
        "fallback_enabled": False,
        "links": {"customer": "CU000SANDBOX", "creditor": "CR000SANDBOX", **links},
    }


def flow(payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
    """Return the flow of a billing request, in which the payer pays."""
    return {
        "id": payment.reference.replace(REQUEST, "BRF"),
        "authorisation_url": redirect_url,
        "auto_fulfil": True,
        "created_at": payment.created_at,
        "redirect_uri": payment.success_url,
        "exit_uri": payment.failure_url,
        "links": {"billing_request": payment.reference},
    }


def payment_of(payment: ProviderPayment) -> dict[str, Any]:
    """Return the payment behind a billing request."""
    status = _PAYMENT_STATUS.get(payment.status, "cancelled")
    taken = [back for back in payment.money_back if back.kind == "dispute" and back.status in ("open", "lost")]
    if taken:
        status = "failed" if is_late_failure(taken[-1]) else "charged_back"
    return {
        "id": payment_id(payment),
        "amount": payment.received_minor or payment.amount_minor,
        "amount_refunded": payment.refunded_minor,
        "currency": payment.received_currency or payment.currency,
        "created_at": payment.created_at,
        "charge_date": payment.updated_at[:10],
        "description": payment.request.get("description"),
        "metadata": payment.request.get("payment_metadata", {}),
        "reference": None,
        "retry_if_possible": False,
        "status": status,
        "links": {"creditor": "CR000SANDBOX", "billing_request": payment.reference},
    }


def refund(payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
    """Return a refund."""
    return {
        "id": REFUND + back.token.upper(),
        "amount": back.amount_minor,
        "created_at": back.created_at,
        "currency": back.currency,
        "metadata": back.request.get("metadata", {}),
        "reference": back.request.get("reference"),
        "status": _REFUND_STATUS[back.status],
        "links": {"payment": payment_id(payment)},
    }


def is_late_failure(back: MoneyBack | None) -> bool:
    """Return whether money is taken back for a failure after the confirmation."""
    return back is not None and back.kind == "dispute" and back.request.get("reason") == LATE_FAILURE


def event(occurrence: Occurrence, resource: str, action: str, index: int) -> dict[str, Any]:
    """Return one event of a batch."""
    payment, back = occurrence.payment, occurrence.money_back
    links, metadata = {"payment": payment_id(payment)}, {}
    if resource == "payments":
        metadata = payment.request.get("payment_metadata", {})
    elif resource == "billing_requests":
        metadata = payment.metadata
        links = {"billing_request": payment.reference}
        if action == "fulfilled":
            links["payment_request_payment"] = payment_id(payment)
    elif resource == "refunds" and back is not None:
        links = {"refund": REFUND + back.token.upper(), "payment": payment_id(payment)}
    elif resource == "creditors":
        links = {"creditor": "CR000SANDBOX"}
    cause = f"{resource.rstrip('s')}_{action}"
    if action == "charged_back" and back is not None:
        cause = str(back.request.get("reason"))
    return {
        "id": f"EV{occurrence.event_id.rpartition('_')[2].upper()}{index or ''}",
        "created_at": payment.updated_at,
        "resource_type": resource,
        "action": action,
        "links": links,
        "details": {"origin": "gocardless", "cause": cause, "description": ""},
        "metadata": {},
        "resource_metadata": metadata,
    }


def payment_id(payment: ProviderPayment) -> str:
    """Return the id of the payment behind the billing request."""
    return PAYMENT + payment.reference.removeprefix(REQUEST)
