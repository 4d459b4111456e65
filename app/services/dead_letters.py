"""Dead letters: work that a person must look at, one table for webhooks and provider calls."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from models import new_id


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


_COLUMNS = {
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
    "attempts": "integer",
    "case_key": "text",
    "case_reference": "text",
    "state": "text",
}
_INSERT = text(
    f"insert into dead_letters (id, headers, {', '.join(_COLUMNS)})"  # noqa: S608  # constants only  # nosec B608
    f" select id, cast(headers as jsonb), {', '.join(_COLUMNS)}"
    " from unnest(cast(:ids as uuid[]), cast(:headers as text[]), "
    + ", ".join(f"cast(:{name} as {kind}[])" for name, kind in _COLUMNS.items())
    + f") as r(id, headers, {', '.join(_COLUMNS)})"
    # The same case told again is the case that is there, whatever a person has made of it.
    " on conflict (payment_id, case_key) do nothing returning id"
)
_SUPERSEDE = text(
    """
    update dead_letters d set state = 'superseded', closed_at = now(), closed_by = 'system'
    from unnest(cast(:payments as uuid[]), cast(:refs as text[])) as s(payment_id, reference)
    where d.payment_id = s.payment_id and d.state = 'open' and d.case_key is not null
      and (d.case_reference is null or s.reference is null or d.case_reference = s.reference)
    """
)


def write(connection: Connection, rows: list[DeadLetterRow]) -> int:
    """Writes `rows` in the caller's transaction; returns how many were new."""
    if not rows:
        return 0
    parameters: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in _COLUMNS}
    parameters["ids"] = [new_id() for _ in rows]
    parameters["headers"] = [None if row.headers is None else json.dumps(row.headers) for row in rows]
    return len(connection.execute(_INSERT, parameters).all())


def supersede(connection: Connection, payments: list[tuple[uuid.UUID, str | None]]) -> None:
    """Closes the open cases of these (payment, provider reference): later money has settled them."""
    if payments:
        connection.execute(
            _SUPERSEDE,
            {"payments": [payment for payment, _ in payments], "refs": [reference for _, reference in payments]},
        )
