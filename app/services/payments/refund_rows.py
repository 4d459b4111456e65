"""The rows of refunds and their holds; only settlement writes what becomes of them, and those that a policy makes.

They are read with their payment, as an array of JSON.
"""

from __future__ import annotations

import datetime
import operator
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, update

from app.core.payment import Payment
from app.core.refunds.records import Refund, RefundStatus
from models import buffer, prepared, tables
from models.array_params import is_any, rows_of

_REFUNDS = tables.refunds
_CHANGING = ("status", "provider_reference", "failure_reason", "updated_at", "completed_at", "credited_minor")
_CHANGES = rows_of(_REFUNDS, "id", *_CHANGING)
_UPDATE = prepared(_CHANGES.update("id"))
_FIXED = ("id", "reference", "amount_minor", "currency", "reason", "created_at", "suspended_minor")
_NEW = rows_of(_REFUNDS, "tenant_id", "payment_id", *_FIXED, *_CHANGING)
_read_new = operator.attrgetter(*_FIXED, *_CHANGING)
_INSERT = prepared(_NEW.insert())
_HOLDS = rows_of(tables.wallet_temp_logs, "payment_id", "refund_id", "state")
_STORED = tables.wallet_temp_logs
_CLOSE_HOLDS = prepared(
    update(_STORED)
    .values(state=_HOLDS.c.state, closed_at=func.now())
    .where(_STORED.c.payment_id == _HOLDS.c.payment_id, is_any(_STORED.c.payment_id, "payment_id"))
    .where(_STORED.c.refund_id == _HOLDS.c.refund_id)
)


# The columns in the order in which `read_refund` reads them.
READ = (
    *("id", "reference", "amount_minor", "currency", "status", "provider_reference", "reason", "failure_reason"),
    *("metadata", "suspended_minor", "credited_minor", "created_at", "updated_at", "called_at", "completed_at"),
)


def read_refund(values: list[Any]) -> Refund:
    """Return a refund, of the columns READ as they are in an array of JSON."""
    id_, reference, amount_minor, currency, status, named, reason, failure, metadata, *rest = values
    suspended_minor, credited_minor, *times = rest
    created_at, updated_at = map(datetime.datetime.fromisoformat, times[:2])
    called_at, completed_at = map(_read_time, times[2:])
    return Refund(
        uuid.UUID(id_),
        reference,
        amount_minor,
        currency,
        RefundStatus(status),
        created_at,
        updated_at,
        provider_reference=named,
        reason=reason,
        failure_reason=failure,
        metadata=metadata,
        called_at=called_at,
        completed_at=completed_at,
        suspended_minor=suspended_minor,
        credited_minor=credited_minor,
    )


def _read_time(value: str | None) -> datetime.datetime | None:
    return None if value is None else datetime.datetime.fromisoformat(value)


def write_refunds(connection: Connection, payments: Sequence[tuple[Payment, Payment]]) -> None:
    """Write what became of refunds, close the holds of those that ended, and insert those that a policy has made.

    `payments` are as they were and as they are.
    """
    changed = [
        (after, one, known)
        for before, after in payments
        if before.refunds is not after.refunds
        for one in after.refunds
        if (known := next((old for old in before.refunds if old.id == one.id), None)) is not None and known != one
    ]
    if changed:
        buffer(connection, _UPDATE, _CHANGES.encode_objects([one for _, one, _ in changed]))
    ended = [
        (payment.id, one.id, "applied" if one.completed_at is not None else "released")
        for payment, one, known in changed
        if known.is_unfinished and not one.is_unfinished and not one.is_of_policy
    ]
    if ended:
        buffer(connection, _CLOSE_HOLDS, _HOLDS.encode(ended))
    made = [
        (after.tenant_id, after.id, *_read_new(one))
        for before, after in payments
        if len(after.refunds) > len(before.refunds)
        for one in after.refunds[len(before.refunds) :]
        if one.is_of_policy
    ]
    if made:
        buffer(connection, _INSERT, _NEW.encode(made))
