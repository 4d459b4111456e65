"""Write dead letters: webhooks, provider calls and differences that a person must decide."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import ARRAY, Connection, Text, and_, null

from app.core.decision import Reason
from app.core.redaction import redact
from models import buffer, new_id, prepared, read, tables
from models.array_params import rows_of
from models.sql import sql

KINDS = ("webhook", "provider_call", "reconciliation")
STATES = ("open", "redriven", "accepted", "rejected", "superseded")


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """A dead letter to be opened; `state` is open, or rejected where the tenant's policy has decided already."""

    tenant_id: uuid.UUID
    kind: str
    reason: Reason
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
    """Which open cases of a payment later money has settled.

    They are of one provider reference and have one of these reasons; where `currency` is given, they are in that one,
    where `keys` are, each has one of them.
    """

    payment_id: uuid.UUID
    reference: str | None
    reasons: frozenset[str]
    currency: str | None = None
    keys: frozenset[str] | None = None


_LETTERS = tables.dead_letters
_FIELDS = [field.name for field in fields(DeadLetterRow)]
_ROWS = rows_of(_LETTERS, "id", *_FIELDS)
_NEW = _ROWS.insert()
# A case that is reported again keeps its row: it is opened again where it was redriven or superseded, and left as it is
# where it is open, or where a person or the policy has closed it.
_INSERT = prepared(
    _NEW.on_conflict_do_update(
        index_elements=["payment_id", "case_key"],
        set_={"state": "open", "closed_at": null(), "closed_by": null()}
        | {name: _NEW.excluded[name] for name in ("detail", "attempts", "amount_minor")},
        where=and_(_LETTERS.c.state.in_(("redriven", "superseded")), _NEW.excluded.state == "open"),
    ).returning(_LETTERS.c.id)
)
_SUPERSEDED = rows_of(_LETTERS, "payment_id", reference=Text, reasons=ARRAY(Text), currency=Text, keys=ARRAY(Text))
_SUPERSEDE = prepared(
    sql(
        """
        update dead_letters d set state = 'superseded', closed_at = now(), closed_by = 'system' from {settled}
        where d.payment_id = r.payment_id and d.state = 'open' and d.case_key is not null and d.reason = any(r.reasons)
          and (d.case_reference is null or r.reference is null or d.case_reference = r.reference)
          and (d.currency is null or r.currency is null or d.currency = r.currency)
          and (r.keys is null or d.case_key = any(r.keys))
        """,
        settled=_SUPERSEDED.source,
    )
)


def write(connection: Connection, rows: list[DeadLetterRow]) -> int:
    """Write `rows`, their details redacted, in the caller's transaction; return how many are newly open."""
    if not rows:
        return 0
    # One statement may touch a case only once; the last report of it counts.
    distinct = {(row.payment_id, row.case_key) if row.case_key else index: row for index, row in enumerate(rows)}
    # A report may quote a provider; the evidence itself, the bytes, is kept as it came.
    redacted = [replace(row, detail=redact(row.detail)) for row in distinct.values()]
    described = [(new_id(), *(getattr(row, name) for name in _FIELDS)) for row in redacted]
    return len(read(connection, _INSERT, _ROWS.encode(described)))


def supersede(connection: Connection, settled: list[Superseded]) -> None:
    """Close open cases that later money has settled."""
    if settled:
        buffer(connection, _SUPERSEDE, _SUPERSEDED.encode_objects(settled))


def superseded_by(later: Superseded, row: DeadLetterRow) -> DeadLetterRow:
    """Return `row`, which is not written yet, as `later` money leaves it."""
    fits = row.payment_id == later.payment_id and row.state == "open" and row.reason in later.reasons
    fits = fits and row.case_key is not None
    fits = fits and (None in (row.case_reference, later.reference) or row.case_reference == later.reference)
    fits = fits and (None in (row.currency, later.currency) or row.currency == later.currency)
    fits = fits and (later.keys is None or row.case_key in later.keys)
    return replace(row, state="superseded") if fits else row
