"""Payments as callers see them: made once per idempotency key, read, listed, cancelled."""

from __future__ import annotations

import datetime
import json
import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, text

from app.core.decision import Verdict
from app.core.errors import RequestRejected
from app.core.facts import Command, CommandKind
from app.core.payments import Payment
from app.runtime import Runtime
from app.services import audit, settlement
from app.services.access import Caller
from app.services.after_commit import tell
from app.services.audit import AuditRow
from app.services.payment_rows import read_payment
from app.services.settlement import Item
from models import Database, new_id

PAYMENT_COLUMNS = (
    "id, tenant_id, version, user_id, amount_minor, currency, status, provider_id, created_at, updated_at, expires_at,"
    " exceptions, provider_reference, redirect_url, failure_reason, metadata, completed_at, received_minor,"
    " received_currency, reversed_minor"
)


@dataclass(frozen=True, slots=True)
class Deposit:
    """A checked request for a deposit. `request_sha256` is over what the caller asked for, to compare repeats."""

    user_id: str
    amount_minor: int
    currency: str
    provider_id: uuid.UUID | None
    success_url: str | None
    failure_url: str | None
    metadata: dict[str, str]
    idempotency_key: str
    request_sha256: bytes


@dataclass(frozen=True, slots=True)
class Creation:
    """A payment, and whether an earlier request with the same key had made it."""

    payment: Payment
    is_replayed: bool


def create_deposit(runtime: Runtime, caller: Caller, deposit: Deposit) -> Creation:
    """Makes the payment of an idempotency key, or finds the one it made; it is committed when this returns.

    A parallel request with the same key waits here for the first one's commit. Raises RequestRejected (422) for
    another body under the same key, an unusable provider, a return URL of a foreign origin, or too large an amount.
    """
    scope = "" if caller.user_id is None else f"user:{caller.user_id}"
    with runtime.database.transaction("web", caller.tenant_id) as connection:
        existing = _find_by_key(connection, caller.tenant_id, scope, deposit.idempotency_key)
        if existing is None:
            row = _insert(connection, caller, scope, deposit)
            if row is not None:
                _accompany(connection, caller, row)
        if existing is None and row is None:
            # The key was taken by a request that committed while ours waited on the unique index.
            existing = _find_by_key(connection, caller.tenant_id, scope, deposit.idempotency_key)
    if existing is not None:
        if bytes(existing["request_sha256"]) != deposit.request_sha256:
            raise RequestRejected(422, "This Idempotency-Key was used with another body.")
        return Creation(read_payment(existing), is_replayed=True)
    assert row is not None  # noqa: S101  # either found or inserted
    runtime.doorbells.ring("provider")
    return Creation(read_payment(row), is_replayed=False)


def _find_by_key(connection: Connection, tenant_id: uuid.UUID, scope: str, key: str) -> RowMapping | None:
    return (
        connection.execute(
            text(
                f"select {PAYMENT_COLUMNS}, request_sha256 from payment_transactions"  # noqa: S608  # nosec B608
                " where tenant_id = :tenant_id and idempotency_scope = :scope and idempotency_key = :key"
            ),
            {"tenant_id": tenant_id, "scope": scope, "key": key},
        )
        .mappings()
        .first()
    )


_INSERT = text(
    f"""
    insert into payment_transactions (id, tenant_id, user_id, amount_minor, currency, provider_id, success_url,
        failure_url, metadata, idempotency_scope, idempotency_key, request_sha256, expires_at)
    values (:id, :tenant_id, :user_id, :amount_minor, :currency, :provider_id, :success_url, :failure_url,
        cast(:metadata as jsonb), :scope, :key, :request_sha256, now() + make_interval(secs => :seconds))
    on conflict (tenant_id, idempotency_scope, idempotency_key) do nothing
    returning {PAYMENT_COLUMNS}
    """  # noqa: S608  # a constant  # nosec B608
)


def _insert(connection: Connection, caller: Caller, scope: str, deposit: Deposit) -> RowMapping | None:
    tenant = (
        connection.execute(
            text(
                "select t.default_success_url, t.default_failure_url, t.allowed_origins, t.amount_minor_max,"
                " t.payment_seconds, p.id as provider_id, p.currencies from tenants t"
                " left join payment_providers p on p.tenant_id = t.id and p.disabled_at is null"
                " and p.id = coalesce(:provider_id, t.default_provider_id) where t.id = :tenant_id"
            ),
            {"tenant_id": caller.tenant_id, "provider_id": deposit.provider_id},
        )
        .mappings()
        .one()
    )
    _check_against_tenant(deposit, tenant)
    return (
        connection.execute(
            _INSERT,
            {
                "id": new_id(),
                "tenant_id": caller.tenant_id,
                "user_id": deposit.user_id,
                "amount_minor": deposit.amount_minor,
                "currency": deposit.currency,
                "provider_id": tenant["provider_id"],
                "success_url": deposit.success_url or tenant["default_success_url"],
                "failure_url": deposit.failure_url or tenant["default_failure_url"],
                "metadata": json.dumps(deposit.metadata),
                "scope": scope,
                "key": deposit.idempotency_key,
                "request_sha256": deposit.request_sha256,
                "seconds": tenant["payment_seconds"],
            },
        )
        .mappings()
        .first()
    )


def _check_against_tenant(deposit: Deposit, tenant: RowMapping) -> None:
    errors = []
    if tenant["provider_id"] is None:
        errors.append({"field": "provider_id", "message": "is not a provider of yours that takes deposits"})
    elif tenant["currencies"] is not None and deposit.currency not in tenant["currencies"]:
        errors.append({"field": "currency", "message": "is not one that this provider takes"})
    if tenant["amount_minor_max"] is not None and deposit.amount_minor > tenant["amount_minor_max"]:
        errors.append({"field": "amount", "message": "is above your limit"})
    for field_name in ("success_url", "failure_url"):
        url = getattr(deposit, field_name)
        if url is not None and _origin(url) not in tenant["allowed_origins"]:
            errors.append({"field": field_name, "message": "must be of one of your allowed origins"})
    if errors:
        raise RequestRejected(422, "The request has errors.", errors)


def _origin(url: str) -> str:
    """The origin of a URL that was checked to have scheme and host (RFC 6454, lower case)."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.split('/', 1)[0].split('?', 1)[0].split('#', 1)[0]}".lower()


def _accompany(connection: Connection, caller: Caller, row: RowMapping) -> None:
    """Writes what belongs to a new payment: the hold, the work that is due, and the audit row."""
    connection.execute(
        text(
            "with held as (insert into wallet_temp_logs (payment_id, tenant_id, user_id, currency, amount_minor)"
            " values (:id, :tenant_id, :user_id, :currency, :amount_minor))"
            " insert into payment_work (payment_id, tenant_id, provider_id, action)"
            " values (:id, :tenant_id, :provider_id, 'create')"
        ),
        dict(row),
    )
    detail = {
        "amount_minor": row["amount_minor"],
        "currency": row["currency"],
        "user_id": row["user_id"],
        "provider_id": str(row["provider_id"]),
        "to": "pending",
    }
    audit.write(connection, [AuditRow(caller.tenant_id, caller.actor, "payment_created", detail, row["id"], 1)])


def get_payment(database: Database, caller: Caller, payment_id: uuid.UUID) -> Payment:
    """Returns a payment of the caller's tenant, and of its user where the caller is a client. Raises 404."""
    with database.transaction("web", caller.tenant_id) as connection:
        row = (
            connection.execute(
                text(
                    f"select {PAYMENT_COLUMNS} from payment_transactions"  # noqa: S608  # nosec B608
                    " where tenant_id = :tenant_id and id = :id"
                    " and (cast(:user_id as text) is null or user_id = :user_id)"
                ),
                {"tenant_id": caller.tenant_id, "id": payment_id, "user_id": caller.user_id},
            )
            .mappings()
            .first()
        )
    if row is None:
        raise RequestRejected(404, "There is no such payment.")
    return read_payment(row)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which payments to list; `before` is the place after which the page begins."""

    user_id: str | None = None
    status: str | None = None
    created_after: datetime.datetime | None = None
    created_before: datetime.datetime | None = None
    before: tuple[datetime.datetime, uuid.UUID] | None = None


def list_payments(database: Database, caller: Caller, filters: Filters, limit: int) -> list[Payment]:
    """Returns up to `limit` payments, newest first."""
    conditions, parameters = ["tenant_id = :tenant_id"], {"tenant_id": caller.tenant_id, "limit": limit}
    user_id = caller.user_id if caller.user_id is not None else filters.user_id
    for condition, name, value in (
        ("user_id = :user_id", "user_id", user_id),
        ("status = :status", "status", filters.status),
        ("created_at > :created_after", "created_after", filters.created_after),
        ("created_at < :created_before", "created_before", filters.created_before),
    ):
        if value is not None:
            conditions.append(condition)
            parameters[name] = value
    if filters.before is not None:
        conditions.append("(created_at, id) < (:before_at, :before_id)")
        parameters["before_at"], parameters["before_id"] = filters.before
    with database.transaction("web", caller.tenant_id) as connection:
        rows = connection.execute(
            text(
                f"select {PAYMENT_COLUMNS} from payment_transactions where "  # noqa: S608  # constants  # nosec B608
                + " and ".join(conditions)
                + " order by created_at desc, id desc limit :limit"
            ),
            parameters,
        ).mappings()
        return [read_payment(row) for row in rows]


def cancel_payment(runtime: Runtime, caller: Caller, payment_id: uuid.UUID) -> Payment:
    """Cancels an open payment at once; the provider's session is closed afterwards. Raises 404, or 409 if it ended."""
    get_payment(runtime.database, caller, payment_id)
    with runtime.database.transaction("web", caller.tenant_id) as connection:
        outcomes = settlement.settle(
            connection, [Item(caller.tenant_id, payment_id, Command(CommandKind.CANCEL), caller.actor)]
        )
    decision = outcomes[0].decision
    assert decision is not None  # noqa: S101  # the payment was there, and payments are never deleted
    if decision.verdict is not Verdict.APPLIED:
        raise RequestRejected(409, f"The payment cannot be cancelled: {decision.reason}.")
    tell(runtime, outcomes)
    runtime.doorbells.ring("provider")
    return decision.payment
