"""Dead letters for a tenant's operators: list, show, redrive, accept, reject."""

from __future__ import annotations

import datetime
import uuid

from flask import Blueprint, Response, jsonify

from app.runtime.runtime import runtime
from app.services.operators import dead_letters, redrive, resolve
from app.services.operators.dead_letters import DeadLetterFilters
from app.web.cursors import present_page
from app.web.gate import caller
from app.web.parsing import handles
from app.web.schemas.bodies import ReasonRequest
from app.web.schemas.parameters import DeadLettersQuery, DecisionQuery, RedriveQuery

blueprint = Blueprint("operators", __name__)


@handles(blueprint, "GET", "/api/dead-letters")
def list_dead_letters(query: DeadLettersQuery) -> Response:
    """List dead letters, newest first; open ones unless another state is asked for."""
    filters = _write_filters(query, query.state, query.cursor)
    rows = dead_letters.list_dead_letters(runtime().database, filters, query.limit + 1)
    return jsonify(present_page(rows, query.limit))


@handles(blueprint, "GET", "/api/dead-letters/{id}")
def read_dead_letter(id: uuid.UUID) -> Response:
    """Read a dead letter with its bytes, headers and history."""
    return _answer(id)


@handles(blueprint, "POST", "/api/dead-letters/{id}/redrive")
def redrive_one(id: uuid.UUID, query: DecisionQuery, body: ReasonRequest) -> Response:
    """Make the work of a dead letter due again."""
    effect = redrive.redrive(runtime(), caller().tenant_id, id, caller().actor, query.dry_run, body.reason)
    return _answer(id, effect.effect)


@handles(blueprint, "POST", "/api/dead-letters/{id}/accept")
def accept(id: uuid.UUID, query: DecisionQuery, body: ReasonRequest) -> Response:
    """Credit the money in a dead letter."""
    return _answer(id, resolve.accept(runtime(), caller().tenant_id, id, caller().actor, query.dry_run, body.reason))


@handles(blueprint, "POST", "/api/dead-letters/{id}/reject")
def reject(id: uuid.UUID, query: DecisionQuery, body: ReasonRequest) -> Response:
    """Close a dead letter without a credit."""
    return _answer(id, resolve.reject(runtime(), caller().tenant_id, id, caller().actor, query.dry_run, body.reason))


@handles(blueprint, "POST", "/api/dead-letters/redrive")
def redrive_many(query: RedriveQuery, body: ReasonRequest) -> Response:
    """Make the work of all open dead letters that fit due again, up to `limit` of them."""
    filters = _write_filters(query)
    count = dead_letters.count_dead_letters(runtime().database, filters)
    effects = redrive.redrive_many(runtime(), filters, query.limit, caller().actor, query.dry_run, body.reason)
    rows = [{"id": str(one.dead_letter_id), "redriven": one.is_redriven, "effect": one.effect} for one in effects]
    return jsonify({"count": count, "dry_run": query.dry_run, "data": rows})


def _answer(dead_letter_id: uuid.UUID, effect: str | None = None) -> Response:
    found = dead_letters.read_dead_letter(runtime().database, caller().tenant_id, dead_letter_id)
    return jsonify(found if effect is None else {**found, "effect": effect})


def _write_filters(
    query: DeadLettersQuery | RedriveQuery,
    state: str = "open",
    before: tuple[datetime.datetime, uuid.UUID] | None = None,
) -> DeadLetterFilters:
    return DeadLetterFilters(
        tenant_id=caller().tenant_id,
        state=state,
        reason=query.reason,
        kind=query.kind,
        provider_id=query.provider_id,
        payment_id=query.payment_id,
        older_than_seconds=query.older_than_seconds,
        before=before,
    )
