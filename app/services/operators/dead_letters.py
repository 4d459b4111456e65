"""Reads dead letters for operators: lists, counts, one in detail."""

from __future__ import annotations

import base64
import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, func, select, tuple_

from app.core.errors import RequestRejected
from app.core.money import format_amount
from app.core.payment import format_time
from models import Database, tables
from models.sql import columns


@dataclass(frozen=True, slots=True)
class DeadLetterFilters:
    """Which dead letters; a field that is None filters nothing. `before` is the cursor at which a page begins."""

    tenant_id: uuid.UUID | None = None
    state: str | None = "open"
    reason: str | None = None
    kind: str | None = None
    provider_id: uuid.UUID | None = None
    payment_id: uuid.UUID | None = None
    older_than_seconds: int | None = None
    before: tuple[datetime.datetime, uuid.UUID] | None = None


_LETTERS = tables.dead_letters
_SHOWN = columns(
    _LETTERS,
    *("id", "tenant_id", "kind", "reason", "detail", "state", "payment_id", "provider_id", "webhook_id"),
    *("amount_minor", "currency", "attempts", "created_at", "closed_at", "closed_by"),
)


def list_dead_letters(database: Database, filters: DeadLetterFilters, limit: int) -> list[dict[str, Any]]:
    """Return up to `limit` dead letters, newest first, of one tenant or of all."""
    newest = select(*_SHOWN).where(*_conditions(filters)).order_by(_LETTERS.c.created_at.desc(), _LETTERS.c.id.desc())
    return [_present(row) for row in _read(database, filters.tenant_id, newest.limit(limit))]


def count_dead_letters(database: Database, filters: DeadLetterFilters) -> int:
    """Return how many dead letters fit the filters."""
    counted = select(func.count().label("total")).select_from(_LETTERS).where(*_conditions(filters))
    return int(_read(database, filters.tenant_id, counted)[0]["total"])


def read_dead_letter(database: Database, tenant_id: uuid.UUID | None, dead_letter_id: uuid.UUID) -> dict[str, Any]:
    """Return a dead letter with its raw bytes (base64), headers and history. Raise RequestRejected (404)."""
    shown = [*_SHOWN, *columns(_LETTERS, "body", "headers", "history", "case_reference")]
    found = select(*shown).where(_LETTERS.c.id == dead_letter_id)
    if tenant_id is not None:
        found = found.where(_LETTERS.c.tenant_id == tenant_id)
    rows = _read(database, tenant_id, found)
    if not rows:
        raise RequestRejected(404, "There is no such dead letter.")
    row = rows[0]
    body = None if row["body"] is None else base64.b64encode(row["body"]).decode("ascii")
    more = {"provider_reference": row["case_reference"], "headers": row["headers"], "history": row["history"]}
    return {**_present(row), **more, "body_base64": body}


def _conditions(filters: DeadLetterFilters) -> list[ColumnElement[bool]]:
    conditions = [
        _LETTERS.c[name] == value
        for name in ("tenant_id", "state", "reason", "kind", "provider_id", "payment_id")
        if (value := getattr(filters, name)) is not None
    ]
    if filters.older_than_seconds is not None:
        age = datetime.timedelta(seconds=filters.older_than_seconds)
        conditions.append(_LETTERS.c.created_at < func.now() - age)
    if filters.before is not None:
        conditions.append(tuple_(_LETTERS.c.created_at, _LETTERS.c.id) < filters.before)
    return conditions


def _read(database: Database, tenant_id: uuid.UUID | None, query: Select[Any]) -> Sequence[RowMapping]:
    # With a tenant: the role whose row-level security shows no other tenant's rows.
    with database.transaction("operator" if tenant_id is None else "clerk", tenant_id) as connection:
        return connection.execute(query).mappings().all()


def _present(row: RowMapping) -> dict[str, Any]:
    ids = {name: row[name] and str(row[name]) for name in ("payment_id", "provider_id", "webhook_id")}
    amount = None if row["amount_minor"] is None else format_amount(row["amount_minor"], row["currency"])
    plain = {name: row[name] for name in ("kind", "reason", "detail", "state", "amount_minor", "currency", "attempts")}
    closed = {"closed_at": format_time(row["closed_at"]), "closed_by": row["closed_by"]}
    about = {"id": str(row["id"]), "tenant_id": str(row["tenant_id"])}
    return {**about, **plain, "amount": amount, **ids, "created_at": format_time(row["created_at"]), **closed}
