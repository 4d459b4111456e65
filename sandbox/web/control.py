"""The control API for tests and for the set-up of a stack: `/control`."""

from __future__ import annotations

import hmac
import ipaddress
import sqlite3
from typing import Any

from flask import Blueprint, Response, request

from sandbox.delivery import deliveries
from sandbox.payments import actions, lifecycle, merchants, reversals
from sandbox.protocols import payment as payments
from sandbox.protocols.payment import ProviderPayment
from sandbox.scripting import scripts, vocabulary
from sandbox.values import amounts
from sandbox.values.refusal import Refusal
from sandbox.web import answers
from sandbox.web.api import parts

blueprint = Blueprint("control", __name__, url_prefix="/control")

_DEFAULT_PAGE = 1_000
_LARGEST_PAGE = 10_000
_TRUTH = " ".join(("SELECT", payments.COLUMNS, "FROM payments WHERE ? IS NULL OR merchant_reference = ? ORDER BY seq"))


@blueprint.before_request
def _guard() -> None:
    """Allow callers with the control key, or, where none is set, callers of this machine."""
    key = parts().settings.control_key
    if key is not None:
        wanted = f"Bearer {key}".encode()
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode("utf-8", "replace"), wanted):
            raise Refusal(401, "unauthenticated", "the control key is needed: Authorization: Bearer <key>")
    elif not _is_loopback(request.remote_addr):
        raise Refusal(403, "forbidden", "only this machine may use /control; set SANDBOX_CONTROL_KEY to open it")


def _is_loopback(address: str | None) -> bool:
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


@blueprint.put("/merchants/<name>")
def put_merchant(name: str) -> Response:
    """Create or update a merchant account."""
    with parts().store.writing() as connection:
        stored = merchants.store(connection, name, request.get_data())
    return answers.ok(stored)


@blueprint.put("/script")
def put_script() -> Response:
    """Store a script."""
    script = vocabulary.read_script(request.get_data())
    with parts().store.writing() as connection:
        stored = scripts.store(connection, script)
    return answers.ok(stored)


@blueprint.get("/script")
def get_scripts() -> Response:
    """Return all scripts."""
    return answers.ok({"data": scripts.listed(parts().store.reading())})


@blueprint.delete("/script")
def delete_scripts() -> Response:
    """Remove all scripts."""
    with parts().store.writing() as connection:
        removed = scripts.clear(connection)
    return answers.ok({"deleted": removed})


@blueprint.post("/payments/<name>/<action>")
def act(name: str, action: str) -> Response:
    """Let an action happen to the payment of that reference, ours or the merchant's; return what is true now."""
    words = vocabulary.read_action(action, request.get_data())
    with parts().store.writing() as connection:
        row = connection.execute(
            "SELECT reference FROM payments WHERE reference = ? OR merchant_reference = ? ORDER BY seq DESC LIMIT 1",
            (name, name),
        ).fetchone()
        if row is None:
            raise Refusal(404, "not_found", "no such payment")
        payment = actions.act(connection, lifecycle.must_find(connection, row["reference"]), action, words)
    return answers.ok(_truth_of(parts().store.reading(), payment))


@blueprint.get("/deliveries")
def get_deliveries() -> Response:
    """Return webhook deliveries with their attempts, oldest first; `after` is the last id seen."""
    after = request.args.get("after", 0, type=int)
    limit = min(max(request.args.get("limit", _DEFAULT_PAGE, type=int), 1), _LARGEST_PAGE)
    found = deliveries.listed(parts().store.reading(), request.args.get("merchant_reference"), after, limit)
    return answers.ok({"data": found})


@blueprint.post("/deliveries/<int:delivery_id>/resend")
def resend(delivery_id: int) -> Response:
    """Send a delivery's bytes again at once, under the same webhook id."""
    with parts().store.writing() as connection:
        copy_id = deliveries.resend(connection, delivery_id)
    (copy,) = deliveries.listed(parts().store.reading(), None, copy_id - 1, 1)
    return answers.ok(copy)


@blueprint.get("/truth")
def truth() -> Response:
    """Return every payment with its money, and every create call, also those without effect."""
    wanted = request.args.get("merchant_reference")
    connection = parts().store.reading()
    rows = connection.execute(_TRUTH, (wanted, wanted)).fetchall()
    calls = connection.execute(
        "SELECT merchant_reference, count(*) AS calls, count(DISTINCT idempotency_key) AS idempotency_keys,"
        " count(DISTINCT body_sha256) AS bodies FROM create_calls"
        " WHERE ? IS NULL OR merchant_reference = ? GROUP BY merchant_reference ORDER BY min(id)",
        (wanted, wanted),
    )
    shown = [_truth_of(connection, payments.from_row(row)) for row in rows]
    return answers.ok({"payments": shown, "create_calls": [dict(row) for row in calls]})


def _truth_of(connection: sqlite3.Connection, payment: ProviderPayment) -> dict[str, Any]:
    received_currency = payment.received_currency or payment.currency
    moves = connection.execute(
        "SELECT kind, count(*) AS number FROM movements WHERE reference = ? GROUP BY kind", (payment.reference,)
    )
    numbers = {row["kind"]: row["number"] for row in moves}
    disputes = reversals.listed(connection, payment.reference, "dispute")
    return {
        "reference": payment.reference,
        "merchant": payment.merchant,
        "merchant_reference": payment.merchant_reference,
        "protocol": payment.protocol,
        "status": payment.status,
        "amount": amounts.render(payment.amount_minor, payment.currency),
        "currency": payment.currency,
        "received_amount": amounts.render(payment.received_minor, received_currency),
        "received_minor": payment.received_minor,
        "received_currency": payment.received_currency,
        "refunded_amount": amounts.render(payment.refunded_minor, received_currency),
        "refunded_minor": payment.refunded_minor,
        "disputed_minor": payment.disputed_minor,
        "captures": numbers.get("capture", 0),
        "refunds": numbers.get("refund", 0),
        "disputes": [{"status": each.status, "amount_minor": each.amount_minor} for each in disputes],
        "created_at": payment.created_at,
        "updated_at": payment.updated_at,
    }
