"""Wallets, events, providers, and the credentials of browsers (CONTRACT sections 2, 3 and 5)."""

from __future__ import annotations

import datetime
import functools

from flask import Blueprint, Response, jsonify

from app.core.errors import RequestRejected
from app.core.payment import format_time
from app.runtime.runtime import runtime
from app.services.access import callers
from app.services.ledger import wallets
from app.services.records import notifications
from app.services.tenants import provider_status, tenants
from app.web.card_numbers import card_errors
from app.web.cursors import present_page, write_versions_cursor
from app.web.gate import caller
from app.web.long_poll import event_waiters
from app.web.parsing import handles
from app.web.schemas.bodies import ClientTokenRequest
from app.web.schemas.parameters import EntriesQuery, EventsQuery, NoQuery

blueprint = Blueprint("users", __name__)

# Longer waits count as this one; below the minute after which proxies give a silent request up.
WAIT_SECONDS_MAX = 30


@handles(blueprint, "GET", "/api/wallets/{user_id}")
def read_wallets(user_id: str) -> Response:
    """Read a user's wallets; a user never seen has none."""
    return jsonify({"data": wallets.read_wallets(runtime().database, caller().tenant_id, user_id)})


@handles(blueprint, "GET", "/api/wallets/{user_id}/transactions")
def read_entries(user_id: str, query: EntriesQuery) -> Response:
    """List a user's entries, newest first."""
    rows, following = wallets.read_entries(
        runtime().database, caller().tenant_id, user_id, query.currency, query.cursor, query.limit
    )
    return jsonify({"data": rows, "next_cursor": write_versions_cursor(following) if following else None})


@handles(blueprint, "GET", "/api/events")
def read_events(query: EventsQuery) -> Response:
    """List notifications with a larger id, oldest first; with `wait` as soon as there is one."""
    after = max(query.after, query.cursor or 0)
    current = caller()
    read = functools.partial(
        notifications.read_after, runtime().database, current.tenant_id, current.user_id, after, query.limit + 1
    )
    seconds = min(query.wait, WAIT_SECONDS_MAX)
    rows = event_waiters().wait(current.tenant_id.hex, read(), read, bool, seconds, current)
    return jsonify(present_page(rows, query.limit, lambda row: str(row["id"])))


def _answer_credential(name: str, secret: str, expires_at: datetime.datetime) -> tuple[Response, int]:
    settings = runtime().settings
    sockets_url = settings.sockets_public_url or settings.public_url
    return jsonify({name: secret, "expires_at": format_time(expires_at), "sockets_url": sockets_url}), 201


@handles(blueprint, "POST", "/api/client-tokens")
def create_client_token(body: ClientTokenRequest) -> tuple[Response, int]:
    """Make a token for one user's browser."""
    current = caller()
    if errors := card_errors(runtime(), current.tenant_id, body.model_dump()):
        raise RequestRejected(422, "The request has errors.", errors)
    token, expires_at = callers.create_client_token(runtime(), current.tenant_id, current.key_id, body.user_id)
    return _answer_credential("token", token, expires_at)


@handles(blueprint, "GET", "/api/providers")
def list_providers(query: NoQuery) -> Response:
    """List the tenant's providers, without their secrets."""
    return jsonify({"data": provider_status.list_own_providers(runtime().database, caller().tenant_id)})


@handles(blueprint, "GET", "/api/keys")
def list_keys(query: NoQuery) -> Response:
    """List the tenant's secret keys, without their secrets."""
    return jsonify({"data": tenants.list_own_keys(runtime().database, caller().tenant_id)})


@handles(blueprint, "POST", "/api/tickets")
def create_ticket() -> tuple[Response, int]:
    """Make a single-use pass for one stream."""
    return _answer_credential("ticket", *callers.create_ticket(runtime(), caller()))
