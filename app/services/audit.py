"""Audit rows: written by the transaction that does what they tell."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One thing that happened. `actor` is `key:<id>`, `user:<id>`, `provider:<id>`, `system` or `operator:<name>`."""

    tenant_id: uuid.UUID
    actor: str
    kind: str
    detail: dict[str, Any]
    payment_id: uuid.UUID | None = None
    payment_version: int | None = None


_INSERT = text(
    """
    insert into audit_logs (tenant_id, actor, kind, payment_id, payment_version, detail)
    select tenant_id, actor, kind, payment_id, version, cast(detail as jsonb)
    from unnest(cast(:tenants as uuid[]), cast(:actors as text[]), cast(:kinds as text[]), cast(:payments as uuid[]),
                cast(:versions as integer[]), cast(:details as text[])) with ordinality
        as r(tenant_id, actor, kind, payment_id, version, detail, place)
    order by place
    """
)


def write(connection: Connection, rows: list[AuditRow]) -> None:
    """Appends `rows` in their order."""
    if not rows:
        return
    connection.execute(
        _INSERT,
        {
            "tenants": [row.tenant_id for row in rows],
            "actors": [row.actor for row in rows],
            "kinds": [row.kind for row in rows],
            "payments": [row.payment_id for row in rows],
            "versions": [row.payment_version for row in rows],
            "details": [json.dumps(row.detail, default=str) for row in rows],
        },
    )
