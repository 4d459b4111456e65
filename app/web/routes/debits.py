"""Debits (CONTRACT section 10)."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, jsonify

from app.runtime.runtime import runtime
from app.services.debits import shown, spending
from app.services.debits.shown import DebitFilters
from app.services.debits.spending import DebitRequest
from app.web.cursors import present_page
from app.web.gate import caller
from app.web.parsing import handles
from app.web.routes.money_calls import answer_made, hash_request, refuse_card_numbers
from app.web.schemas.bodies import DebitAsked, ReversalAsked
from app.web.schemas.parameters import DebitHeaders, DebitsQuery

blueprint = Blueprint("debits", __name__)


@handles(blueprint, "POST", "/api/wallets/{user_id}/debits")
def create_debit(user_id: str, headers: DebitHeaders, body: DebitAsked) -> Response:
    """Make a debit, or find the one that this idempotency key made."""
    refuse_card_numbers(body, headers.idempotency_key)
    wanted = DebitRequest(
        user_id=user_id,
        amount=body.amount,
        currency=body.currency,
        reference=body.reference,
        description=body.description,
        idempotency_key=headers.idempotency_key,
        request_sha256=hash_request(body, user_id=user_id),
    )
    made = spending.take(runtime(), caller().tenant_id, wanted, caller().actor)
    return answer_made(made.debit, 201, "/api/debits", is_replayed=made.is_replayed)


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
    refuse_card_numbers(body)
    return jsonify(spending.give_back(runtime(), caller().tenant_id, id, caller().actor, body.reason))
