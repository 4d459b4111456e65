"""Lists payments, webhooks, refusals and alarms of all tenants for operators, newest first."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import UUID, Column, ColumnElement, FromClause, RowMapping, case, cast, func, select

from app.core.errors import RequestRejected
from app.core.payment import present_payment
from app.runtime.runtime import Runtime
from app.services.payments.queries import SHOWN
from app.services.payments.rows import read_payment
from app.services.payments.timeline import read_timeline
from app.services.records.alerts import IS_OPEN
from models import tables
from models.sql import columns


@dataclass(frozen=True, slots=True)
class ListFilters:
    """Which rows to list; a field that is None filters nothing. Times are of creation or receipt.

    `is_open`: of alarms, those that are open.
    """

    limit: int
    tenant_id: uuid.UUID | None = None
    user_id: str | None = None
    payment_id: uuid.UUID | None = None
    provider_id: uuid.UUID | None = None
    status: str | None = None
    kind: str | None = None
    after: datetime.datetime | None = None
    before: datetime.datetime | None = None
    is_open: bool = False


_PAYMENTS, _WEBHOOKS = tables.payment_transactions, tables.payment_webhooks
_REFUSALS, _ALERTS, _KEYS, _AUDIT = tables.webhook_refusals, tables.alerts, tables.webhook_keys, tables.audit_logs
_WEBHOOK = [
    *columns(_WEBHOOKS, "id", "tenant_id", "provider_id", "external_id", "path", "payment_id", "status", "verdict"),
    *columns(_WEBHOOKS, "reason", "conflicts_with", "remote_address", "received_at", "settled_at"),
    func.octet_length(_WEBHOOKS.c.body).label("body_bytes"),
]
_DUPLICATES = select(_KEYS.c.duplicates).where(_KEYS.c.webhook_id == _WEBHOOKS.c.id).scalar_subquery()
_WEBHOOK_IN_DETAIL = [
    *_WEBHOOK,
    *columns(_WEBHOOKS, "headers", "body"),
    func.encode(_WEBHOOKS.c.body_sha256, "hex").label("body_sha256"),
    _DUPLICATES.label("duplicates"),
]
_REFUSAL = [
    *columns(_REFUSALS, "tenant_id", "provider_id", "reason", "remote_address"),
    func.octet_length(_REFUSALS.c.body_head).label("body_bytes"),
    _REFUSALS.c.at,
]
_ALERT = [
    *columns(_ALERTS, "id", "tenant_id", "kind", "severity", "message", "detail", "subject", "at"),
    case((_ALERTS.c.subject.is_(None), "event"), (IS_OPEN, "open"), else_="resolved").label("state"),
    *columns(_ALERTS, "occurrences", "last_at", "resolved_at", "resolved_by", "attempts"),
    _ALERTS.c.due_at.is_not(None).label("is_waiting"),
]


def list_payments(runtime: Runtime, filters: ListFilters) -> list[dict[str, Any]]:
    """Return payments as the API shows them, each with its `tenant_id`."""
    rows = _select(runtime, SHOWN, _PAYMENTS.c.created_at, filters)
    return [_present(row) for row in rows]


def _present(row: RowMapping) -> dict[str, Any]:
    return {**present_payment(read_payment(row)), "tenant_id": str(row["tenant_id"])}


def show_payment(runtime: Runtime, payment_id: uuid.UUID) -> dict[str, Any]:
    """Return `{payment, timeline}` of one payment of any tenant. Raise RequestRejected where there is none."""
    row = _find(runtime, SHOWN, _PAYMENTS.c.id == payment_id)
    if row is None:
        raise RequestRejected(404, f"there is no payment {payment_id}")
    return {"payment": _present(row), "timeline": read_timeline(runtime.database, row["tenant_id"], payment_id)}


def list_webhooks(runtime: Runtime, filters: ListFilters) -> list[dict[str, Any]]:
    """Return verified deliveries without their bytes."""
    return [dict(row) for row in _select(runtime, _WEBHOOK, _WEBHOOKS.c.received_at, filters)]


def show_webhook(runtime: Runtime, webhook_id: uuid.UUID) -> dict[str, Any]:
    """Return one delivery with its headers, its raw bytes (`body`) and how often it was repeated.

    Raise RequestRejected where there is none.
    """
    row = _find(runtime, _WEBHOOK_IN_DETAIL, _WEBHOOKS.c.id == webhook_id)
    if row is None:
        raise RequestRejected(404, f"there is no webhook {webhook_id}")
    return {**row, "body": bytes(row["body"])}


def list_refusals(runtime: Runtime, filters: ListFilters) -> list[dict[str, Any]]:
    """Return refused deliveries, of which the ten thousand newest are kept."""
    return [dict(row) for row in _select(runtime, _REFUSAL, _REFUSALS.c.at, filters, _REFUSALS.c.sequence.desc())]


def list_alerts(runtime: Runtime, filters: ListFilters) -> list[dict[str, Any]]:
    """Return alarms; one that `is_waiting` is still to be posted to ALERT_URL.

    `state` is open while what raised it is so, then resolved; event where it reports what does not last.
    """
    return [dict(row) for row in _select(runtime, _ALERT, _ALERTS.c.at, filters, _ALERTS.c.at.desc())]


def _select(
    runtime: Runtime,
    shown: Sequence[ColumnElement[Any]],
    moment: Column[Any],
    filters: ListFilters,
    *order: ColumnElement[Any],
) -> Sequence[RowMapping]:
    table = moment.table
    conditions: list[ColumnElement[bool]] = [
        table.c[name] == value
        for name in ("tenant_id", "user_id", "provider_id", "status", "kind")
        if (value := getattr(filters, name)) is not None
    ]
    if filters.payment_id is not None:
        conditions.append(_is_of_payment(table, filters.payment_id))
    if filters.after is not None:
        conditions.append(moment > filters.after)
    if filters.before is not None:
        conditions.append(moment < filters.before)
    if filters.is_open:
        conditions.append(IS_OPEN)
    if not order:
        # Ids are in order of time: across all tenants the primary key is the index that has the newest rows.
        newest = table.c.id.desc()
        order = (moment.desc(), newest) if filters.tenant_id else (newest,)
    with runtime.database.transaction("operator") as connection:
        query = select(*shown).where(*conditions).order_by(*order).limit(filters.limit)
        return connection.execute(query).mappings().all()


def _is_of_payment(table: FromClause, payment_id: uuid.UUID) -> ColumnElement[bool]:
    """Return the condition; a delivery with events of several payments is one of each that it led to a decision of."""
    own: ColumnElement[bool] = table.c.payment_id == payment_id
    if table is not _WEBHOOKS:
        return own
    tenant = select(_PAYMENTS.c.tenant_id).where(_PAYMENTS.c.id == payment_id).scalar_subquery()
    decided = _AUDIT.c.tenant_id == tenant, _AUDIT.c.payment_id == payment_id, _AUDIT.c.kind == "decision"
    named = select(cast(_AUDIT.c.detail["webhook_id"].astext, UUID)).where(*decided)
    return _WEBHOOKS.c.id.in_(select(_WEBHOOKS.c.id).where(own).union(named))


def _find(runtime: Runtime, shown: Sequence[ColumnElement[Any]], wanted: ColumnElement[bool]) -> RowMapping | None:
    with runtime.database.transaction("operator") as connection:
        return connection.execute(select(*shown).where(wanted)).mappings().first()
