"""Rows of payments, their work and their holds: locked, read, changed and scheduled; only settlement writes them."""

from __future__ import annotations

import datetime
import operator
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, RowMapping, func, null

from app.core.payment import OtherReference, Payment, Policy, Status
from app.core.schedule import next_call, query_now
from app.services.payments.refund_rows import READ, read_refund
from app.services.payments.reversal_rows import read_dispute, read_movement, read_waiting
from models import buffer, prepared, read, tables
from models.array_params import rows_of, uuid_array
from models.sql import columns, sql

_PAYMENTS = tables.payment_transactions
_FIELDS = [field.name for field in fields(Payment)]
# The fields that are columns of the payment; the others are made from columns of other tables.
STORED = [name for name in _FIELDS if name in _PAYMENTS.c]
# The tenant's columns for the fields of Policy.
_POLICY = ("tolerance_percent", "late_policy", "over_policy", "negative_policy", "monitoring_seconds")
_STATUSES = {str(status): status for status in Status}


@dataclass(slots=True)
class LockedPayment:
    """A locked payment as it was and as it is by now, with its index in the poll schedule.

    `has_open_letters`: dead letters about it, with money or without, wait for a person. `reschedule`: its next call is
    to be written; `query_now`: the provider is to be asked at once.
    """

    payment: Payment
    original: Payment
    polls: int
    has_open_letters: bool
    reschedule: bool = False
    query_now: bool = False


# Two statements: columns of other tables must be read after the payment's lock was granted, not before. The database's
# clock decides, so that workers whose clocks differ decide alike; it is read once all locks are held.
_LOAD = prepared(
    """
    select count(*) from (
        select from payment_transactions where id = any(cast(:ids as uuid[])) order by id for no key update) as locked
    """,
    sql(
        """
    with clock as materialized (select clock_timestamp() as now)
    select clock.now, {stored}, p.provider_request_at is not null as was_sent,
           {policy},
           coalesce(w.polls, 0) as polls,
           coalesce(open.letters > 0, false) as has_open_letters, coalesce(open.cases > 0, false) as has_open_case,
           waiting.payment_id is not null as has_waiting_webhooks,
           case when 'conflict' = any(p.exceptions) then array(
               select jsonb_build_array(d.case_reference, d.currency,
                   coalesce(sum(d.amount_minor) filter (where d.state = 'accepted'), 0),
                   coalesce(max(d.amount_minor) filter (where d.state = 'open'), 0),
                   (select coalesce(sum(e.amount_minor), 0) from wallet_transactions e
                    where e.payment_id = p.id and e.type = 'reversal' and e.direction = -1
                      and rtrim(e.transfer_key, '0123456789')
                          = concat('reversal:', d.case_reference, ':', d.currency, ':')))
               from dead_letters d
               where d.tenant_id = p.tenant_id and d.payment_id = p.id and d.amount_minor is not null
                 and d.reason in ('second_payment', 'reference_mismatch')
               group by d.case_reference, d.currency) end as other_references,
           case when 'reversal_waiting' = any(p.exceptions) then array(
               select jsonb_build_array(v.reference, v.amount_minor, v.currency, v.webhook_id)
               from waiting_reversals v where v.tenant_id = p.tenant_id and v.payment_id = p.id
               order by v.amount_minor) end as reversals_waiting,
           case when 'has_movements' = any(p.exceptions) then array(
               select jsonb_build_array(m.kind, m.reversal_id, m.reference, m.amount_minor, m.currency, m.state,
                   m.due_at, m.webhook_id, m.suspense_minor)
               from payment_movements m where m.tenant_id = p.tenant_id and m.payment_id = p.id
               order by m.created_at, m.kind desc, m.reversal_id) end as movements,
           case when 'has_disputes' = any(p.exceptions) then array(
               select jsonb_build_array(o.dispute_id, o.state, o.reason, o.evidence_due_at, o.opened_at, o.closed_at)
               from payment_disputes o where o.tenant_id = p.tenant_id and o.payment_id = p.id
               order by o.opened_at, o.dispute_id) end as disputes,
           case when 'has_refunds' = any(p.exceptions) then array(
               select jsonb_build_array({refund})
               from refunds f where f.tenant_id = p.tenant_id and f.payment_id = p.id
               order by f.created_at, f.id) end as refunds
    from clock cross join payment_transactions p
    join tenants t on t.id = p.tenant_id
    left join (
        select tenant_id, payment_id, polls from payment_work where payment_id = any(cast(:ids as uuid[]))
    ) as w on w.tenant_id = p.tenant_id and w.payment_id = p.id
    left join (
        select tenant_id, payment_id, count(*) as letters, count(amount_minor) as cases from dead_letters
        where payment_id = any(cast(:ids as uuid[])) and state = 'open' group by tenant_id, payment_id
    ) as open on open.tenant_id = p.tenant_id and open.payment_id = p.id
    left join (
        select distinct tenant_id, payment_id from webhook_work where payment_id = any(cast(:ids as uuid[]))
    ) as waiting on waiting.tenant_id = p.tenant_id and waiting.payment_id = p.id
    where p.id = any(cast(:ids as uuid[]))
    """,
        stored=columns(_PAYMENTS.alias("p"), *STORED),
        policy=columns(tables.tenants.alias("t"), *_POLICY),
        refund=columns(tables.refunds.alias("f"), *READ),
    ),
)


def lock_payments(
    connection: Connection, ids: list[uuid.UUID]
) -> tuple[dict[uuid.UUID, LockedPayment], datetime.datetime]:
    """Lock the payments in the order of their ids and read them; return them and the database's time.

    Ids that are no payment are left out.
    """
    now = datetime.datetime.now(datetime.UTC)  # Nothing is decided by it: without a row there is no payment.
    wanted = {"ids": uuid_array(ids)}
    locked: dict[uuid.UUID, LockedPayment] = {}
    policies: dict[uuid.UUID, Policy] = {}
    for values in read(connection, _LOAD, wanted):
        row = values._asdict()
        now = row["now"]
        policy = policies.get(row["tenant_id"])
        if policy is None:
            policy = policies[row["tenant_id"]] = Policy(*(row[name] for name in _POLICY))
        payment = read_payment(
            row,
            other_references=tuple(OtherReference(*money) for money in row["other_references"] or ()),
            reversals_waiting=tuple(map(read_waiting, row["reversals_waiting"] or ())),
            movements=tuple(map(read_movement, row["movements"] or ())),
            disputes=tuple(map(read_dispute, row["disputes"] or ())),
            refunds=tuple(map(read_refund, row["refunds"] or ())),
            policy=policy,
        )
        locked[payment.id] = LockedPayment(payment, payment, row["polls"], row["has_open_letters"])
    return locked, now


def read_payment(row: Mapping[str, Any] | RowMapping, **converted: Any) -> Payment:
    """Return the payment in `row`, whose columns have the names of fields; `converted` replaces or adds some.

    A field that neither has keeps its default.
    """
    values = {name: row[name] for name in _FIELDS if name in row}
    values["status"] = _STATUSES[row["status"]]
    values["exceptions"] = frozenset(row["exceptions"])
    return Payment(**(values | converted))


# What providers report of a payer's steps: the web may not write it, and few payments have it. It has its own update.
_STEPS = ("committed_until", "last_attempt_error", "prompt", "approved_until", "approvals", "capture_sent_at")
_PAYER_STEPS = rows_of(_PAYMENTS, "id", *_STEPS)
_UPDATE_PAYER_STEPS = prepared(_PAYER_STEPS.update("id"))
_read_steps = operator.attrgetter(*_STEPS)
_CHANGES = rows_of(
    _PAYMENTS,
    "id",
    *(name for name in STORED if not _PAYMENTS.c[name].info.get("is_fixed") and name not in _PAYER_STEPS.encoders),
)
_UPDATE_PAYMENTS = prepared(_CHANGES.update("id"))


def update_payments(connection: Connection, payments: list[Payment]) -> None:
    """Write the columns of payments that may change."""
    if payments:
        buffer(connection, _UPDATE_PAYMENTS, _CHANGES.encode_objects(payments))


def update_payer_steps(connection: Connection, rows: list[LockedPayment]) -> None:
    """Write what payers have done (committed, approved, tried in vain), their prompts, and captures under way."""
    made = [row.payment for row in rows if _read_steps(row.payment) != _read_steps(row.original)]
    if made:
        buffer(connection, _UPDATE_PAYER_STEPS, _PAYER_STEPS.encode_objects(made))


# What was prepared for the provider before is forgotten. It has its own update, since payments keep their provider but
# for this, and only the worker may change it.
_PROVIDERS = rows_of(_PAYMENTS, "id", "provider_id")
_MOVE = prepared(
    _PROVIDERS.update("id").values(provider_request=null(), provider_request_at=null()),
    """
    update payment_details set request_encrypted = null
    where payment_id = any(cast(:id as uuid[])) and request_encrypted is not null
    """,
    """
    update payment_work w set provider_id = p.provider_id, route_position = r.position
    from payment_transactions p
    left join provider_routes r
        on r.tenant_id = p.tenant_id and r.currency = p.currency and r.provider_id = p.provider_id
    where w.payment_id = p.id and p.id = any(cast(:id as uuid[]))
    """,
)


def move_to_providers(connection: Connection, rows: list[LockedPayment]) -> None:
    """Give payments with another provider to it: their work rows too, which must have been written before."""
    moved = [row.payment for row in rows if row.payment.provider_id != row.original.provider_id]
    if moved:
        buffer(connection, _MOVE, _PROVIDERS.encode_objects(moved))


# Read by the primary key, the rows are locked in its order (`Database.transaction` with `by_keys`).
_DELETE_WORK = prepared("delete from payment_work where payment_id = any(cast(:ids as uuid[]))")
_CALLS = rows_of(tables.payment_work, "payment_id", "tenant_id", "provider_id", "action", "due_at", "polls")
_NEW_CALLS = _CALLS.insert("payment_id")
_UPSERT_WORK = prepared(
    _NEW_CALLS.on_conflict_do_update(
        index_elements=["payment_id"],
        set_={name: _NEW_CALLS.excluded[name] for name in ("action", "due_at", "polls")}
        | {"attempts": 0, "postponed": 0, "claim_id": null()},
    )
)


def reschedule(connection: Connection, rows: list[LockedPayment], now: datetime.datetime) -> None:
    """Write each payment's next call to its work row, and end a claim of it: a stale claim finds its claim_id gone."""
    calls = [(row, next_call(row.payment, row.polls, now)) for row in rows]
    calls = [(row, query_now(call, now) if row.query_now else call) for row, call in calls]
    done = [row.payment.id for row, call in calls if call is None]
    if done:
        buffer(connection, _DELETE_WORK, {"ids": uuid_array(done)})
    left = [
        (row.payment.id, row.payment.tenant_id, row.payment.provider_id, call.action, call.due_at, row.polls)
        for row, call in calls
        if call is not None
    ]
    if left:
        buffer(connection, _UPSERT_WORK, _CALLS.encode(left))


_HOLDS = rows_of(tables.wallet_temp_logs, "payment_id", "state")
_IS_DEPOSIT = tables.wallet_temp_logs.c.kind == "deposit"
_CLOSE_HOLDS = prepared(_HOLDS.update("payment_id").values(closed_at=func.now()).where(_IS_DEPOSIT))


def close_holds(connection: Connection, payments: list[Payment]) -> None:
    """Close the holds of payments that have ended: applied where they completed, else released."""
    ended = [
        (payment.id, "applied" if payment.status is Status.COMPLETED else "released")
        for payment in payments
        if not payment.is_open
    ]
    if ended:
        buffer(connection, _CLOSE_HOLDS, _HOLDS.encode(ended))
