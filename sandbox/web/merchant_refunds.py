"""Refunds that a merchant makes through the sandbox's own API."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from flask import Response

from sandbox.payments import reversals
from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.scripting import scripts
from sandbox.values import amounts
from sandbox.values.refusal import Refusal
from sandbox.web import answers

# A refund that a script lets fail is refused this soon after its answer.
_REFUND_SECONDS = 0.2
_REFERENCE_LENGTH_MAX = 128
_STATUSES = {"pending": "processing", "done": "completed", "failed": "failed"}


def make(
    connection: sqlite3.Connection, payment: ProviderPayment, body: dict[str, Any], section: dict[str, Any]
) -> Response:
    """Refund as the script allows; a refusal is an answer here, so that it is kept with the key."""
    try:
        named = body.get("merchant_reference")
        if not isinstance(named, str) or not 0 < len(named) <= _REFERENCE_LENGTH_MAX:
            raise Refusal(422, "invalid_field", "merchant_reference must be your id of the refund")
        currency = payment.received_currency or payment.currency
        minor = None if body.get("amount") is None else amounts.parse(body["amount"], currency)
        outcome = section.get("outcome")
        pending = outcome is not None
        payment, back = reversals.refund(connection, payment, minor, {"merchant_reference": named}, pending=pending)
    except Refusal as refusal:
        return answers.error(refusal.status, refusal.code, refusal.message)
    if outcome == "failed":
        step = {"action": "fail_refund"}
        scripts.schedule_step(connection, payment.reference, step, time.time() + _REFUND_SECONDS)
    return answers.plain(201, answers.encode(show(back)))


def listed(connection: sqlite3.Connection, payment: ProviderPayment, named: str | None) -> list[dict[str, Any]]:
    """Return the refunds of a payment, oldest first; of one merchant_reference where it is given."""
    found = reversals.listed(connection, payment.reference, "refund")
    return [show(back) for back in found if named in (None, back.request.get("merchant_reference"))]


def show(back: MoneyBack) -> dict[str, Any]:
    """Return a refund as the API shows it."""
    return {
        "reference": back.token,
        "payment": back.reference,
        "merchant_reference": back.request.get("merchant_reference"),
        "amount": amounts.render(back.amount_minor, back.currency),
        "currency": back.currency,
        "status": _STATUSES[back.status],
        "created_at": back.created_at,
        "updated_at": back.updated_at,
    }
