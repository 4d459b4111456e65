"""Debits (CONTRACT section 10)."""

from __future__ import annotations

import hashlib
import json
import uuid

from flask import Blueprint, Response, jsonify

from app.core.errors import RequestRejected
from app.runtime.runtime import runtime
from app.services.debits import shown, spending
from app.services.debits.shown import DebitFilters
from app.services.debits.spending import DebitRequest
from app.web.card_numbers import card_errors
from app.web.cursors import present_page
from app.web.gate import caller
from app.web.parsing import handles
from app.web.schemas.bodies import DebitAsked, ReversalAsked
from app.web.schemas.parameters import DebitHeaders, DebitsQuery

blueprint = Blueprint("debits", __name__)


@handles(blueprint, "POST", "/api/wallets/{user_id}/debits")
def create_debit(user_id: str, headers: DebitHeaders, body: DebitAsked) -> Response:
    """Make a debit, or find the one that this idempotency key made."""
    values = body.model_dump()
    if errors := card_errors(runtime(), caller().tenant_id, values, headers.idempotency_key):
        raise RequestRejected(422, "The request has errors.", errors)
    canonical = json.dumps({**values, "user_id": user_id}, sort_keys=True).encode()
    wanted = DebitRequest(
        user_id=user_id,
        amount=body.amount,
        currency=body.currency,
        reference=body.reference,
        description=body.description,
        idempotency_key=headers.idempotency_key,
        request_sha256=hashlib.sha256(canonical).digest(),
    )
    made = spending.take(runtime(), caller().tenant_id, wanted, caller().actor)
    response = jsonify(made.debit)
    response.status_code = 201
    response.headers["Location"] = f"/api/debits/{made.debit['id']}"
    if made.is_replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@handles(blueprint, "GET", "/api/debits")
def list_debits(query: DebitsQuery) -> Response:
    """List debits, newest first."""
    filters = DebitFilters(
        user_id=query.user_id,
        currency=query.currency,
        reference=query.reference,
        created_after=query.created_after,
        created_before=query.created_before,
        before=query.cursor,
    )
    rows = shown.list_debits(runtime().database, caller().tenant_id, filters, query.limit + 1, "web")
    return jsonify(present_page(rows, query.limit))


@handles(blueprint, "GET", "/api/debits/{id}")
def get_debit(id: uuid.UUID) -> Response:
    """Read a debit."""
    return jsonify(shown.get_debit(runtime().database, caller().tenant_id, id, "web"))


@handles(blueprint, "POST", "/api/debits/{id}/reverse")
def reverse_debit(id: uuid.UUID, body: ReversalAsked) -> Response:
    """Give the money of a debit back to its wallet, once."""
    if errors := card_errors(runtime(), caller().tenant_id, body.model_dump()):
        raise RequestRejected(422, "The request has errors.", errors)
    return jsonify(spending.give_back(runtime(), caller().tenant_id, id, caller().actor, body.reason))
