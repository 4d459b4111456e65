"""The rows of reversals that wait for their money; only settlement writes here."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, text

from app.core.payment import Payment, WaitingReversal
from app.services.records.dead_letters import DeadLetterRow
from models import buffer, prepared
from models.array_params import encode_rows, row_set

_KEY_COLUMNS = {"payment_id": "uuid", "reference": "text", "currency": "text", "amount_minor": "bigint"}
_COLUMNS = {
    **_KEY_COLUMNS,
    "tenant_id": "uuid",
    "provider_id": "uuid",
    "webhook_id": "uuid",
    "due_at": "timestamptz",
}
_NAMES = ", ".join(_COLUMNS)
_UPSERT = prepared(
    f"""
    insert into waiting_reversals ({_NAMES}) select {_NAMES} from {row_set(_COLUMNS)}
    order by payment_id, reference, currency, amount_minor
    on conflict (payment_id, reference, currency, amount_minor) do update set due_at = excluded.due_at
    """  # noqa: S608  # constants
)
_DELETE = prepared(
    f"""
    delete from waiting_reversals v using {row_set(_KEY_COLUMNS)}
    where v.payment_id = r.payment_id and v.reference = r.reference and v.currency = r.currency
      and v.amount_minor = r.amount_minor and v.payment_id = any(cast(:payment_id as uuid[]))
    """  # noqa: S608  # constants
)

# A payment, a reversal of it, and when that becomes a dead letter; None once it is one.
Waiting = tuple[Payment, WaitingReversal, datetime.datetime | None]
_Key = tuple[uuid.UUID, str, str, int]


def write_waiting(connection: Connection, told: Sequence[Waiting], payments: Sequence[tuple[Payment, Payment]]) -> None:
    """Write the reversals that wait and remove those that were booked; `payments` as they were and as they are."""
    removed = {
        _key(after, one)
        for before, after in payments
        for one in before.reversals_waiting
        if one not in after.reversals_waiting
    }
    # The last decision about a reversal counts; one that was booked in the same batch never gets a row.
    left = {_key(payment, one) for _, payment in payments for one in payment.reversals_waiting}
    kept = {_key(payment, one): _values(payment, one, due_at) for payment, one, due_at in told}
    rows = [values for key, values in kept.items() if key in left]
    if rows:
        buffer(connection, _UPSERT, encode_rows(_COLUMNS, rows))
    if removed:
        buffer(connection, _DELETE, encode_rows(_KEY_COLUMNS, list(removed)))


def _key(payment: Payment, one: WaitingReversal) -> _Key:
    return payment.id, one.reference or "", one.currency, one.amount_minor


def _values(payment: Payment, one: WaitingReversal, due_at: datetime.datetime | None) -> tuple[object, ...]:
    return *_key(payment, one), payment.tenant_id, payment.provider_id, one.webhook_id, due_at


_EVIDENCE = text("select id, body, headers from payment_webhooks where id = any(:ids)")


def add_evidence(connection: Connection, cases: list[DeadLetterRow]) -> list[DeadLetterRow]:
    """Return `cases` with the bytes of the webhooks that told them, where those came in an earlier transaction."""
    wanted = {case.webhook_id for case in cases if case.webhook_id and case.body is None}
    if not wanted:
        return cases
    found = {row.id: row for row in connection.execute(_EVIDENCE, {"ids": list(wanted)})}
    return [
        replace(case, body=bytes(found[case.webhook_id].body), headers=found[case.webhook_id].headers)
        if case.body is None and case.webhook_id in found
        else case
        for case in cases
    ]
