"""Dead letters: work that a person must look at, one table for webhooks and provider calls."""

from __future__ import annotations

import base64
import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from app.core.errors import RequestRejected
from app.core.money import format_amount
from app.core.payment import format_time
from app.core.redaction import redact
from models import Database, new_id
from models.array_params import encode_rows, row_set

KINDS = ("webhook", "provider_call", "reconciliation")
STATES = ("open", "redriven", "accepted", "rejected", "superseded")


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
    """Which open cases of a payment later money has settled.

    They are of one provider reference and have one of these reasons; where `currency` is given, they are in that one,
    where `keys` are, each has one of them.
    """

    payment_id: uuid.UUID
    reference: str | None
    reasons: frozenset[str]
    currency: str | None = None
    keys: frozenset[str] | None = None


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
_SUPERSEDED_COLUMNS = {
    "payment_id": "uuid",
    "reference": "text",
    "reasons": "text[]",
    "currency": "text",
    "keys": "text[]",
}
_SUPERSEDE = text(
    f"""
    update dead_letters d set state = 'superseded', closed_at = now(), closed_by = 'system'
    from {row_set(_SUPERSEDED_COLUMNS)}
    where d.payment_id = r.payment_id and d.state = 'open' and d.case_key is not null and d.reason = any(r.reasons)
      and (d.case_reference is null or r.reference is null or d.case_reference = r.reference)
      and (d.currency is null or r.currency is null or d.currency = r.currency)
      and (r.keys is null or d.case_key = any(r.keys))
    """  # noqa: S608  # constants
)


def write(connection: Connection, rows: list[DeadLetterRow]) -> int:
    """Writes `rows`, their details redacted, in the caller's transaction; returns how many are newly open."""
    if not rows:
        return 0
    # One statement may touch a case only once; the last telling of it counts.
    distinct = {(row.payment_id, row.case_key) if row.case_key else place: row for place, row in enumerate(rows)}
    # Whoever tells a case may quote a provider; the evidence itself, the bytes, is kept as it came.
    told = [replace(row, detail=redact(row.detail)) for row in distinct.values()]
    described = [(new_id(), *(getattr(row, name) for name in _COLUMNS if name != "id")) for row in told]
    return len(connection.execute(_INSERT, encode_rows(_COLUMNS, described)).all())


def supersede(connection: Connection, settled: list[Superseded]) -> None:
    """Closes open cases that later money has settled."""
    if settled:
        rows = [(row.payment_id, row.reference, row.reasons, row.currency, row.keys) for row in settled]
        connection.execute(_SUPERSEDE, encode_rows(_SUPERSEDED_COLUMNS, rows))


def superseded_by(later: Superseded, row: DeadLetterRow) -> DeadLetterRow:
    """Returns `row`, which is not written yet, as `later` money leaves it."""
    fits = row.payment_id == later.payment_id and row.state == "open" and row.reason in later.reasons
    fits = fits and row.case_key is not None
    fits = fits and (None in (row.case_reference, later.reference) or row.case_reference == later.reference)
    fits = fits and (None in (row.currency, later.currency) or row.currency == later.currency)
    fits = fits and (later.keys is None or row.case_key in later.keys)
    return replace(row, state="superseded") if fits else row


@dataclass(frozen=True, slots=True)
class Filters:
    """Which dead letters; None asks for nothing. `before` is the place after which a page begins."""

    tenant_id: uuid.UUID | None = None
    state: str | None = "open"
    reason: str | None = None
    kind: str | None = None
    provider_id: uuid.UUID | None = None
    payment_id: uuid.UUID | None = None
    older_than_seconds: int | None = None
    before: tuple[datetime.datetime, uuid.UUID] | None = None


_SHOWN = (
    "id, tenant_id, kind, reason, detail, state, payment_id, provider_id, webhook_id, amount_minor, currency, attempts,"
    " created_at, closed_at, closed_by"
)


def list_dead_letters(database: Database, filters: Filters, limit: int) -> list[dict[str, Any]]:
    """Returns up to `limit` dead letters, newest first, of one tenant or of all."""
    where, values = _conditions(filters)
    query = f"select {_SHOWN} from dead_letters where {where} order by created_at desc, id desc limit :limit"  # noqa: S608  # constants
    return [_present(row) for row in _read(database, filters.tenant_id, query, values | {"limit": limit})]


def count_dead_letters(database: Database, filters: Filters) -> int:
    """Returns how many dead letters the filters fit."""
    where, values = _conditions(filters)
    query = f"select count(*) as total from dead_letters where {where}"  # noqa: S608  # constants
    return int(_read(database, filters.tenant_id, query, values)[0]["total"])


def read_dead_letter(database: Database, tenant_id: uuid.UUID | None, dead_letter_id: uuid.UUID) -> dict[str, Any]:
    """Returns a dead letter with its raw bytes (base64), headers and history. Raises RequestRejected (404)."""
    query = f"select {_SHOWN}, body, headers, history, case_reference from dead_letters where id = :id"  # noqa: S608  # constants
    query += " and (cast(:tenant_id as uuid) is null or tenant_id = :tenant_id)"
    rows = _read(database, tenant_id, query, {"id": dead_letter_id, "tenant_id": tenant_id})
    if not rows:
        raise RequestRejected(404, "There is no such dead letter.")
    row = rows[0]
    body = None if row["body"] is None else base64.b64encode(row["body"]).decode("ascii")
    more = {"provider_reference": row["case_reference"], "headers": row["headers"], "history": row["history"]}
    return {**_present(row), **more, "body_base64": body}


def _conditions(filters: Filters) -> tuple[str, dict[str, Any]]:
    conditions: list[str] = ["true"]
    values: dict[str, Any] = {}
    for name in ("tenant_id", "state", "reason", "kind", "provider_id", "payment_id"):
        if (value := getattr(filters, name)) is not None:
            conditions.append(f"{name} = :{name}")
            values[name] = value
    if filters.older_than_seconds is not None:
        conditions.append("created_at < now() - make_interval(secs => :older_than)")
        values["older_than"] = filters.older_than_seconds
    if filters.before is not None:
        conditions.append("(created_at, id) < (:before_at, :before_id)")
        values["before_at"], values["before_id"] = filters.before
    return " and ".join(conditions), values


def _read(database: Database, tenant_id: uuid.UUID | None, query: str, values: dict[str, Any]) -> Sequence[RowMapping]:
    # One tenant's are read as the role that sees no other's.
    with database.transaction("operator" if tenant_id is None else "clerk", tenant_id) as connection:
        return connection.execute(text(query), values).mappings().all()


def _present(row: RowMapping) -> dict[str, Any]:
    ids = {name: row[name] and str(row[name]) for name in ("payment_id", "provider_id", "webhook_id")}
    amount = None if row["amount_minor"] is None else format_amount(row["amount_minor"], row["currency"])
    plain = {name: row[name] for name in ("kind", "reason", "detail", "state", "amount_minor", "currency", "attempts")}
    closed = {"closed_at": format_time(row["closed_at"]), "closed_by": row["closed_by"]}
    about = {"id": str(row["id"]), "tenant_id": str(row["tenant_id"])}
    return {**about, **plain, "amount": amount, **ids, "created_at": format_time(row["created_at"]), **closed}
