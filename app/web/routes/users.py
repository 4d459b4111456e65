"""Wallets, events, and the credentials of browsers (CONTRACT sections 2, 3 and 5)."""

from __future__ import annotations

import datetime
import re
import uuid

from flask import Blueprint, Response, jsonify

from app.core.errors import RequestRejected
from app.core.payment import format_time
from app.runtime.runtime import runtime
from app.services.access import callers
from app.services.access.callers import USER_ID
from app.services.ledger import wallets
from app.services.records import notifications
from app.services.tenants import tenants
from app.web.card_numbers import card_errors
from app.web.gate import caller
from app.web.parsing import (
    BIGINT_MAX,
    page,
    read_body,
    read_cursor,
    read_integer,
    read_known,
    read_limit,
    read_matching,
    read_number_cursor,
    write_cursor,
)
from app.web.schemas.payments import ClientTokenRequest

blueprint = Blueprint("users", __name__)

_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


def _own_user(user_id: str) -> str:
    who = caller()
    if not USER_ID.fullmatch(user_id) or who.user_id not in (None, user_id):
        raise RequestRejected(404, "There is no such user.")
    return user_id


@blueprint.get("/api/wallets/<user_id>")
def read_wallets(user_id: str) -> Response:
    """Read a user's wallets; a user never seen has none."""
    return jsonify({"data": wallets.read_wallets(runtime().database, caller().tenant_id, _own_user(user_id))})


@blueprint.get("/api/wallets/<user_id>/transactions")
def read_entries(user_id: str) -> Response:
    """List a user's entries, newest first."""
    read_known("currency", "limit", "cursor")
    limit = read_limit()
    currency = read_matching("currency", _CURRENCY, "must be an upper-case ISO 4217 code")
    rows = wallets.read_entries(
        runtime().database, caller().tenant_id, _own_user(user_id), currency, read_cursor(), limit + 1
    )
    rows, next_cursor = page(
        rows, limit, lambda row: write_cursor(datetime.datetime.fromisoformat(row["at"]), uuid.UUID(row["id"]))
    )
    return jsonify({"data": rows, "next_cursor": next_cursor})


@blueprint.get("/api/events")
def read_events() -> Response:
    """List notifications with a larger id, oldest first."""
    read_known("after", "limit", "cursor")
    limit = read_limit()
    after = read_integer("after", 0, BIGINT_MAX, 0) or 0
    after = max(after, read_number_cursor() or 0)
    who = caller()
    rows = notifications.read_after(runtime().database, who.tenant_id, who.user_id, after, limit + 1)
    rows, next_cursor = page(rows, limit, lambda row: str(row["id"]))
    return jsonify({"data": rows, "next_cursor": next_cursor})


def _sockets_url() -> str:
    settings = runtime().settings
    return settings.sockets_public_url or settings.public_url


@blueprint.post("/api/client-tokens")
def create_client_token() -> tuple[Response, int]:
    """Make a token for one user's browser."""
    body, who = read_body(ClientTokenRequest), caller()
    if errors := card_errors(runtime(), who.tenant_id, body):
        raise RequestRejected(422, "The request has errors.", errors)
    token, expires_at = callers.create_client_token(runtime(), who.tenant_id, who.key_id, body.user_id)
    answer = {"token": token, "expires_at": format_time(expires_at), "sockets_url": _sockets_url()}
    return jsonify(answer), 201


@blueprint.get("/api/keys")
def list_keys() -> Response:
    """List the tenant's secret keys, without their secrets."""
    read_known()
    return jsonify({"data": tenants.list_own_keys(runtime().database, caller().tenant_id)})


@blueprint.post("/api/tickets")
def create_ticket() -> tuple[Response, int]:
    """Make a single-use pass for one stream."""
    ticket, expires_at = callers.create_ticket(runtime(), caller())
    answer = {"ticket": ticket, "expires_at": format_time(expires_at), "sockets_url": _sockets_url()}
    return jsonify(answer), 201
