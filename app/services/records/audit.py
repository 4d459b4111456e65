"""Audit rows: written by the transaction that does what they tell."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from models import buffer, prepared
from models.array_params import encode_rows, row_set


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One event. `actor` is `key:<id>`, `user:<id>`, `provider:<id>`, `system` or `uid:<number>@<host>`."""

    tenant_id: uuid.UUID
    actor: str
    kind: str
    detail: dict[str, Any]
    payment_id: uuid.UUID | None = None
    payment_version: int | None = None


_COLUMNS = {
    "tenant_id": "uuid",
    "actor": "text",
    "kind": "text",
    "payment_id": "uuid",
    "payment_version": "integer",
    "detail": "jsonb",
}
_NAMES = ", ".join(_COLUMNS)
# A set is read in its order, so the rows' ids are in the order in which things happened.
_INSERT = prepared(f"insert into audit_logs ({_NAMES}) select {_NAMES} from {row_set(_COLUMNS)}")  # noqa: S608  # constants


def write(connection: Connection, rows: list[AuditRow]) -> None:
    """Append `rows` in their order."""
    if rows:
        told = [(row.tenant_id, row.actor, row.kind, row.payment_id, row.payment_version, row.detail) for row in rows]
        buffer(connection, _INSERT, encode_rows(_COLUMNS, told))
