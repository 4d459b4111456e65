"""Emulated calls of providers whose payer approves first: captures; and their tokens and certificates."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Any

from flask import Response, request

from sandbox.payments import lifecycle, merchants
from sandbox.protocols.emulated import EmulatedProtocol
from sandbox.protocols.payment import ProviderPayment
from sandbox.scripting import scripts
from sandbox.values.refusal import Refusal
from sandbox.web import answers, calls
from sandbox.web.api import parts
from sandbox.web.emulated_calls import answer_with, error_answer, find_payment, merchant_of, once, spoiled

_CAPTURED_STATUS = 201


def capture(protocol: EmulatedProtocol, payment_id: str) -> Response:
    """Capture what the payer has approved, or repeat the first answer of the same key."""
    merchant = merchant_of(protocol)
    with parts().store.writing() as connection:
        payment = find_payment(connection, merchant, protocol.name_payment(payment_id))
        section = calls.section_of(scripts.take(connection, "capture", payment.merchant_reference, payment.metadata))
        if answers.hides_effect(section):
            honest = answers.plain(_CAPTURED_STATUS, b"{}")
        else:
            make = partial(_captured, protocol, connection, payment, (section or {}).get("outcome"))
            _, honest = once(protocol, connection, merchant, make)
    return spoiled(protocol, section, honest)


def _captured(
    protocol: EmulatedProtocol, connection: sqlite3.Connection, payment: ProviderPayment, outcome: Any
) -> Response:
    """Capture as the script allows; a refusal is an answer here, so that earlier writes are committed."""
    if payment.status != "approved":
        code = "already_captured" if payment.received_minor or payment.status == "processing" else "not_approved"
        return error_answer(protocol, Refusal(422, code, "The payment cannot be captured."))
    if outcome == "declined":
        lifecycle.refuse_capture(connection, payment)
        return error_answer(protocol, Refusal(422, "capture_declined", "The payer's bank refused the payment."))
    settle = lifecycle.commit if outcome == "pending" else lifecycle.capture
    return answer_with(protocol, settle(connection, payment), protocol.captured, _CAPTURED_STATUS)


def issue_token(protocol: EmulatedProtocol) -> Response:
    """Exchange the account's credential for a token."""
    key = protocol.read_client(dict(request.headers))
    if key is None or merchants.named_by(parts().store.reading(), protocol.name, key) is None:
        raise Refusal(401, "invalid_client", "Client Authentication failed")
    return answers.ok(protocol.render_token(key))


def serve_certificate(protocol: EmulatedProtocol, certificate_id: str) -> Response:
    """Return a certificate by which webhooks are signed, to everybody."""
    return Response(protocol.read_certificate(certificate_id), content_type="application/x-pem-file")
