"""Deliveries and their attempts as callers see them: one, and pages of an endpoint's."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, case, select

from app.core.errors import RequestRejected
from app.core.payment import format_time
from app.runtime.runtime import Runtime
from app.services.deliveries.webhook_endpoints import find_endpoint
from models import tables
from models.database import Role
from models.sql import columns

_DELIVERIES, _WORK, _ATTEMPTS = tables.endpoint_deliveries, tables.delivery_work, tables.delivery_attempts

# A claimed row's time is the end of its lease, not that of an attempt.
_NEXT_AT = case((_WORK.c.claim_id.is_(None), _WORK.c.due_at), else_=None).label("next_attempt_at")
_SHOWN = (
    *columns(_DELIVERIES, "id", "endpoint_id", "notification_id", "event_id", "event_type", "status"),
    *columns(_DELIVERIES, "created_at", "ended_at"),
    _NEXT_AT,
)


@dataclass(frozen=True, slots=True)
class DeliveryFilters:
    """Which deliveries to list; `before` is the cursor after which the page begins."""

    status: str | None = None
    event_type: str | None = None
    after: int | None = None
    before: uuid.UUID | None = None


def list_deliveries(
    runtime: Runtime,
    tenant_id: uuid.UUID,
    endpoint_id: uuid.UUID,
    filters: DeliveryFilters,
    limit: int,
    *,
    shows_answers: bool,
    role: Role = "web",
) -> list[dict[str, Any]]:
    """Return up to `limit` deliveries of an endpoint, newest first. Raise RequestRejected (404)."""
    wanted = _of_tenant(tenant_id).where(_DELIVERIES.c.endpoint_id == endpoint_id)
    if filters.status is not None:
        wanted = wanted.where(_DELIVERIES.c.status == filters.status)
    if filters.event_type is not None:
        wanted = wanted.where(_DELIVERIES.c.event_type == filters.event_type)
    if filters.after is not None:
        wanted = wanted.where(_DELIVERIES.c.event_id > filters.after)
    if filters.before is not None:
        wanted = wanted.where(_DELIVERIES.c.id < filters.before)
    with runtime.database.transaction(role, tenant_id) as connection:
        find_endpoint(connection, tenant_id, endpoint_id)
        rows = connection.execute(wanted.order_by(_DELIVERIES.c.id.desc()).limit(limit)).all()
        return _present_all(connection, rows, shows_answers=shows_answers)


def get_delivery(
    runtime: Runtime, tenant_id: uuid.UUID, delivery_id: uuid.UUID, *, shows_answers: bool, role: Role = "web"
) -> dict[str, Any]:
    """Return a delivery of the tenant. Raise RequestRejected (404)."""
    with runtime.database.transaction(role, tenant_id) as connection:
        rows = connection.execute(_of_tenant(tenant_id).where(_DELIVERIES.c.id == delivery_id)).all()
        if not rows:
            raise RequestRejected(404, "There is no such delivery.")
        return _present_all(connection, rows, shows_answers=shows_answers)[0]


def _of_tenant(tenant_id: uuid.UUID) -> Select[Any]:
    work = (_WORK.c.tenant_id == _DELIVERIES.c.tenant_id) & (_WORK.c.delivery_id == _DELIVERIES.c.id)
    return select(*_SHOWN).select_from(_DELIVERIES.outerjoin(_WORK, work)).where(_DELIVERIES.c.tenant_id == tenant_id)


def _present_all(connection: Connection, rows: Sequence[Row[Any]], *, shows_answers: bool) -> list[dict[str, Any]]:
    of_rows = select(*_ATTEMPTS.c).where(_ATTEMPTS.c.delivery_id.in_([row.id for row in rows]))
    attempts = defaultdict(list)
    for row in connection.execute(of_rows.order_by(_ATTEMPTS.c.delivery_id, _ATTEMPTS.c.number)) if rows else ():
        attempts[row.delivery_id].append(_present_attempt(row, shows_answers=shows_answers))
    return [_present(row, attempts[row.id]) for row in rows]


def _present(row: Row[Any], attempts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "endpoint_id": str(row.endpoint_id),
        "webhook_id": str(row.notification_id or row.id),
        "event_id": row.event_id,
        "event_type": row.event_type,
        "status": row.status,
        "created_at": format_time(row.created_at),
        "ended_at": row.ended_at and format_time(row.ended_at),
        "next_attempt_at": row.next_attempt_at and format_time(row.next_attempt_at),
        "attempts": attempts,
    }


def _present_attempt(row: Row[Any], *, shows_answers: bool) -> dict[str, Any]:
    shown = {
        "number": row.number,
        "at": format_time(row.at),
        "status_code": row.status_code,
        "milliseconds": row.milliseconds,
        "error": row.error,
    }
    # An answer is whatever stands at the endpoint: for those who may change the URL.
    answer = None if row.answer is None else bytes(row.answer).decode("utf-8", "replace")
    return {**shown, "answer": answer} if shows_answers else shown
