"""Refunds (CONTRACT section 10)."""

from __future__ import annotations

import hashlib
import json
import uuid

from flask import Blueprint, Response, jsonify

from app.core.errors import RequestRejected
from app.runtime.runtime import runtime
from app.services.payments import refunds
from app.services.payments.refunds import RefundRequest
from app.web.card_numbers import card_errors
from app.web.gate import caller
from app.web.parsing import handles
from app.web.schemas.bodies import RefundAsked
from app.web.schemas.parameters import RefundHeaders

blueprint = Blueprint("refunds", __name__)


@handles(blueprint, "POST", "/api/payments/{id}/refunds")
def create_refund(id: uuid.UUID, headers: RefundHeaders, body: RefundAsked) -> Response:
    """Ask for a refund, or find the one that this idempotency key made."""
    values = body.model_dump()
    errors = card_errors(runtime(), caller().tenant_id, values, headers.idempotency_key)
    if errors:
        raise RequestRejected(422, "The request has errors.", errors)
    canonical = json.dumps({**values, "payment_id": str(id)}, sort_keys=True).encode()
    wanted = RefundRequest(
        payment_id=id,
        amount=body.amount,
        reference=body.provider_reference,
        reason=body.reason,
        idempotency_key=headers.idempotency_key,
        request_sha256=hashlib.sha256(canonical).digest(),
        metadata=body.metadata,
    )
    made = refunds.ask_refund(runtime(), caller().tenant_id, wanted, caller().actor)
    response = jsonify(made.refund)
    response.status_code = 202
    response.headers["Location"] = f"/api/refunds/{made.refund['id']}"
    if made.is_replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@handles(blueprint, "GET", "/api/payments/{id}/refunds")
def list_refunds(id: uuid.UUID) -> Response:
    """List the refunds of a payment, oldest first."""
    return jsonify({"data": refunds.list_refunds(runtime().database, caller().tenant_id, id, "web")})


@handles(blueprint, "GET", "/api/refunds/{id}")
def get_refund(id: uuid.UUID) -> Response:
    """Read a refund."""
    return jsonify(refunds.get_refund(runtime().database, caller().tenant_id, id, "web"))
