"""Debits as callers see them: one, and pages of a list."""

from __future__ import annotations

import datetime
import functools
import uuid
from collections.abc import Set
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, bindparam, case, func, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB

from app.core.errors import RequestRejected
from app.core.money import format_amount
from app.core.payment import format_time
from app.services.ledger.wallets import present_entry
from models import Database, Row, single, tables
from models.sql import columns
from models.statements import Statements

_DEBITS, _ENTRIES = tables.debits, tables.wallet_transactions

# The user's legs by their keys: out of the wallet by the debit, into it by its reversal.
_LEGS = (
    select(
        func.jsonb_object_agg(
            _ENTRIES.c.transfer_key,
            func.jsonb_build_object(
                *("id", _ENTRIES.c.id, "balance_before_minor", _ENTRIES.c.balance_before_minor),
                *("balance_after_minor", _ENTRIES.c.balance_after_minor, "description", _ENTRIES.c.description),
            ),
            type_=JSONB,
        )
    )
    .where(
        _ENTRIES.c.debit_id == _DEBITS.c.id,
        _ENTRIES.c.direction == case((_ENTRIES.c.transfer_key == "debit", -1), else_=1),
    )
    .correlate(_DEBITS)
    .scalar_subquery()
)
SHOWN: list[ColumnElement[Any]] = [
    *columns(_DEBITS, "id", "user_id", "currency", "amount_minor", "reference", "description"),
    *columns(_DEBITS, "created_at", "reversed_at", "reversal_reason"),
    _LEGS.label("legs"),
]
_OF_TENANT = select(*SHOWN).where(_DEBITS.c.tenant_id == bindparam("tenant_id"))
_GET = single(_OF_TENANT.where(_DEBITS.c.id == bindparam("id")))


def present_debit(row: Row) -> dict[str, Any]:
    """Return a row of SHOWN as callers see it: with its entries in the user's wallet as the wallet's list has them."""
    return {
        "id": str(row.id),
        "user_id": row.user_id,
        "amount": format_amount(row.amount_minor, row.currency),
        "amount_minor": row.amount_minor,
        "currency": row.currency,
        "reference": row.reference,
        "description": row.description,
        "status": "completed" if row.reversed_at is None else "reversed",
        "created_at": format_time(row.created_at),
        "reversed_at": None if row.reversed_at is None else format_time(row.reversed_at),
        "reversal_reason": row.reversal_reason,
        "entry": _present_leg(row, "debit", -row.amount_minor, row.created_at),
        "reversal_entry": _present_leg(row, "debit_reversal", row.amount_minor, row.reversed_at),
    }


def _present_leg(row: Row, key: str, amount_minor: int, at: datetime.datetime) -> dict[str, Any] | None:
    leg = (row.legs or {}).get(key)
    if leg is None:
        return None
    return present_entry(
        **leg,
        currency=row.currency,
        amount_minor=amount_minor,
        type=key,
        subject=row.id,
        reference=row.reference,
        at=at,
    )


def get_debit(
    database: Database, tenant_id: uuid.UUID, debit_id: uuid.UUID, role: Literal["web", "clerk"]
) -> dict[str, Any]:
    """Return a debit of the tenant. Raise 404."""
    rows = database.run_single(role, _GET, {"tenant_id": tenant_id, "id": debit_id}, tenant_id)
    if not rows:
        raise RequestRejected(404, "There is no such debit.")
    return present_debit(rows[0])


@dataclass(frozen=True, slots=True)
class DebitFilters:
    """Which debits to list; `before` is the cursor after which the page begins."""

    user_id: str | None = None
    currency: str | None = None
    reference: str | None = None
    created_after: datetime.datetime | None = None
    created_before: datetime.datetime | None = None
    before: tuple[datetime.datetime, uuid.UUID] | None = None


_CONDITIONS: dict[str, ColumnElement[bool]] = {
    "user_id": _DEBITS.c.user_id == bindparam("user_id"),
    "currency": _DEBITS.c.currency == bindparam("currency"),
    "reference": _DEBITS.c.reference == bindparam("reference"),
    "created_after": _DEBITS.c.created_at > bindparam("created_after"),
    "created_before": _DEBITS.c.created_at < bindparam("created_before"),
    "before_id": tuple_(_DEBITS.c.created_at, _DEBITS.c.id) < tuple_(bindparam("before_at"), bindparam("before_id")),
}


def list_debits(
    database: Database, tenant_id: uuid.UUID, filters: DebitFilters, limit: int, role: Literal["web", "clerk"]
) -> list[dict[str, Any]]:
    """Return up to `limit` debits of the tenant, newest first."""
    before_at, before_id = filters.before or (None, None)
    wanted = asdict(filters) | {"before_at": before_at, "before_id": before_id, "tenant_id": tenant_id, "limit": limit}
    statement = _list(frozenset(name for name in _CONDITIONS if wanted[name] is not None))
    return [present_debit(row) for row in database.run_single(role, statement, wanted, tenant_id)]


@functools.cache
def _list(conditions: Set[str]) -> Statements:
    wanted = _OF_TENANT.where(*(_CONDITIONS[name] for name in sorted(conditions)))
    newest_first = wanted.order_by(_DEBITS.c.created_at.desc(), _DEBITS.c.id.desc())
    return single(newest_first.limit(bindparam("limit")), plans_anew=True)
