"""Payments as callers see them: read, listed, cancelled; `app.services.payments.deposits` makes them."""

from __future__ import annotations

import datetime
import functools
import uuid
from collections.abc import Set
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, bindparam, case, cast, or_, select, tuple_

from app.core.decision import Verdict
from app.core.errors import RequestRejected
from app.core.facts import Command, CommandKind
from app.core.payment import Payment
from app.runtime.runtime import Runtime
from app.services.access.callers import Caller
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from app.services.payments.rows import STORED, read_payment
from models import Database, single, tables
from models.sql import columns
from models.statements import Statements

_PAYMENTS, _LETTERS = tables.payment_transactions, tables.dead_letters

# Why a payment is still pending, from the open dead letter of its create call. It ends by itself when the call is made
# again. A payment that is not pending costs no lookup.
_REASON = case((_LETTERS.c.reason == "provider_refused_us", "provider_configuration"), else_="provider_unavailable")
_PENDING_REASON = case(
    (
        _PAYMENTS.c.status == "pending",
        select(_REASON)
        .where(
            _LETTERS.c.tenant_id == _PAYMENTS.c.tenant_id,
            _LETTERS.c.payment_id == _PAYMENTS.c.id,
            _LETTERS.c.kind == "provider_call",
            _LETTERS.c.state == "open",
        )
        .order_by(_LETTERS.c.reason.desc())
        .limit(1)
        .correlate(_PAYMENTS)
        .scalar_subquery(),
    )
).label("pending_reason")
# As callers see a payment, to be read by `read_payment`.
SHOWN: list[ColumnElement[Any]] = [*columns(_PAYMENTS, *STORED), _PENDING_REASON]

_OF_TENANT = select(*SHOWN).where(_PAYMENTS.c.tenant_id == bindparam("tenant_id"))
_OF_USER = _PAYMENTS.c.user_id == bindparam("user_id")
_GET = single(
    _OF_TENANT.where(_PAYMENTS.c.id == bindparam("id"), or_(cast(bindparam("user_id"), Text).is_(None), _OF_USER))
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
    """Which payments to list; `before` is the cursor after which the page begins."""

    user_id: str | None = None
    status: str | None = None
    created_after: datetime.datetime | None = None
    created_before: datetime.datetime | None = None
    before: tuple[datetime.datetime, uuid.UUID] | None = None


_CONDITIONS: dict[str, ColumnElement[bool]] = {
    "user_id": _OF_USER,
    "status": _PAYMENTS.c.status == bindparam("status"),
    "created_after": _PAYMENTS.c.created_at > bindparam("created_after"),
    "created_before": _PAYMENTS.c.created_at < bindparam("created_before"),
    "before_id": tuple_(_PAYMENTS.c.created_at, _PAYMENTS.c.id)
    < tuple_(bindparam("before_at"), bindparam("before_id")),
}


def list_payments(database: Database, caller: Caller, filters: Filters, limit: int) -> list[Payment]:
    """Return up to `limit` payments, newest first."""
    before_at, before_id = filters.before or (None, None)
    wanted = asdict(filters) | {
        "user_id": caller.user_id if caller.user_id is not None else filters.user_id,
        "before_at": before_at,
        "before_id": before_id,
        "tenant_id": caller.tenant_id,
        "limit": limit,
    }
    statement = _list(frozenset(name for name in _CONDITIONS if wanted[name] is not None))
    return [read_payment(row._asdict()) for row in database.run_single("web", statement, wanted, caller.tenant_id)]


@functools.cache
def _list(conditions: Set[str]) -> Statements:
    wanted = _OF_TENANT.where(*(_CONDITIONS[name] for name in sorted(conditions)))
    newest_first = wanted.order_by(_PAYMENTS.c.created_at.desc(), _PAYMENTS.c.id.desc())
    return single(newest_first.limit(bindparam("limit")), plans_anew=True)


def cancel_payment(runtime: Runtime, caller: Caller, payment_id: uuid.UUID) -> Payment:
    """Cancel an open payment at once; the provider's session is closed afterwards.

    Raise 404, or 409 if it has ended or its money is being captured.
    """
    get_payment(runtime.database, caller, payment_id)
    with settlement.open(runtime, "web", caller.tenant_id) as batch:
        (outcome,) = batch.settle([Item(caller.tenant_id, payment_id, Command(CommandKind.CANCEL), caller.actor)])
    decision = outcome.decision
    assert decision is not None  # noqa: S101  # the payment was there, and payments are never deleted
    if decision.verdict is not Verdict.APPLIED:
        code = "capture_in_flight" if decision.payment.is_open else "payment_ended"
        raise RequestRejected(409, f"The payment cannot be cancelled: {decision.reason}.", code=code)
    return decision.payment
