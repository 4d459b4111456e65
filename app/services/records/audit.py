"""Write audit rows, in the transaction of the change that they record."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection

from models import buffer, prepared, tables
from models.array_params import rows_of


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One event. `actor` is `key:<id>`, `user:<id>`, `provider:<id>`, `system` or `uid:<number>@<host>`."""

    tenant_id: uuid.UUID
    actor: str
    kind: str
    detail: dict[str, Any]
    payment_id: uuid.UUID | None = None
    payment_version: int | None = None


_ROWS = rows_of(tables.audit_logs, *(field.name for field in fields(AuditRow)))
# A set is read in its order, so the rows' ids are in the order in which things happened.
_INSERT = prepared(_ROWS.insert())


def write(connection: Connection, rows: list[AuditRow]) -> None:
    """Append `rows` in their order."""
    if rows:
        buffer(connection, _INSERT, _ROWS.encode_objects(rows))
