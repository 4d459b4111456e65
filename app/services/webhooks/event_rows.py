"""Rows of events that have an id of their own: each is settled once, in whichever deliveries it comes."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from app.core.decision import Verdict
from app.services.webhooks.translate import StoredWebhook
from models import Row, buffer, prepared, read, tables
from models.array_params import rows_of

_KEY = ("provider_id", "event_id")
_EVENTS = rows_of(tables.webhook_events, *_KEY, "tenant_id", "webhook_id", "payment_id", "verdict", "reason")
_INSERT = prepared(_EVENTS.insert(*_KEY).on_conflict_do_nothing(index_elements=_KEY))
_NAMED = rows_of(tables.webhook_events, *_KEY)
_FIND = prepared(
    """
    select e.provider_id, e.event_id, e.webhook_id, e.payment_id, e.verdict, e.reason
    from unnest(cast(:provider_id as uuid[]), cast(:event_id as text[])) as n(provider_id, event_id)
    join webhook_events e on e.provider_id = n.provider_id and e.event_id = n.event_id
    """
)


class EventRow(NamedTuple):
    """An event that is settled."""

    webhook: StoredWebhook
    event_id: str
    payment_id: uuid.UUID | None
    verdict: Verdict
    reason: str


def find(connection: Connection, named: Sequence[tuple[uuid.UUID, str]]) -> Sequence[Row]:
    """Return the rows of those `named` pairs of a provider and an event's id that are settled."""
    return read(connection, _FIND, _NAMED.encode(list(named)))


def write(connection: Connection, rows: Sequence[EventRow]) -> None:
    """Store settled events; one that another delivery has brought meanwhile keeps its row."""
    if rows:
        values = [
            (of.provider_id, event_id, of.tenant_id, of.id, payment_id, str(verdict), reason)
            for of, event_id, payment_id, verdict, reason in rows
        ]
        buffer(connection, _INSERT, _EVENTS.encode(values))
