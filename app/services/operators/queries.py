"""Lists across tenants for operators: payments, webhooks, refusals, alarms; newest first."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, text

from app.core.errors import RequestRejected
from app.core.payment import present_payment
from app.runtime.runtime import Runtime
from app.services.payments.queries import SHOWN
from app.services.payments.rows import read_payment
from app.services.payments.timeline import read_timeline
from models.sql import sql


@dataclass(frozen=True, slots=True)
class ListFilters:
    """Which rows to list; a field that is None filters nothing. Times are of creation or receipt."""

    limit: int
    tenant_id: uuid.UUID | None = None
    user_id: str | None = None
    payment_id: uuid.UUID | None = None
    provider_id: uuid.UUID | None = None
    status: str | None = None
    kind: str | None = None
    after: datetime.datetime | None = None
    before: datetime.datetime | None = None


_PAYMENT = sql("{shown}", shown=SHOWN)
_WEBHOOK = (
    "id, tenant_id, provider_id, external_id, path, payment_id, status, verdict, reason, conflicts_with,"
    " remote_address, received_at, settled_at, octet_length(body) as body_bytes"
)
_REFUSAL = "tenant_id, provider_id, reason, remote_address, octet_length(body_head) as body_bytes, at"
_ALERT = "id, tenant_id, kind, severity, message, detail, at, attempts, due_at is not null as is_waiting"


def list_payments(runtime: Runtime, filters: ListFilters) -> list[dict[str, Any]]:
    """Return payments as the API shows them, each with its `tenant_id`."""
    rows = _select(runtime, _PAYMENT, "payment_transactions", "created_at", filters)
    return [_present(row) for row in rows]


def _present(row: RowMapping) -> dict[str, Any]:
    return {**present_payment(read_payment(row)), "tenant_id": str(row["tenant_id"])}


def show_payment(runtime: Runtime, payment_id: uuid.UUID) -> dict[str, Any]:
    """Return `{payment, timeline}` of one payment of any tenant. Raise RequestRejected where there is none."""
    row = _find(runtime, _PAYMENT, "payment_transactions", payment_id)
    if row is None:
        raise RequestRejected(404, f"there is no payment {payment_id}")
    return {"payment": _present(row), "timeline": read_timeline(runtime.database, row["tenant_id"], payment_id)}


def list_webhooks(runtime: Runtime, filters: ListFilters) -> list[dict[str, Any]]:
    """Return verified deliveries without their bytes."""
    return [dict(row) for row in _select(runtime, _WEBHOOK, "payment_webhooks", "received_at", filters)]


def show_webhook(runtime: Runtime, webhook_id: uuid.UUID) -> dict[str, Any]:
    """Return one delivery with its headers, its raw bytes (`body`) and how often it was repeated.

    Raise RequestRejected where there is none.
    """
    duplicates = "(select duplicates from webhook_keys k where k.webhook_id = payment_webhooks.id) as duplicates"
    columns = f"{_WEBHOOK}, headers, body, encode(body_sha256, 'hex') as body_sha256, {duplicates}"
    row = _find(runtime, columns, "payment_webhooks", webhook_id)
    if row is None:
        raise RequestRejected(404, f"there is no webhook {webhook_id}")
    return {**row, "body": bytes(row["body"])}


def list_refusals(runtime: Runtime, filters: ListFilters) -> list[dict[str, Any]]:
    """Return refused deliveries, of which the ten thousand newest are kept."""
    return [dict(row) for row in _select(runtime, _REFUSAL, "webhook_refusals", "at", filters, order="sequence desc")]


def list_alerts(runtime: Runtime, filters: ListFilters) -> list[dict[str, Any]]:
    """Return alarms; one that `is_waiting` is still to be posted to ALERT_URL."""
    return [dict(row) for row in _select(runtime, _ALERT, "alerts", "at", filters, order="at desc")]


def _select(
    runtime: Runtime, columns: str, table: str, moment: str, filters: ListFilters, order: str | None = None
) -> Sequence[RowMapping]:
    conditions: list[str] = ["true"]
    values: dict[str, Any] = {"limit": filters.limit}
    for name in ("tenant_id", "user_id", "payment_id", "provider_id", "status", "kind"):
        if (value := getattr(filters, name)) is not None:
            conditions.append(f"{name} = :{name}")
            values[name] = value
    for name, sign in (("after", ">"), ("before", "<")):
        if (value := getattr(filters, name)) is not None:
            conditions.append(f"{moment} {sign} :{name}")
            values[name] = value
    # Ids are in order of time: across all tenants the primary key is the index that has the newest rows.
    default = f"{moment} desc, id desc" if filters.tenant_id else "id desc"
    query = f"select {columns} from {table} where {' and '.join(conditions)}"  # noqa: S608  # constants  # nosec B608
    with runtime.database.transaction("operator") as connection:
        return connection.execute(text(f"{query} order by {order or default} limit :limit"), values).mappings().all()


def _find(runtime: Runtime, columns: str, table: str, wanted_id: uuid.UUID) -> RowMapping | None:
    query = f"select {columns} from {table} where id = :id"  # noqa: S608  # constants  # nosec B608
    with runtime.database.transaction("operator") as connection:
        return connection.execute(text(query), {"id": wanted_id}).mappings().first()
