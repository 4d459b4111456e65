"""The outbox: stores the webhooks of a payment's change in the transaction that makes the change."""

from __future__ import annotations

import secrets
import sqlite3
import time
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sandbox.protocols import changes, registry
from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.protocols.protocol import Event, Notice, Occurrence, ProviderProtocol
from sandbox.scripting import scripts
from sandbox.values import timestamps

# Which of the merchant's callback URLs receives which event.
_CALLBACK: dict[Event, str] = {
    "success": "success",
    "failed": "failed",
    "cancelled": "failed",
    "expired": "failed",
    "processing": "callback",
    "approved": "callback",
    "attempt_failed": "callback",
    **dict.fromkeys(("refunded", "refund_failed", "refund_refused", "stray"), "provider"),
    **dict.fromkeys(("disputed", "dispute_won", "dispute_lost"), "provider"),
}
_OPPOSITE: dict[Event, Event] = {
    "success": "failed",
    "processing": "failed",
    "approved": "failed",
    "refunded": "success",
    "refund_failed": "refunded",
    "refund_refused": "refunded",
    "disputed": "dispute_won",
    "dispute_won": "dispute_lost",
    "dispute_lost": "dispute_won",
    **dict.fromkeys(("failed", "cancelled", "expired", "attempt_failed", "stray"), "success"),
}
# 128 random bits: ids never repeat, since receivers deduplicate by them.
_ID_BYTES = 16


class _Ids(NamedTuple):
    webhook_id: str
    event_id: str


class _Target(NamedTuple):
    """One receiver; without an endpoint it is an address that the payment itself brought."""

    url: str
    endpoint_id: str | None
    # Names of events divided by blanks, `*` for all.
    events: str

    def wants(self, event_type: str) -> bool:
        """Whether this receiver asked for events of that name."""
        return self.events == "*" or event_type in self.events.split()


class _Order(NamedTuple):
    """In which order deliveries of one change are attempted: after which one, and whether a script holds them back."""

    after: int | None
    held_by: int | None


def announce(
    connection: sqlite3.Connection, payment: ProviderPayment, event: Event, was: str, money_back: MoneyBack | None
) -> None:
    """Store the webhooks for one event of the payment, honest unless a script says otherwise.

    Call it in the transaction that changes the payment: no webhook is sent for a change that was rolled back.
    """
    plan = scripts.take(
        connection,
        "webhook",
        payment.merchant_reference,
        payment.metadata,
        applies=lambda section: event in section.get("events", (event,)),
    )
    variants = [{}] if plan is None else plan.section.get("send", [{}])
    at_once = plan is not None and bool(plan.section.get("at_once"))
    held_by = plan.script_id if plan is not None and {"reverse", "join"} & plan.section.keys() else None
    first_ids = _new_ids()
    honest = Occurrence(event, payment, first_ids.event_id, _provider_id(connection, payment), was, money_back)
    _keep_events(connection, honest)
    previous: int | None = None
    for index, variant in enumerate(variants):
        ids = first_ids if index == 0 or variant.get("same_id") else _new_ids()
        occurrence = replace(honest, event_id=ids.event_id, event=_event(event, variant))
        last = _store_variant(connection, occurrence, variant, ids, _Order(previous, held_by))
        previous = None if at_once else last
    if plan is not None and held_by is not None:
        _release(connection, payment, held_by, plan.section)


def _keep_events(connection: sqlite3.Connection, honest: Occurrence) -> None:
    """Store what happened where the provider lists it, whatever a script makes of the webhook."""
    payment = honest.payment
    protocol = registry.PROTOCOLS[payment.protocol]
    for notice in protocol.notices(honest, to_endpoint=True) if protocol.keeps_events else ():
        connection.execute(
            "INSERT INTO events (merchant, reference, body) VALUES (?, ?, ?)",
            (payment.merchant, payment.reference, protocol.encode(notice)),
        )


def _event(event: Event, variant: dict[str, Any]) -> Event:
    if variant.get("stray"):
        return "stray"
    return _OPPOSITE[event] if variant.get("opposite") else event


def _store_variant(
    connection: sqlite3.Connection, occurrence: Occurrence, variant: dict[str, Any], ids: _Ids, order: _Order
) -> int | None:
    """Store one variant to every receiver; return the id of the last delivery, or `order.after` if there was none."""
    protocol = registry.PROTOCOLS[occurrence.payment.protocol]
    change = variant.get("change", {})
    reported = changes.of_occurrence(protocol, occurrence, change)
    for target in _targets(connection, protocol, occurrence):
        for index, notice in enumerate(protocol.notices(reported, to_endpoint=target.endpoint_id is not None)):
            if target.wants(notice.event_type):
                raw = protocol.encode(replace(notice, body=changes.of_body(protocol, notice.body, change)))
                body = raw[: len(raw) // 2] if variant.get("body") == "malformed" else raw
                values = _row(occurrence, notice, target, _of_notice(ids, index)) | {"body": body}
                order = order._replace(after=_store_copies(connection, values, variant, order))
    return order.after


def _of_notice(ids: _Ids, index: int) -> _Ids:
    """Return the ids of one of several webhooks about a change: each has its own, the same in every variant."""
    return ids._replace(webhook_id=f"{ids.webhook_id}_{index}") if index else ids


def _targets(connection: sqlite3.Connection, protocol: ProviderProtocol, occurrence: Occurrence) -> list[_Target]:
    """Return the receivers: the endpoints of the account, and the payment's own address."""
    urls = occurrence.payment.callback_urls
    url = urls.get(_CALLBACK[occurrence.event]) or urls.get("callback")
    own = [] if url is None else [_Target(url, None, "*")]
    if protocol.is_native:
        return own
    rows = connection.execute(
        "SELECT id, url, events FROM endpoints WHERE merchant = ? ORDER BY rowid", (occurrence.payment.merchant,)
    )
    return [_Target(row["url"], row["id"], row["events"]) for row in rows] + own


def _row(occurrence: Occurrence, notice: Notice, target: _Target, ids: _Ids) -> dict[str, Any]:
    return {
        "webhook_id": ids.webhook_id,
        "event_id": ids.event_id,
        "event": occurrence.event,
        "event_type": notice.event_type,
        "content_type": notice.content_type,
        "protocol": occurrence.payment.protocol,
        "reference": occurrence.payment.reference,
        "merchant": occurrence.payment.merchant,
        "merchant_reference": occurrence.payment.merchant_reference,
        "endpoint_id": target.endpoint_id,
        "url": target.url,
        "origin": urlsplit(target.url).netloc,
        "created_at": timestamps.now(),
    }


def _store_copies(
    connection: sqlite3.Connection, values: dict[str, Any], variant: dict[str, Any], order: _Order
) -> int | None:
    """Store one webhook as often as the variant asks for; return the id of the last delivery."""
    values |= {
        "signature": variant.get("signature", "good"),
        "timestamp_shift": variant.get("timestamp_shift", 0),
        "attempt_limit": variant.get("attempts"),
        "state": "pending" if order.held_by is None else "held",
        "due_at": time.time() + variant.get("delay", 0),
        "held_by": order.held_by,
    }
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    statement = " ".join(("INSERT INTO deliveries (after_id,", names, ") VALUES (:after_id,", marks, ")"))
    last = order.after
    for _ in range(variant.get("copies", 1)):
        after = order.after if variant.get("parallel") else last
        last = connection.execute(statement, values | {"after_id": after}).lastrowid
    return last


def _release(connection: sqlite3.Connection, payment: ProviderPayment, held_by: int, section: dict[str, Any]) -> None:
    """Make the webhooks that a script holds back due once there are as many as it wants: reversed, or as one."""
    held = connection.execute(
        "SELECT id, body FROM deliveries WHERE reference = ? AND held_by = ? AND state = 'held' ORDER BY id DESC",
        (payment.reference, held_by),
    ).fetchall()
    if len(held) < section.get("reverse", section.get("join", 0)):
        return
    if "join" in section:
        held = _join(connection, payment, held[::-1])
    previous: int | None = None
    for row in held:
        connection.execute(
            "UPDATE deliveries SET state = 'pending', due_at = ?, after_id = ? WHERE id = ?",
            (time.time(), previous, row["id"]),
        )
        previous = row["id"]


def _join(connection: sqlite3.Connection, payment: ProviderPayment, held: list[sqlite3.Row]) -> list[sqlite3.Row]:
    """Put the webhooks into the first one, where the provider reports several in one; return what is to be sent."""
    joined = registry.PROTOCOLS[payment.protocol].join([row["body"] for row in held])
    if joined is None:
        return held
    first, *others = held
    connection.execute("UPDATE deliveries SET body = ? WHERE id = ?", (joined, first["id"]))
    # The newest first: each waits for the one before it.
    for row in reversed(others):
        connection.execute("DELETE FROM deliveries WHERE id = ?", (row["id"],))
    return [first]


def _provider_id(connection: sqlite3.Connection, payment: ProviderPayment) -> str:
    row = connection.execute("SELECT provider_id FROM merchants WHERE name = ?", (payment.merchant,)).fetchone()
    return str(row[0])


def _new_ids() -> _Ids:
    return _Ids(*(f"{prefix}_{secrets.token_hex(_ID_BYTES)}" for prefix in ("msg", "evt")))
