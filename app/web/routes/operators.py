"""Dead letters for a tenant's operators: list, show, redrive, accept, reject."""

from __future__ import annotations

import datetime
import re
import uuid

from flask import Blueprint, Response, jsonify

from app.core.errors import RequestRejected
from app.runtime.runtime import runtime
from app.services.operators import dead_letters, redrive, resolve
from app.services.operators.dead_letters import DeadLetterFilters
from app.services.records.dead_letters import KINDS, STATES
from app.web.gate import caller
from app.web.parsing import (
    field_error,
    page,
    read_choice,
    read_cursor,
    read_integer,
    read_known,
    read_limit,
    read_matching,
    read_optional_body,
    read_path_id,
    write_cursor,
)
from app.web.schemas.operators import ReasonRequest

blueprint = Blueprint("operators", __name__)

_REASON = re.compile(r"[a-z_]{1,64}", re.ASCII)
_AGE_SECONDS_MAX = 10 * 365 * 86_400
_FILTERS = ("reason", "kind", "provider_id", "payment_id", "older_than_seconds")


@blueprint.get("/api/dead-letters")
def list_dead_letters() -> Response:
    """List dead letters, newest first; open ones unless another state is asked for."""
    read_known("state", "limit", "cursor", *_FILTERS)
    limit = read_limit()
    filters = _read_filters(read_choice("state", STATES) or "open")
    rows = dead_letters.list_dead_letters(runtime().database, filters, limit + 1)
    rows, next_cursor = page(
        rows, limit, lambda row: write_cursor(datetime.datetime.fromisoformat(row["created_at"]), uuid.UUID(row["id"]))
    )
    return jsonify({"data": rows, "next_cursor": next_cursor})


@blueprint.get("/api/dead-letters/<object:id>")
def read_dead_letter(id: str) -> Response:
    """Read a dead letter with its bytes, headers and history."""
    return _answer(read_path_id(id))


@blueprint.post("/api/dead-letters/<object:id>/redrive")
def redrive_one(id: str) -> Response:
    """Make the work of a dead letter due again."""
    dead_letter_id, is_dry_run, reason = read_path_id(id), _is_dry_run(), _read_reason()
    effect = redrive.redrive(runtime(), caller().tenant_id, dead_letter_id, caller().actor, is_dry_run, reason)
    return _answer(dead_letter_id, effect.effect)


@blueprint.post("/api/dead-letters/<object:id>/accept")
def accept(id: str) -> Response:
    """Credit the money in a dead letter."""
    dead_letter_id, is_dry_run, reason = read_path_id(id), _is_dry_run(), _read_reason()
    effect = resolve.accept(runtime(), caller().tenant_id, dead_letter_id, caller().actor, is_dry_run, reason)
    return _answer(dead_letter_id, effect)


@blueprint.post("/api/dead-letters/<object:id>/reject")
def reject(id: str) -> Response:
    """Close a dead letter without a credit."""
    dead_letter_id, is_dry_run, reason = read_path_id(id), _is_dry_run(), _read_reason()
    effect = resolve.reject(runtime(), caller().tenant_id, dead_letter_id, caller().actor, is_dry_run, reason)
    return _answer(dead_letter_id, effect)


@blueprint.post("/api/dead-letters/redrive")
def redrive_many() -> Response:
    """Make the work of all open dead letters that fit due again, up to `limit` of them."""
    read_known("dry_run", "limit", *_FILTERS)
    limit, is_dry_run = read_limit(), read_choice("dry_run", ("true", "false")) == "true"
    filters, reason = _read_filters("open"), _read_reason()
    count = dead_letters.count_dead_letters(runtime().database, filters)
    effects = redrive.redrive_many(runtime(), filters, limit, caller().actor, is_dry_run, reason)
    rows = [{"id": str(one.dead_letter_id), "redriven": one.is_redriven, "effect": one.effect} for one in effects]
    return jsonify({"count": count, "dry_run": is_dry_run, "data": rows})


def _is_dry_run() -> bool:
    read_known("dry_run")
    return read_choice("dry_run", ("true", "false")) == "true"


def _read_reason() -> str | None:
    return read_optional_body(ReasonRequest).reason


def _answer(dead_letter_id: uuid.UUID, effect: str | None = None) -> Response:
    found = dead_letters.read_dead_letter(runtime().database, caller().tenant_id, dead_letter_id)
    return jsonify(found if effect is None else {**found, "effect": effect})


def _read_filters(state: str) -> DeadLetterFilters:
    return DeadLetterFilters(
        tenant_id=caller().tenant_id,
        state=state,
        reason=read_matching("reason", _REASON, "must be a reason such as underpaid"),
        kind=read_choice("kind", KINDS),
        provider_id=_read_id("provider_id"),
        payment_id=_read_id("payment_id"),
        older_than_seconds=read_integer("older_than_seconds", 0, _AGE_SECONDS_MAX),
        before=read_cursor(),
    )


def _read_id(name: str) -> uuid.UUID | None:
    raw = read_matching(name, re.compile(r"[0-9a-fA-F-]{32,36}", re.ASCII), "must be a UUID")
    try:
        return None if raw is None else read_path_id(raw)
    except RequestRejected:
        raise field_error(name, "must be a UUID") from None
