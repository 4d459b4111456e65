"""Refunds as callers see them: asked for, read, listed. docs/ARCHITECTURE.md has the walk."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.exc import IntegrityError

from app.core.decision import Decision, Verdict
from app.core.errors import RequestRejected
from app.core.facts import Command, CommandKind
from app.core.money import AmountError
from app.core.payment import Payment
from app.core.refunds.deciders import DISPUTED
from app.core.refunds.records import Refund, RefundStatus, WantedRefund
from app.core.refunds.shown import present_refund
from app.runtime.runtime import Runtime
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from models import Database, Row, buffer, new_id, prepared, read, single, tables
from models.array_params import rows_of
from models.sql import columns

_REFUNDS = tables.refunds
_SHOWN = columns(
    _REFUNDS,
    *("id", "payment_id", "reference", "amount_minor", "currency", "status", "provider_reference", "reason"),
    *("failure_reason", "metadata", "created_at", "updated_at"),
)
_OF_TENANT = select(*_SHOWN).where(_REFUNDS.c.tenant_id == bindparam("tenant_id"))
_GET = single(_OF_TENANT.where(_REFUNDS.c.id == bindparam("id")))
_LIST = single(
    _OF_TENANT.where(_REFUNDS.c.payment_id == bindparam("payment_id")).order_by(_REFUNDS.c.created_at, _REFUNDS.c.id)
)
_FIND_BY_KEY = prepared(
    select(*_SHOWN, _REFUNDS.c.request_sha256).where(
        _REFUNDS.c.tenant_id == bindparam("tenant_id"), _REFUNDS.c.idempotency_key == bindparam("key")
    )
)
_ADAPTER = single(
    """
    select a.adapter from payment_transactions p
    join payment_providers a on a.tenant_id = p.tenant_id and a.id = p.provider_id
    where p.tenant_id = :tenant_id and p.id = :payment_id
    """
)
# The payment first, as settling locks it, then the user's wallets; what is available is read once nobody can change it.
_LOCK_WALLETS = prepared(
    "select from payment_transactions where tenant_id = :tenant_id and id = :payment_id for no key update",
    """
    select from wallets w join payment_transactions p on p.tenant_id = w.tenant_id and p.user_id = w.user_id
    where w.kind = 'user' and p.tenant_id = :tenant_id and p.id = :payment_id order by w.id for no key update of w
    """,
    """
    select w.currency, t.negative_policy = 'hold' as is_bound, w.balance_minor - (
        select coalesce(sum(l.amount_minor), 0) from wallet_temp_logs l where l.tenant_id = w.tenant_id
            and l.user_id = w.user_id and l.currency = w.currency and l.kind = 'refund' and l.state = 'held'
        ) as available_minor
    from payment_transactions p join tenants t on t.id = p.tenant_id
    join wallets w on w.tenant_id = p.tenant_id and w.user_id = p.user_id and w.kind = 'user'
    where p.tenant_id = :tenant_id and p.id = :payment_id
    """,
)
_NEW = rows_of(
    _REFUNDS,
    *("id", "tenant_id", "payment_id", "reference", "amount_minor", "currency", "reason", "metadata"),
    *("idempotency_key", "request_sha256", "created_at", "updated_at"),
)
_INSERT = prepared(_NEW.insert())
_HOLD = rows_of(
    tables.wallet_temp_logs, "payment_id", "refund_id", "kind", "tenant_id", "user_id", "currency", "amount_minor"
)
_INSERT_HOLD = prepared(_HOLD.insert())


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A checked request for a refund. `request_sha256` is over the request as it was made, to compare repeats."""

    payment_id: uuid.UUID
    amount: str | None
    reference: str | None
    reason: str | None
    idempotency_key: str
    request_sha256: bytes
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefundMade:
    """A refund as callers see it, and whether an earlier request with the same key had made it."""

    refund: dict[str, Any]
    is_replayed: bool


def ask_refund(runtime: Runtime, tenant_id: uuid.UUID, wanted: RefundRequest, actor: str) -> RefundMade:
    """Make the refund of an idempotency key, or find the one it made; its money is held when this returns.

    Raise RequestRejected: 404; 409 where it is more than is left or available, or a dispute is open; 422 for another
    body under the same key, an amount that the currency does not allow, or an adapter that cannot refund.
    """
    about = {"tenant_id": tenant_id, "payment_id": wanted.payment_id}
    rows = runtime.database.run_single("clerk", _ADAPTER, about, tenant_id)
    if not rows:
        raise RequestRejected(404, "There is no such payment.")
    with runtime.database.transaction("clerk", tenant_id) as connection:
        earlier = _find_earlier(connection, tenant_id, wanted)
    if earlier is not None:
        return earlier
    if not runtime.find_adapter(rows[0].adapter).capabilities.can_refund:
        raise RequestRejected(422, "The payment's provider cannot refund through here.", code="refunds_not_supported")
    try:
        return _make(runtime, tenant_id, wanted, actor)
    except AmountError as error:
        raise RequestRejected(422, "The request has errors.", [{"field": "amount", "message": str(error)}]) from None
    except IntegrityError:
        # A parallel request about another payment has used the key.
        with runtime.database.transaction("clerk", tenant_id) as connection:
            earlier = _find_earlier(connection, tenant_id, wanted)
        if earlier is None:
            raise
        return earlier


def _make(runtime: Runtime, tenant_id: uuid.UUID, wanted: RefundRequest, actor: str) -> RefundMade:
    with settlement.open(runtime, "clerk", tenant_id) as batch:
        about = {"tenant_id": tenant_id, "payment_id": wanted.payment_id}
        rows = read(batch.connection, _LOCK_WALLETS, about)
        # A parallel request with the same key may have been waited for.
        earlier = _find_earlier(batch.connection, tenant_id, wanted)
        if earlier is not None:
            return earlier
        is_bound = any(row.is_bound for row in rows)
        available = {row.currency: int(row.available_minor) for row in rows} if is_bound else None
        order = WantedRefund(new_id(), wanted.amount, wanted.reference, wanted.reason, wanted.metadata, available)
        command = Command(CommandKind.REFUND, refund=order)
        (outcome,) = batch.settle([Item(tenant_id, wanted.payment_id, command, actor)])
        decision = outcome.decision
        assert decision is not None  # noqa: S101  # the payment was there, and payments are never deleted
        if decision.verdict is not Verdict.APPLIED:
            raise _reject(decision)
        refund = next(one for one in decision.payment.refunds if one.id == order.id)
        _insert(batch.connection, decision.payment, refund, wanted)
        return RefundMade(present_refund(decision.payment.id, refund), is_replayed=False)


def _reject(decision: Decision) -> RequestRejected:
    code = "disputed" if decision.reason == DISPUTED else None
    return RequestRejected(409, f"The refund cannot be made: {decision.reason}.", code=code)


def _insert(connection: Connection, payment: Payment, refund: Refund, wanted: RefundRequest) -> None:
    key = (refund.id, payment.tenant_id, payment.id, refund.reference, refund.amount_minor, refund.currency)
    request = (refund.reason, dict(refund.metadata), wanted.idempotency_key, wanted.request_sha256)
    buffer(connection, _INSERT, _NEW.encode([(*key, *request, refund.created_at, refund.updated_at)]))
    hold = (payment.id, refund.id, "refund", payment.tenant_id, payment.user_id, refund.currency, refund.amount_minor)
    buffer(connection, _INSERT_HOLD, _HOLD.encode([hold]))


def _find_earlier(connection: Connection, tenant_id: uuid.UUID, wanted: RefundRequest) -> RefundMade | None:
    for row in read(connection, _FIND_BY_KEY, {"tenant_id": tenant_id, "key": wanted.idempotency_key}):
        if bytes(row.request_sha256) != wanted.request_sha256:
            message = "This Idempotency-Key was used with another body."
            raise RequestRejected(422, message, code="idempotency_key_reused")
        return RefundMade(_present(row), is_replayed=True)
    return None


def get_refund(
    database: Database, tenant_id: uuid.UUID, refund_id: uuid.UUID, role: Literal["web", "clerk"]
) -> dict[str, Any]:
    """Return a refund of the tenant. Raise 404."""
    rows = database.run_single(role, _GET, {"tenant_id": tenant_id, "id": refund_id}, tenant_id)
    if not rows:
        raise RequestRejected(404, "There is no such refund.")
    return _present(rows[0])


def list_refunds(
    database: Database, tenant_id: uuid.UUID, payment_id: uuid.UUID, role: Literal["web", "clerk"]
) -> list[dict[str, Any]]:
    """Return the refunds of a payment, oldest first. Raise 404."""
    wanted = {"tenant_id": tenant_id, "payment_id": payment_id}
    if not database.run_single(role, _ADAPTER, wanted, tenant_id):
        raise RequestRejected(404, "There is no such payment.")
    return [_present(row) for row in database.run_single(role, _LIST, wanted, tenant_id)]


def _present(row: Row) -> dict[str, Any]:
    values = row._asdict()
    refund = Refund(
        **{name: values[name] for name in ("id", "reference", "amount_minor", "currency", "provider_reference")},
        **{name: values[name] for name in ("reason", "failure_reason", "metadata", "created_at", "updated_at")},
        status=RefundStatus(row.status),
    )
    return present_refund(row.payment_id, refund)
