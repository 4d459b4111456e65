"""Emulated calls about webhook addresses, and the one that only checks the credential."""

from __future__ import annotations

import json
import secrets
import sqlite3
from typing import Any

from flask import Response

from sandbox.payments import endpoints
from sandbox.protocols.emulated import EmulatedProtocol
from sandbox.protocols.endpoints import EndpointOrder
from sandbox.values.refusal import Refusal
from sandbox.web import answers
from sandbox.web.api import parts
from sandbox.web.emulated_calls import fields_of, merchant_of, once


def connect(protocol: EmulatedProtocol, account: str | None = None) -> Response:
    """Register a webhook address, once for an idempotency key, and return its secret."""
    merchant = merchant_of(protocol)
    order = protocol.read_endpoint(fields_of(protocol))

    def make() -> Response:
        endpoint_id, secret = secrets.token_hex(12), protocol.new_secret()
        endpoints.store(connection, endpoint_id, merchant, order.url, [secret], order.events)
        made = protocol.render_endpoint(endpoint_id, order, secret)
        return answers.plain(protocol.created_status, answers.encode(made))

    with parts().store.writing() as connection:
        _, answer = once(protocol, connection, merchant, make)
    return answer


def fetch_endpoint(protocol: EmulatedProtocol, endpoint_id: str, account: str | None = None) -> Response:
    """Return one webhook address."""
    row = _find(parts().store.reading(), protocol, endpoint_id)
    return answers.ok(_show(protocol, row))


def list_endpoints(protocol: EmulatedProtocol, account: str | None = None) -> Response:
    """Return the account's webhook addresses."""
    rows = endpoints.listed(parts().store.reading(), merchant_of(protocol))
    return answers.ok(protocol.render_endpoints([_show(protocol, row) for row in rows]))


def renew_secret(protocol: EmulatedProtocol, endpoint_id: str, account: str | None = None) -> Response:
    """Give a webhook address another secret, which alone signs from now on."""
    secret = protocol.new_secret()
    with parts().store.writing() as connection:
        row = _find(connection, protocol, endpoint_id)
        endpoints.store(connection, row["id"], row["merchant"], row["url"], [secret], row["events"])
    return answers.ok(protocol.render_new_secret(secret))


def check(protocol: EmulatedProtocol) -> Response:
    """Return what shows that the credential is good."""
    return answers.ok(protocol.check(merchant_of(protocol)))


def _find(connection: sqlite3.Connection, protocol: EmulatedProtocol, shown_id: str) -> sqlite3.Row:
    merchant, token = merchant_of(protocol), protocol.endpoint_token(shown_id)
    for row in endpoints.listed(connection, merchant):
        if row["id"] == token:
            return row
    raise Refusal(404, "not_found", f"No such webhook address: {shown_id}")


def _show(protocol: EmulatedProtocol, row: sqlite3.Row) -> dict[str, Any]:
    order = EndpointOrder(row["url"], row["events"])
    return protocol.show_endpoint(row["id"], order, json.loads(row["secrets"])[0])
