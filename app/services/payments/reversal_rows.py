"""The rows of reversals that wait, of movements by their ids and of disputes; only settlement writes here.

They are read with their payment, as arrays of JSON in the order of the functions here.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, select

from app.core.payment import Payment
from app.core.reversals.records import Dispute, KnownMovement, MovementState, WaitingReversal
from app.services.records.dead_letters import DeadLetterRow
from models import buffer, prepared, tables
from models.array_params import Rows, is_any, rows_of
from models.sql import columns
from models.statements import Statements

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

_MOVEMENT_KEY = ("payment_id", "kind", "reversal_id")
_MOVEMENTS = rows_of(
    tables.payment_movements,
    *(*_MOVEMENT_KEY, "tenant_id", "provider_id", "reference", "currency", "amount_minor", "state"),
    *("webhook_id", "due_at", "suspense_minor"),
)
_DISPUTE_KEY = ("payment_id", "dispute_id")
_DISPUTES = rows_of(
    tables.payment_disputes,
    *(*_DISPUTE_KEY, "tenant_id", "opened_at", "state", "reason", "evidence_due_at", "closed_at"),
)


def _upsert(rows: Rows, key: tuple[str, ...], *changing: str) -> Statements:
    new = rows.insert(*key)
    changes = {name: new.excluded[name] for name in changing}
    return prepared(new.on_conflict_do_update(index_elements=key, set_=changes))


_UPSERT_MOVEMENTS = _upsert(_MOVEMENTS, _MOVEMENT_KEY, "reference", "state", "due_at", "suspense_minor")
_UPSERT_DISPUTES = _upsert(_DISPUTES, _DISPUTE_KEY, "state", "reason", "evidence_due_at", "closed_at")

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


def read_waiting(values: list[Any]) -> WaitingReversal:
    """Return a total that waits."""
    reference, amount_minor, currency, webhook_id = values
    return WaitingReversal(reference or None, amount_minor, currency, webhook_id and uuid.UUID(webhook_id))


def read_movement(values: list[Any]) -> KnownMovement:
    """Return a movement."""
    kind, reversal_id, reference, amount_minor, currency, state, due_at, webhook_id, suspense_minor = values
    money = (kind, reversal_id, reference, amount_minor, currency)
    source = (_read_time(due_at), webhook_id and uuid.UUID(webhook_id))
    return KnownMovement(*money, MovementState(state), *source, suspense_minor)


def read_dispute(values: list[Any]) -> Dispute:
    """Return a dispute."""
    dispute_id, state, reason, evidence_due_at, opened_at, closed_at = values
    opened = datetime.datetime.fromisoformat(opened_at)
    return Dispute(dispute_id, state, reason, _read_time(evidence_due_at), opened, _read_time(closed_at))


def _read_time(value: str | None) -> datetime.datetime | None:
    return None if value is None else datetime.datetime.fromisoformat(value)


def write_movements(connection: Connection, payments: Sequence[tuple[Payment, Payment]]) -> None:
    """Write the movements and disputes that are new or changed; `payments` as they were and as they are."""
    movements = [
        _movement_values(after, one)
        for before, after in payments
        for one in after.movements
        if one not in before.movements
    ]
    if movements:
        buffer(connection, _UPSERT_MOVEMENTS, _MOVEMENTS.encode(movements))
    disputes = [
        _dispute_values(after, one)
        for before, after in payments
        for one in after.disputes
        if one not in before.disputes
    ]
    if disputes:
        buffer(connection, _UPSERT_DISPUTES, _DISPUTES.encode(disputes))


def _movement_values(payment: Payment, one: KnownMovement) -> tuple[object, ...]:
    key = payment.id, one.kind, one.reversal_id, payment.tenant_id, payment.provider_id
    money = one.reference, one.currency, one.amount_minor
    return *key, *money, str(one.state), one.webhook_id, one.waits_until, one.suspense_minor


def _dispute_values(payment: Payment, one: Dispute) -> tuple[object, ...]:
    key = payment.id, one.dispute_id, payment.tenant_id, one.opened_at
    return *key, one.state, one.reason, one.evidence_due_at, one.closed_at


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
