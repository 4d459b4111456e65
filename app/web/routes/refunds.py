"""Refunds (CONTRACT section 10)."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, jsonify

from app.runtime.runtime import runtime
from app.services.payments import refunds
from app.services.payments.refunds import RefundRequest
from app.web.gate import caller
from app.web.parsing import handles
from app.web.routes.money_calls import answer_made, hash_request, refuse_card_numbers
from app.web.schemas.bodies import RefundAsked
from app.web.schemas.parameters import RefundHeaders

blueprint = Blueprint("refunds", __name__)


@handles(blueprint, "POST", "/api/payments/{id}/refunds")
def create_refund(id: uuid.UUID, headers: RefundHeaders, body: RefundAsked) -> Response:
    """Ask for a refund, or find the one that this idempotency key made."""
    refuse_card_numbers(body, headers.idempotency_key)
    wanted = RefundRequest(
        payment_id=id,
        amount=body.amount,
        reference=body.provider_reference,
        reason=body.reason,
        idempotency_key=headers.idempotency_key,
        request_sha256=hash_request(body, payment_id=str(id)),
        metadata=body.metadata,
    )
    made = refunds.ask_refund(runtime(), caller().tenant_id, wanted, caller().actor)
    return answer_made(made.refund, 202, "/api/refunds", is_replayed=made.is_replayed)


@handles(blueprint, "GET", "/api/payments/{id}/refunds")
def list_refunds(id: uuid.UUID) -> Response:
    """List the refunds of a payment, oldest first."""
    return jsonify({"data": refunds.list_refunds(runtime().database, caller().tenant_id, id, "web")})


@handles(blueprint, "GET", "/api/refunds/{id}")
def get_refund(id: uuid.UUID) -> Response:
    """Read a refund."""
    return jsonify(refunds.get_refund(runtime().database, caller().tenant_id, id, "web"))
