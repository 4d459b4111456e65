"""The rows of reversals that wait for their money; only settlement writes here."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, delete, select

from app.core.payment import Payment
from app.core.reversals.records import WaitingReversal
from app.services.records.dead_letters import DeadLetterRow
from models import buffer, prepared, tables
from models.array_params import is_any, rows_of
from models.sql import columns

_REVERSALS, _WEBHOOKS = tables.waiting_reversals, tables.payment_webhooks
_KEY = ("payment_id", "reference", "currency", "amount_minor")
_KEYS = rows_of(_REVERSALS, *_KEY)
_WAITING = rows_of(_REVERSALS, *_KEY, "tenant_id", "provider_id", "webhook_id", "due_at")
_NEW = _WAITING.insert(*_KEY)
_UPSERT = prepared(_NEW.on_conflict_do_update(index_elements=_KEY, set_={"due_at": _NEW.excluded.due_at}))
_DELETE = prepared(
    delete(_REVERSALS).where(
        *(_REVERSALS.c[name] == _KEYS.c[name] for name in _KEY), is_any(_REVERSALS.c.payment_id, "payment_id")
    )
)

# A payment, a reversal of it, and when that becomes a dead letter; None once it is one.
Waiting = tuple[Payment, WaitingReversal, datetime.datetime | None]
_Key = tuple[uuid.UUID, str, str, int]


def write_waiting(
    connection: Connection, waiting: Sequence[Waiting], payments: Sequence[tuple[Payment, Payment]]
) -> None:
    """Write the reversals that wait and remove those that were booked; `payments` as they were and as they are."""
    removed = {
        _key(after, one)
        for before, after in payments
        for one in before.reversals_waiting
        if one not in after.reversals_waiting
    }
    # The last decision about a reversal counts; one that was booked in the same batch never gets a row.
    left = {_key(payment, one) for _, payment in payments for one in payment.reversals_waiting}
    kept = {_key(payment, one): _values(payment, one, due_at) for payment, one, due_at in waiting}
    rows = [values for key, values in kept.items() if key in left]
    if rows:
        buffer(connection, _UPSERT, _WAITING.encode(rows))
    if removed:
        buffer(connection, _DELETE, _KEYS.encode(list(removed)))


def _key(payment: Payment, one: WaitingReversal) -> _Key:
    return payment.id, one.reference or "", one.currency, one.amount_minor


def _values(payment: Payment, one: WaitingReversal, due_at: datetime.datetime | None) -> tuple[object, ...]:
    return *_key(payment, one), payment.tenant_id, payment.provider_id, one.webhook_id, due_at


def add_evidence(connection: Connection, cases: list[DeadLetterRow]) -> list[DeadLetterRow]:
    """Return `cases` with the bytes of the webhooks that reported them, where those came in an earlier transaction."""
    wanted = {case.webhook_id for case in cases if case.webhook_id and case.body is None}
    if not wanted:
        return cases
    evidence = select(*columns(_WEBHOOKS, "id", "body", "headers")).where(_WEBHOOKS.c.id.in_(wanted))
    found = {row.id: row for row in connection.execute(evidence)}
    return [
        replace(case, body=found[case.webhook_id].body, headers=found[case.webhook_id].headers)
        if case.body is None and case.webhook_id in found
        else case
        for case in cases
    ]
