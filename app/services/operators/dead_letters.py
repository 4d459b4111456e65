"""Dead letters as operators read them: lists, counts, one in detail."""

from __future__ import annotations

import base64
import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, text

from app.core.errors import RequestRejected
from app.core.money import format_amount
from app.core.payment import format_time
from models import Database


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


_SHOWN = (
    "id, tenant_id, kind, reason, detail, state, payment_id, provider_id, webhook_id, amount_minor, currency, attempts,"
    " created_at, closed_at, closed_by"
)


def list_dead_letters(database: Database, filters: DeadLetterFilters, limit: int) -> list[dict[str, Any]]:
    """Return up to `limit` dead letters, newest first, of one tenant or of all."""
    where, values = _conditions(filters)
    query = f"select {_SHOWN} from dead_letters where {where} order by created_at desc, id desc limit :limit"  # noqa: S608  # constants
    return [_present(row) for row in _read(database, filters.tenant_id, query, values | {"limit": limit})]


def count_dead_letters(database: Database, filters: DeadLetterFilters) -> int:
    """Return how many dead letters fit the filters."""
    where, values = _conditions(filters)
    query = f"select count(*) as total from dead_letters where {where}"  # noqa: S608  # constants
    return int(_read(database, filters.tenant_id, query, values)[0]["total"])


def read_dead_letter(database: Database, tenant_id: uuid.UUID | None, dead_letter_id: uuid.UUID) -> dict[str, Any]:
    """Return a dead letter with its raw bytes (base64), headers and history. Raise RequestRejected (404)."""
    query = f"select {_SHOWN}, body, headers, history, case_reference from dead_letters where id = :id"  # noqa: S608  # constants
    query += " and (cast(:tenant_id as uuid) is null or tenant_id = :tenant_id)"
    rows = _read(database, tenant_id, query, {"id": dead_letter_id, "tenant_id": tenant_id})
    if not rows:
        raise RequestRejected(404, "There is no such dead letter.")
    row = rows[0]
    body = None if row["body"] is None else base64.b64encode(row["body"]).decode("ascii")
    more = {"provider_reference": row["case_reference"], "headers": row["headers"], "history": row["history"]}
    return {**_present(row), **more, "body_base64": body}


def _conditions(filters: DeadLetterFilters) -> tuple[str, dict[str, Any]]:
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
    # With a tenant: the role whose row-level security shows no other tenant's rows.
    with database.transaction("operator" if tenant_id is None else "clerk", tenant_id) as connection:
        return connection.execute(text(query), values).mappings().all()


def _present(row: RowMapping) -> dict[str, Any]:
    ids = {name: row[name] and str(row[name]) for name in ("payment_id", "provider_id", "webhook_id")}
    amount = None if row["amount_minor"] is None else format_amount(row["amount_minor"], row["currency"])
    plain = {name: row[name] for name in ("kind", "reason", "detail", "state", "amount_minor", "currency", "attempts")}
    closed = {"closed_at": format_time(row["closed_at"]), "closed_by": row["closed_by"]}
    about = {"id": str(row["id"]), "tenant_id": str(row["tenant_id"])}
    return {**about, **plain, "amount": amount, **ids, "created_at": format_time(row["created_at"]), **closed}
