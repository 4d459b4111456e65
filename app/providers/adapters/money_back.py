"""The webhooks about money that goes back in the form of the sandbox's own path (CONTRACT section 9)."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from typing import Any

from app.core.errors import Unusable
from app.core.facts import DisputeState, Fact, FactKind
from app.core.redaction import redact
from app.core.validation.provider_values import is_reference
from app.providers.adapters.common_webhook import (
    MESSAGE_LENGTH_MAX,
    read_money,
    read_payment_id,
    read_reference,
    read_text,
)
from app.providers.events import Asks, Event, Told

# By type of event, the status that it comes with.
MONEY_BACK_EVENTS = {
    "payment.refunded": "refunded",
    "payment.reinstated": "reinstated",
    "payment.disputed": "disputed",
}
_OUTCOMES: dict[str | None, DisputeState] = {None: "opened", "opened": "opened", "won": "won", "lost": "lost"}


def translate_money_back(body: Mapping[str, Any]) -> Event:
    """Return what a webhook of one of the MONEY_BACK_EVENTS says. Raise Unusable.

    A refund comes with the total given back, which is a fact. That money came again makes the total smaller, which only
    an answer to our own query shows, unless it names a refund of ours, which has failed.
    """
    kind = str(body.get("event_type"))
    if body.get("status", MONEY_BACK_EVENTS[kind]) != MONEY_BACK_EVENTS[kind]:
        raise Unusable("event_type and status disagree")
    payment_id = read_payment_id(body)
    if kind == "payment.reinstated":
        return _read_failed_refund(payment_id, body)
    if kind == "payment.disputed":
        return Told(payment_id, _read_dispute(body))
    amount_minor, currency = read_money(body)
    fact = Fact(FactKind.REFUNDED, read_reference(body), amount_minor=amount_minor, currency=currency)
    return Told(payment_id, fact)


def _read_failed_refund(payment_id: uuid.UUID, body: Mapping[str, Any]) -> Event:
    try:
        refund_id = uuid.UUID(read_text(body, "refund_id") or "")
    except ValueError:
        return Asks(payment_id)
    return Told(payment_id, Fact(FactKind.REFUND_STATE, refund_id=refund_id, refund_state="failed"))


def _read_dispute(body: Mapping[str, Any]) -> Fact:
    dispute_id, outcome = body.get("dispute_id"), read_text(body, "outcome")
    if not is_reference(dispute_id):
        raise Unusable("dispute_id is no id that can be kept")
    if outcome not in _OUTCOMES:
        raise Unusable("the outcome is none of opened, won and lost")
    reason = read_text(body, "reason")
    return Fact(
        FactKind.DISPUTE,
        read_reference(body),
        dispute_id=str(dispute_id),
        dispute_state=_OUTCOMES[outcome],
        reason=reason and redact(reason[:MESSAGE_LENGTH_MAX]),
        evidence_due_at=_read_time(body, "evidence_due_at"),
    )


def _read_time(body: Mapping[str, Any], field: str) -> datetime.datetime | None:
    value = read_text(body, field)
    if value is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError:
        raise Unusable(f"{field} is no time") from None
    if moment.tzinfo is None:
        raise Unusable(f"{field} has no time zone")
    return moment
