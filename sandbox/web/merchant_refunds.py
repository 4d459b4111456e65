"""Refunds of the sandbox's own API: made by a test for the customer, or by a merchant's call."""

from __future__ import annotations

import sqlite3
import time
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from sandbox.payments import lifecycle, merchants, reversals
from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.scripting import scripts
from sandbox.values import amounts, json_input
from sandbox.values.refusal import Refusal
from sandbox.web import answers, calls
from sandbox.web.api import IDEMPOTENCY_KEY, own, parts, reachable

blueprint = Blueprint("refunds", __name__, url_prefix="/v1")

# A refund that a script lets fail is refused this soon after its answer.
_REFUND_SECONDS = 0.2
_ID_LENGTH_MAX = 128
_STATUSES = {"pending": "processing", "done": "completed", "failed": "failed"}


@blueprint.post("/payments/<reference>/refund")
def refund(reference: str) -> Response:
    """Refund all that is left or the body's amount; with an Idempotency-Key once for the key.

    A call with a key or a refund_id is the merchant's: scripts say how it is answered, and the answer has the refund.
    """
    store, settings, _ = parts()
    raw, key = request.get_data(), request.headers.get("Idempotency-Key")
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        raise Refusal(400, "idempotency_key_needed", "Idempotency-Key must be 1 to 255 printable ASCII characters")
    body = json_input.read_object(raw, ("amount", "refund_id"))
    with store.writing() as connection:
        payment = reachable(connection, reference)
        if key is None and body.get("refund_id") is None:
            return _make(connection, payment, body, {})
        section = calls.section_of(scripts.take(connection, "refund", payment.merchant_reference, payment.metadata))
        if answers.hides_effect(section):
            honest = answers.plain(200, b"{}")
        else:
            used = None if key is None else calls.UsedKey(payment.merchant, key, calls.digest_of(raw))
            mismatch = answers.error(409, "idempotency_mismatch", "this key was used with other bytes")
            make = partial(_make, connection, payment, body, section or {})
            _, honest = calls.make_once(connection, used, mismatch, make)
    return answers.spoiled(section, honest, settings.public_url + "/v1/payments")


def _make(
    connection: sqlite3.Connection, payment: ProviderPayment, body: dict[str, Any], section: dict[str, Any]
) -> Response:
    """Refund as the script allows; a refusal is an answer here, so that it is kept with the key."""
    try:
        named = body.get("refund_id")
        if named is not None and not (isinstance(named, str) and 0 < len(named) <= _ID_LENGTH_MAX):
            raise Refusal(422, "invalid_field", f"refund_id must be your id of the refund, at most {_ID_LENGTH_MAX}")
        currency = payment.received_currency or payment.currency
        minor = None if body.get("amount") is None else amounts.parse(body["amount"], currency)
        outcome = section.get("outcome")
        pending = outcome is not None
        known = {} if named is None else {"refund_id": named}
        payment, back = reversals.refund(connection, payment, minor, known, pending=pending)
    except Refusal as refusal:
        return answers.error(refusal.status, refusal.code, refusal.message)
    if outcome == "failed":
        step = {"action": "fail_refund"}
        scripts.schedule_step(connection, payment.reference, step, time.time() + _REFUND_SECONDS)
    return answers.ok(payment.as_json(parts().settings.public_url) | {"refund": _show(back)})


@blueprint.get("/refunds")
def list_refunds() -> Response:
    """Return the refunds of the query's payment, oldest first."""
    store, settings, _ = parts()
    connection = store.reading()
    merchant = merchants.authenticate(connection, request.headers.get("Authorization"))
    payment = own(lifecycle.find(connection, request.args.get("payment", "")), merchant)
    section = calls.fetch_section(store, payment.merchant_reference, payment.metadata)
    found = [_show(back) for back in reversals.listed(connection, payment.reference, "refund")]
    return answers.spoiled(section, answers.ok({"data": found}), settings.public_url + "/v1/payments")


def _show(back: MoneyBack) -> dict[str, Any]:
    return {
        "reference": back.token,
        "payment": back.reference,
        "refund_id": back.request.get("refund_id"),
        "amount": amounts.render(back.amount_minor, back.currency),
        "currency": back.currency,
        "status": _STATUSES[back.status],
        "created_at": back.created_at,
        "updated_at": back.updated_at,
    }
