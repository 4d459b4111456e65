"""Payments as callers see them: read, listed, cancelled; `app.services.payments.deposits` makes them."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass

from app.core.decision import Verdict
from app.core.errors import RequestRejected
from app.core.facts import Command, CommandKind
from app.core.payment import Payment
from app.runtime.runtime import Runtime
from app.services.access.callers import Caller
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from app.services.payments.rows import read_payment
from models import Database
from models.database import single

PAYMENT_COLUMNS = (
    "id, tenant_id, version, user_id, amount_minor, currency, status, provider_id, created_at, updated_at, expires_at,"
    " exceptions, provider_reference, redirect_url, failure_reason, metadata, completed_at, received_minor,"
    " received_currency, reversed_minor, committed_until"
)

# Why a payment is still pending, from the open dead letter of its create call. It ends by itself when the call is made
# again. A payment that is not pending costs no look-up.
_PENDING_REASON = (
    "case when status = 'pending' then ("
    "select case d.reason when 'provider_refused_us' then 'provider_configuration' else 'provider_unavailable' end"
    " from dead_letters d where d.tenant_id = payment_transactions.tenant_id"
    " and d.payment_id = payment_transactions.id and d.kind = 'provider_call' and d.state = 'open'"
    " order by d.reason desc limit 1) end as pending_reason"
)
# As callers see a payment.
SHOWN_COLUMNS = f"{PAYMENT_COLUMNS}, {_PENDING_REASON}"

_GET = single(
    f"select {SHOWN_COLUMNS} from payment_transactions where tenant_id = :tenant_id and id = :id"  # noqa: S608  # nosec B608
    " and (cast(:user_id as text) is null or user_id = :user_id)"
)


def get_payment(database: Database, caller: Caller, payment_id: uuid.UUID) -> Payment:
    """Return a payment of the caller's tenant, and of its user where the caller is a client. Raise 404."""
    wanted = {"tenant_id": caller.tenant_id, "id": payment_id, "user_id": caller.user_id}
    rows = database.run_single("web", _GET, wanted, caller.tenant_id)
    if not rows:
        raise RequestRejected(404, "There is no such payment.")
    return read_payment(rows[0]._asdict())


@dataclass(frozen=True, slots=True)
class Filters:
    """Which payments to list; `before` is the place after which the page begins."""

    user_id: str | None = None
    status: str | None = None
    created_after: datetime.datetime | None = None
    created_before: datetime.datetime | None = None
    before: tuple[datetime.datetime, uuid.UUID] | None = None


def list_payments(database: Database, caller: Caller, filters: Filters, limit: int) -> list[Payment]:
    """Return up to `limit` payments, newest first."""
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
    statement = single(
        f"select {SHOWN_COLUMNS} from payment_transactions where "  # noqa: S608  # constants  # nosec B608
        + " and ".join(conditions)
        + " order by created_at desc, id desc limit :limit",
        plans_anew=True,
    )
    rows = database.run_single("web", statement, parameters, caller.tenant_id)
    return [read_payment(row._asdict()) for row in rows]


def cancel_payment(runtime: Runtime, caller: Caller, payment_id: uuid.UUID) -> Payment:
    """Cancel an open payment at once; the provider's session is closed afterwards. Raise 404, or 409 if it ended."""
    get_payment(runtime.database, caller, payment_id)
    with settlement.open(runtime, "web", caller.tenant_id) as batch:
        (outcome,) = batch.settle([Item(caller.tenant_id, payment_id, Command(CommandKind.CANCEL), caller.actor)])
    decision = outcome.decision
    assert decision is not None  # noqa: S101  # the payment was there, and payments are never deleted
    if decision.verdict is not Verdict.APPLIED:
        raise RequestRejected(409, f"The payment cannot be cancelled: {decision.reason}.")
    return decision.payment
