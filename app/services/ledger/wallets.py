"""Wallets and their entries as their owners see them."""

from __future__ import annotations

import datetime
import functools
import uuid
from collections.abc import Mapping, Set
from typing import Any

from app.core.money import format_amount
from app.core.payment import format_time
from models import Database, Row
from models.database import single
from models.statements import Statements

_WALLETS = single(
    """
    with balances as (
        select currency, balance_minor, version from wallets
        where tenant_id = :tenant_id and user_id = :user_id and kind = 'user'
    ), holds as (
        select currency, coalesce(sum(amount_minor) filter (where kind = 'deposit'), 0) as pending_minor,
               coalesce(sum(amount_minor) filter (where kind = 'refund'), 0) as held_minor from wallet_temp_logs
        where tenant_id = :tenant_id and user_id = :user_id and state = 'held' group by currency
    )
    select currency, coalesce(balance_minor, 0) as balance_minor, coalesce(pending_minor, 0) as pending_minor,
           coalesce(held_minor, 0) as held_minor,
           coalesce(version, 0) as version
    from balances full join holds using (currency) order by currency
    """
)


def read_wallets(database: Database, tenant_id: uuid.UUID, user_id: str) -> list[dict[str, Any]]:
    """Return the user's wallets by currency; `pending` is the sum of the user's open payments.

    `held` is the sum of refunds under way, `available` the balance without it.
    """
    rows = database.run_single("web", _WALLETS, {"tenant_id": tenant_id, "user_id": user_id}, tenant_id)
    return [
        {
            "currency": row.currency,
            "balance": format_amount(row.balance_minor, row.currency),
            "balance_minor": row.balance_minor,
            "pending": format_amount(int(row.pending_minor), row.currency),
            "pending_minor": int(row.pending_minor),
            "held": format_amount(int(row.held_minor), row.currency),
            "held_minor": int(row.held_minor),
            "available": format_amount(row.balance_minor - int(row.held_minor), row.currency),
            "available_minor": row.balance_minor - int(row.held_minor),
            "version": row.version,
        }
        for row in rows
    ]


# What a page may be limited to, by the parameter that is then given.
_CONDITIONS = {
    "currency": "and w.currency = :currency",
    "currencies": "and w.currency = any(cast(:currencies as text[]))",
}


@functools.cache
def _list(conditions: Set[str]) -> Statements:
    """Return the statement of a page: the newest entries of each wallet by the versions, merged by their times.

    A wallet's entries stay in the order of its versions, in which one follows from the other: where the times of two
    are the other way round, since the later one's transaction began first, both count as of the earlier time.
    """
    return single(
        f"""
        with ours as (
            select w.tenant_id, w.id, w.currency, least(w.version, c.version) as version
            from wallets w left join unnest(cast(:currencies as text[]), cast(:versions as bigint[]))
                as c(currency, version) using (currency)
            where w.tenant_id = :tenant_id and w.user_id = :user_id and w.kind = 'user'
                {" ".join(_CONDITIONS[name] for name in sorted(conditions))}
        )
        select e.id, e.currency, e.direction * e.amount_minor as amount_minor, e.balance_before_minor,
               e.balance_after_minor, e.type, coalesce(e.payment_id, e.debit_id) as subject, d.reference, e.description,
               e.at, e.wallet_version, (select jsonb_object_agg(currency, version) from ours) as versions
        from ours cross join lateral (
            select * from wallet_transactions e
            where e.tenant_id = ours.tenant_id and e.wallet_id = ours.id and e.wallet_version <= ours.version
            order by e.wallet_version desc limit :limit) as e
        left join debits d on d.tenant_id = e.tenant_id and d.id = e.debit_id
        order by min(e.at) over (partition by e.wallet_id order by e.wallet_version desc) desc, e.currency,
                 e.wallet_version desc
        limit :limit
        """,  # noqa: S608  # constants
        plans_anew=True,
    )


def read_entries(
    database: Database,
    tenant_id: uuid.UUID,
    user_id: str,
    currency: str | None,
    versions: Mapping[str, int] | None,
    limit: int,
) -> tuple[list[dict[str, Any]], dict[str, int] | None]:
    """Return up to `limit` entries of the user's wallets, newest first, and where the next page begins, if one does.

    `versions` says by currency from which version of its wallet on the page reads down; wallets without one are left
    out. Amounts out of a wallet are negative.
    """
    wanted = {
        "tenant_id": tenant_id,
        "user_id": user_id,
        "currency": currency,
        "currencies": None if versions is None else list(versions),
        "versions": None if versions is None else list(versions.values()),
        "limit": limit + 1,
    }
    statement = _list(frozenset(name for name in _CONDITIONS if wanted[name] is not None))
    rows = database.run_single("web", statement, wanted, tenant_id)
    shown = rows[:limit]
    following = None
    if len(rows) > limit:
        following = dict(rows[0].versions) | {row.currency: row.wallet_version - 1 for row in shown}
    return [_present(row) for row in shown], following


def _present(row: Row) -> dict[str, Any]:
    shown = row._asdict()
    del shown["versions"], shown["wallet_version"]
    return present_entry(**shown)


def present_entry(
    *,
    id: uuid.UUID | str,
    currency: str,
    amount_minor: int,
    balance_before_minor: int,
    balance_after_minor: int,
    type: str,
    subject: uuid.UUID,
    reference: str | None,
    description: str,
    at: datetime.datetime,
) -> dict[str, Any]:
    """Return a user's entry as callers see it; `subject` is its payment or debit, `reference` the debit's."""
    return {
        "id": str(id),
        "currency": currency,
        "amount": format_amount(amount_minor, currency),
        "amount_minor": amount_minor,
        "balance_before": format_amount(balance_before_minor, currency),
        "balance_before_minor": balance_before_minor,
        "balance_after": format_amount(balance_after_minor, currency),
        "balance_after_minor": balance_after_minor,
        "type": type,
        "reference_id": str(subject),
        "reference": reference,
        "description": description,
        "at": format_time(at),
    }
