"""Dead letters: work that a person must look at, one table for webhooks and provider calls."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from models import new_id
from models.row_sets import encode_rows, row_set


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """A dead letter to be opened; `state` is open, or rejected where the tenant's policy has decided already."""

    tenant_id: uuid.UUID
    kind: str
    reason: str
    detail: str
    payment_id: uuid.UUID | None = None
    provider_id: uuid.UUID | None = None
    webhook_id: uuid.UUID | None = None
    amount_minor: int | None = None
    currency: str | None = None
    body: bytes | None = None
    headers: dict[str, Any] | None = None
    attempts: int = 0
    case_key: str | None = None
    case_reference: str | None = None
    state: str = "open"


@dataclass(frozen=True, slots=True)
class Superseded:
    """Which open cases of a payment later money has settled: of one provider reference, with one of these reasons."""

    payment_id: uuid.UUID
    reference: str | None
    reasons: frozenset[str]


_COLUMNS = {
    "id": "uuid",
    "tenant_id": "uuid",
    "kind": "text",
    "reason": "text",
    "detail": "text",
    "payment_id": "uuid",
    "provider_id": "uuid",
    "webhook_id": "uuid",
    "amount_minor": "bigint",
    "currency": "text",
    "body": "bytea",
    "headers": "jsonb",
    "attempts": "integer",
    "case_key": "text",
    "case_reference": "text",
    "state": "text",
}
_NAMES = ", ".join(_COLUMNS)
_INSERT = text(
    f"insert into dead_letters ({_NAMES}) select {_NAMES} from {row_set(_COLUMNS)}"  # noqa: S608  # constants
    # The same case told again is the case that is there: open again where it was redriven or superseded, left as it is
    # where it is open, or where a person or the policy has closed it.
    " on conflict (payment_id, case_key) do update set state = 'open', closed_at = null, closed_by = null,"
    " detail = excluded.detail, attempts = excluded.attempts, amount_minor = excluded.amount_minor"
    " where dead_letters.state in ('redriven', 'superseded') and excluded.state = 'open' returning id"
)
_SUPERSEDE = text(
    f"""
    update dead_letters d set state = 'superseded', closed_at = now(), closed_by = 'system'
    from {row_set({"payment_id": "uuid", "reference": "text", "reasons": "text[]"})}
    where d.payment_id = r.payment_id and d.state = 'open' and d.case_key is not null and d.reason = any(r.reasons)
      and (d.case_reference is null or r.reference is null or d.case_reference = r.reference)
    """  # noqa: S608  # constants
)


def write(connection: Connection, rows: list[DeadLetterRow]) -> int:
    """Writes `rows` in the caller's transaction; returns how many are newly open."""
    if not rows:
        return 0
    # One statement may touch a case only once; the last telling of it counts.
    distinct = {(row.payment_id, row.case_key) if row.case_key else place: row for place, row in enumerate(rows)}
    described = [
        {"id": new_id(), **{name: getattr(row, name) for name in _COLUMNS if name != "id"}} for row in distinct.values()
    ]
    for row in described:
        # PostgreSQL's spelling of bytes in text.
        row["body"] = None if row["body"] is None else "\\x" + row["body"].hex()
    return len(connection.execute(_INSERT, {"rows": encode_rows(described)}).all())


def supersede(connection: Connection, settled: list[Superseded]) -> None:
    """Closes open cases that later money has settled."""
    if settled:
        rows = [
            {"payment_id": row.payment_id, "reference": row.reference, "reasons": sorted(row.reasons)}
            for row in settled
        ]
        connection.execute(_SUPERSEDE, {"rows": encode_rows(rows)})
