"""Attempts to deliver webhooks, and the list of deliveries with their attempts."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import requests

from sandbox.protocols import registry
from sandbox.protocols.protocol import Unsigned
from sandbox.storage.store import Store
from sandbox.values import timestamps
from sandbox.values.refusal import Refusal

# Time limit of one attempt, as common payment apps have it.
ATTEMPT_SECONDS = 10.0
_USER_AGENT = "sluice-sandbox/1"
# What a delivery that is sent again has in common with the first.
_COPIED = (
    "webhook_id, event_id, event, event_type, content_type, protocol, endpoint_id, reference, merchant,"
    " merchant_reference, url, origin, body, signature, timestamp_shift, attempt_limit"
)


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How an attempt ended: the receiver's status, or the error that kept it from answering."""

    at: str
    webhook_timestamp: int
    status: int | None
    error: str | None
    duration_ms: float

    @property
    def delivered(self) -> bool:
        """Whether the receiver accepted the webhook."""
        return self.status is not None and 200 <= self.status < 300


def attempt(store: Store, delivery_id: int, retry_seconds: tuple[float, ...], own_url: str = "") -> None:
    """Send one delivery once and store how it went, with the time of the next attempt if there is one."""
    row = (
        store.reading()
        .execute(
            "SELECT d.webhook_id, d.url, d.body, d.signature, d.timestamp_shift, d.protocol,"
            " d.content_type, CASE d.protocol WHEN 'sandbox' THEN json_array(m.webhook_secret)"
            " ELSE coalesce(e.secrets, '[]') END AS secrets"
            " FROM deliveries d JOIN merchants m ON m.name = d.merchant LEFT JOIN endpoints e ON e.id = d.endpoint_id"
            " WHERE d.id = ? AND d.state = 'pending'",
            (delivery_id,),
        )
        .fetchone()
    )
    if row is None:
        return
    result = _send(row, own_url)
    with store.writing() as connection:
        _settle(connection, delivery_id, result, retry_seconds)


def _send(row: sqlite3.Row, own_url: str) -> AttemptResult:
    at, timestamp = timestamps.now(), int(time.time()) + row["timestamp_shift"]
    protocol = registry.PROTOCOLS[row["protocol"]]
    # Signed at each attempt: the timestamp is the attempt's, the secrets are the merchant's current ones.
    secrets = tuple(json.loads(row["secrets"]))
    # What has no secret, a notice to the payment's own address, cannot be forged either.
    if secrets and row["signature"] == "forged":
        secrets = (protocol.new_secret(),)
    unsigned = Unsigned(row["webhook_id"], timestamp, row["body"], secrets, own_url)
    is_signed = bool(secrets) and row["signature"] != "missing"
    authenticate = protocol.sign if is_signed else protocol.unsigned_headers
    headers = {"Content-Type": row["content_type"], "User-Agent": _USER_AGENT} | authenticate(unsigned)
    body = protocol.seal(unsigned) if is_signed else row["body"]
    started = time.monotonic()
    status, error = _post(row["url"], body, headers)
    return AttemptResult(at, timestamp, status, error, round((time.monotonic() - started) * 1000, 3))


def _post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int | None, str | None]:
    # A new connection for each attempt: a kept one may have been closed by the receiver, which would cost a retry.
    with requests.Session() as session:
        session.trust_env = False
        try:
            # Only the status counts, so the answer's body is never read.
            with session.post(
                url, data=body, headers=headers, timeout=ATTEMPT_SECONDS, allow_redirects=False, stream=True
            ) as answer:
                return answer.status_code, None
        except (requests.RequestException, ValueError) as error:
            # requests raises a bare ValueError for host names that cannot be encoded.
            return None, f"{type(error).__name__}: {error}"[:500]


def _settle(
    connection: sqlite3.Connection, delivery_id: int, result: AttemptResult, retry_seconds: tuple[float, ...]
) -> None:
    connection.execute(
        "INSERT INTO attempts (delivery_id, at, webhook_timestamp, status, error, duration_ms)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (delivery_id, result.at, result.webhook_timestamp, result.status, result.error, result.duration_ms),
    )
    row = connection.execute("SELECT attempts, attempt_limit FROM deliveries WHERE id = ?", (delivery_id,)).fetchone()
    made = row["attempts"] + 1
    limit = min(row["attempt_limit"] or len(retry_seconds) + 1, len(retry_seconds) + 1)
    state, due_at = "pending", time.time()
    if result.delivered:
        state = "delivered"
    elif made >= limit:
        state = "given_up"
    else:
        due_at += retry_seconds[made - 1]
    connection.execute(
        "UPDATE deliveries SET attempts = ?, state = ?, due_at = ? WHERE id = ?", (made, state, due_at, delivery_id)
    )


def resend(connection: sqlite3.Connection, delivery_id: int) -> int:
    """Store a copy of a delivery, due at once, with the same webhook id and bytes; return the copy's id.

    A copy instead of another attempt: the first delivery's history stays what it was. Raise Refusal 404.
    """
    cursor = connection.execute(
        f"INSERT INTO deliveries ({_COPIED}, state, due_at, created_at)"  # noqa: S608 - only names of this module
        f" SELECT {_COPIED}, 'pending', ?, ? FROM deliveries WHERE id = ?",
        (time.time(), timestamps.now(), delivery_id),
    )
    if cursor.rowcount != 1 or cursor.lastrowid is None:
        raise Refusal(404, "not_found", "no such delivery")
    return cursor.lastrowid


def listed(connection: sqlite3.Connection, merchant_reference: str | None, after: int, limit: int) -> list[Any]:
    """Return deliveries with an id above `after`, oldest first, each with its attempts."""
    rows = connection.execute(
        "SELECT * FROM deliveries WHERE id > ? AND (? IS NULL OR merchant_reference = ?) ORDER BY id LIMIT ?",
        (after, merchant_reference, merchant_reference, limit),
    ).fetchall()
    attempts: dict[int, list[dict[str, Any]]] = {row["id"]: [] for row in rows}
    for row in _attempts_of(connection, attempts):
        attempts[row["delivery_id"]].append(
            {key: row[key] for key in ("at", "webhook_timestamp", "status", "error", "duration_ms")}
        )
    return [_shown(row, attempts[row["id"]]) for row in rows]


def _attempts_of(connection: sqlite3.Connection, delivery_ids: Iterable[int]) -> list[sqlite3.Row]:
    statement = "SELECT * FROM attempts WHERE delivery_id IN (SELECT value FROM json_each(?)) ORDER BY id"
    return connection.execute(statement, (json.dumps(list(delivery_ids)),)).fetchall()


def _shown(row: sqlite3.Row, attempts: list[dict[str, Any]]) -> dict[str, Any]:
    copied = (
        *("id", "webhook_id", "event_id", "event", "event_type", "reference", "merchant_reference", "url"),
        *("signature", "state"),
    )
    return {
        **{key: row[key] for key in copied},
        "body": row["body"].decode("utf-8", "replace"),
        "next_attempt_at": timestamps.from_epoch(row["due_at"]) if row["state"] == "pending" else None,
        "created_at": row["created_at"],
        "attempts": attempts,
    }
