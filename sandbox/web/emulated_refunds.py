"""Emulated calls about money that goes back."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Response, request

from sandbox.payments import lifecycle, reversals
from sandbox.protocols.emulated import EmulatedProtocol, RefundOrder
from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.scripting import scripts
from sandbox.values.refusal import Refusal
from sandbox.web import answers, calls
from sandbox.web.api import parts
from sandbox.web.emulated_calls import error_answer, fields_of, find_payment, merchant_of, once, spoiled

# A refund that the provider works on is done soon after the answer.
_REFUND_SECONDS = 0.2


def refund(protocol: EmulatedProtocol, payment_id: str | None = None) -> Response:
    """Refund a payment in whole or in part."""
    merchant = merchant_of(protocol)
    order = protocol.read_refund(fields_of(protocol), payment_id)
    with parts().store.writing() as connection:
        payment = find_payment(connection, merchant, protocol.name_payment(order.payment))
        section = calls.section_of(scripts.take(connection, "refund", payment.merchant_reference, payment.metadata))
        if answers.hides_effect(section):
            honest = answers.plain(protocol.refunded_status, b"{}")
        else:
            make = partial(_refunded, protocol, connection, payment, order, section or {})
            _, honest = once(protocol, connection, merchant, make)
    return spoiled(protocol, section, honest)


def _refunded(
    protocol: EmulatedProtocol,
    connection: sqlite3.Connection,
    payment: ProviderPayment,
    order: RefundOrder,
    section: dict[str, Any],
) -> Response:
    """Refund, at once or a moment later; a refusal is an answer here, so that earlier writes are committed."""
    try:
        currency = payment.received_currency or payment.currency
        minor = None if order.amount is None else protocol.read_amount(order.amount, currency)
        if order.total is not None and order.total != payment.refunded_minor + (minor or 0):
            raise Refusal(422, "wrong_total", "The confirmed total is not what would be refunded in all.")
        pending = not protocol.refunds_at_once or "outcome" in section
        payment, back = reversals.refund(connection, payment, minor, order.request, pending=pending)
    except Refusal as refusal:
        code = protocol.refund_codes.get(refusal.code, refusal.code)
        return error_answer(protocol, Refusal(refusal.status, code, refusal.message, refusal.field))
    outcome = section.get("outcome", "done")
    if back.status == "pending" and outcome != "pending":
        action = "settle_refund" if outcome == "done" else "fail_refund"
        scripts.schedule_step(connection, payment.reference, {"action": action}, time.time() + _REFUND_SECONDS)
    return answers.plain(protocol.refunded_status, answers.encode(protocol.answer_refund(payment, back)))


def fetch_refund(protocol: EmulatedProtocol, refund_id: str, payment_id: str | None = None) -> Response:
    """Return one refund."""
    connection, merchant = parts().store.reading(), merchant_of(protocol)
    back = reversals.find(connection, protocol.refund_token(refund_id))
    if back is None or back.kind != "refund":
        raise Refusal(404, "not_found", f"No such refund: {refund_id}")
    payment = find_payment(connection, merchant, ("reference", back.reference))
    return answers.ok(protocol.answer_refund(payment, back))


def list_refunds(protocol: EmulatedProtocol, payment_id: str | None = None) -> Response:
    """Return the refunds, newest first, of the payment that path or query names, or of all payments."""
    return answers.ok(protocol.render_refunds(_money_back(protocol, "refund", payment_id, protocol.render_refund)))


def list_disputes(protocol: EmulatedProtocol, payment_id: str | None = None) -> Response:
    """Return the disputes, as `list_refunds` does."""
    return answers.ok(protocol.render_disputes(_money_back(protocol, "dispute", payment_id, protocol.render_dispute)))


def _money_back(
    protocol: EmulatedProtocol,
    kind: str,
    payment_id: str | None,
    render: Callable[[ProviderPayment, MoneyBack], dict[str, Any]],
) -> list[dict[str, Any]]:
    connection, merchant = parts().store.reading(), merchant_of(protocol)
    named = payment_id or protocol.refunds_of(request.args)
    wanted = None if named is None else find_payment(connection, merchant, protocol.name_payment(named)).reference
    found = reversals.listed_for(connection, merchant, kind, wanted)
    return [render(lifecycle.must_find(connection, back.reference), back) for back in found]
