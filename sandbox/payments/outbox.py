"""The outbox: stores the webhooks of a payment's change in the transaction that makes the change."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from sandbox.scripting import scripts
from sandbox.values import amounts, timestamps

if TYPE_CHECKING:
    from sandbox.payments.lifecycle import ProviderPayment

Event = Literal["success", "failed", "cancelled", "processing", "refunded"]

# Which of the merchant's callback URLs receives which event.
_CALLBACK: dict[Event, str] = {
    "success": "success",
    "failed": "failed",
    "cancelled": "failed",
    "processing": "callback",
    "refunded": "provider",
}
_OPPOSITE: dict[Event, Event] = {
    "success": "failed",
    "failed": "success",
    "cancelled": "success",
    "processing": "failed",
    "refunded": "success",
}
# 128 random bits: ids never repeat, since receivers deduplicate by them.
_ID_BYTES = 16


def announce(connection: sqlite3.Connection, payment: ProviderPayment, event: Event) -> None:
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
    held_by = plan.script_id if plan is not None and "reverse" in plan.section else None
    first_ids = (_new_id("msg"), _new_id("evt"))
    previous: int | None = None
    for index, variant in enumerate(variants):
        ids = first_ids if index == 0 or variant.get("same_id") else (_new_id("msg"), _new_id("evt"))
        last = _store_copies(connection, payment, event, variant, ids, previous, held_by)
        previous = None if at_once else last
    if plan is not None and held_by is not None:
        _release_reversed(connection, payment, held_by, plan.section["reverse"])


def _store_copies(
    connection: sqlite3.Connection,
    payment: ProviderPayment,
    event: Event,
    variant: dict[str, Any],
    ids: tuple[str, str],
    after: int | None,
    held_by: int | None,
) -> int | None:
    """Store one variant as often as it asks for; return the id of the last delivery, or `after` if none was stored."""
    sent: Event = _OPPOSITE[event] if variant.get("opposite") else event
    url = payment.callback_urls.get(_CALLBACK[sent]) or payment.callback_urls.get("callback")
    if url is None:
        return after
    webhook_id, event_id = ids
    body = _encode(_body(connection, payment, sent, event_id), variant)
    last = after
    for _ in range(variant.get("copies", 1)):
        cursor = connection.execute(
            "INSERT INTO deliveries (webhook_id, event_id, event, reference, merchant, merchant_reference, url, origin,"
            " body, signature, timestamp_shift, attempt_limit, state, due_at, after_id, held_by, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                webhook_id,
                event_id,
                sent,
                payment.reference,
                payment.merchant,
                payment.merchant_reference,
                url,
                urlsplit(url).netloc,
                body,
                variant.get("signature", "good"),
                variant.get("timestamp_shift", 0),
                variant.get("attempts"),
                "pending" if held_by is None else "held",
                time.time() + variant.get("delay", 0),
                after if variant.get("parallel") else last,
                held_by,
                timestamps.now(),
            ),
        )
        last = cursor.lastrowid
    return last


def _body(connection: sqlite3.Connection, payment: ProviderPayment, event: Event, event_id: str) -> dict[str, Any]:
    """Return the honest body of CONTRACT section 4; a success carries the total received so far, a refund its total."""
    provider_id = connection.execute("SELECT provider_id FROM merchants WHERE name = ?", (payment.merchant,)).fetchone()
    minor, currency = payment.amount_minor, payment.currency
    if payment.received_currency is not None and event in ("success", "refunded"):
        currency = payment.received_currency
        minor = payment.received_minor if event == "success" else payment.refunded_minor
    body: dict[str, Any] = {
        "provider_id": provider_id[0],
        "event_id": event_id,
        "event_type": f"payment.{event}",
        "transaction_id": payment.merchant_reference,
        "provider_reference": payment.reference,
        "status": event,
        "amount": amounts.render(minor, currency),
        "currency": currency,
    }
    if event == "failed":
        body["error_message"] = payment.error_message or "The payment failed."
    body["occurred_at"] = payment.updated_at
    return body


def _encode(body: dict[str, Any], variant: dict[str, Any]) -> bytes:
    for field, value in variant.get("change", {}).items():
        if value is None:
            body.pop(field, None)
        else:
            body[field] = value
    raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return raw[: len(raw) // 2] if variant.get("body") == "malformed" else raw


def _release_reversed(connection: sqlite3.Connection, payment: ProviderPayment, held_by: int, wanted: int) -> None:
    """Make the webhooks that a script holds back due, newest first and one after the other, once there are `wanted`."""
    held = connection.execute(
        "SELECT id FROM deliveries WHERE reference = ? AND held_by = ? AND state = 'held' ORDER BY id DESC",
        (payment.reference, held_by),
    ).fetchall()
    if len(held) < wanted:
        return
    previous: int | None = None
    for (delivery_id,) in held:
        connection.execute(
            "UPDATE deliveries SET state = 'pending', due_at = ?, after_id = ? WHERE id = ?",
            (time.time(), previous, delivery_id),
        )
        previous = delivery_id


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(_ID_BYTES)}"
