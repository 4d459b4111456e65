"""The rows of payments and what hangs on them: locked and read, changed, scheduled; only settlement writes here."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping

from app.core.payment import OtherReference, Payment, Policy, Status, WaitingReversal
from app.core.schedule import next_call
from models import buffer, prepared, read
from models.array_params import encode_rows, row_set, uuid_array

_STATUSES = {str(status): status for status in Status}


@dataclass(slots=True)
class LockedPayment:
    """A locked payment as it was and as it is by now, with its place in the poll schedule.

    `has_open_letters`: dead letters about it, with money or without, wait for a person.
    """

    payment: Payment
    original: Payment
    polls: int
    has_open_letters: bool
    reschedule: bool = False


# Two statements: what is read beside the payment must be read after its lock was granted, not before. The database's
# clock decides, so that workers whose clocks differ decide alike; it is read once all locks are held.
_LOAD = prepared(
    """
    select count(*) from (
        select from payment_transactions where id = any(cast(:ids as uuid[])) order by id for no key update) as locked
    """,
    """
    with clock as materialized (select clock_timestamp() as now)
    select clock.now,
           p.id, p.tenant_id, p.version, p.user_id, p.amount_minor, p.currency, p.status, p.provider_id, p.created_at,
           p.updated_at, p.expires_at, p.exceptions, p.provider_reference, p.redirect_url, p.failure_reason, p.metadata,
           p.completed_at, p.received_minor, p.received_currency, p.reversed_minor, p.session_closed,
           p.committed_until,
           p.provider_request_at is not null as was_sent,
           t.tolerance_percent, t.late_policy, t.over_policy, t.negative_policy, t.monitoring_seconds,
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
               order by v.amount_minor) end as reversals_waiting
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
        policy = policies.get(row["tenant_id"]) or policies.setdefault(row["tenant_id"], _read_policy(row))
        payment = read_payment(
            row,
            was_sent=row["was_sent"],
            has_open_case=row["has_open_case"],
            has_waiting_webhooks=row["has_waiting_webhooks"],
            other_references=tuple(OtherReference(*money) for money in row["other_references"] or ()),
            reversals_waiting=tuple(map(_read_reversal, row["reversals_waiting"] or ())),
            session_closed=row["session_closed"],
            policy=policy,
        )
        locked[payment.id] = LockedPayment(payment, payment, row["polls"], row["has_open_letters"])
    return locked, now


def _read_reversal(values: list[Any]) -> WaitingReversal:
    reference, amount_minor, currency, webhook_id = values
    return WaitingReversal(reference or None, amount_minor, currency, webhook_id and uuid.UUID(webhook_id))


def _read_policy(row: Mapping[str, Any]) -> Policy:
    return Policy(
        tolerance_percent=row["tolerance_percent"],
        late=row["late_policy"],
        over=row["over_policy"],
        negative=row["negative_policy"],
        monitoring_seconds=row["monitoring_seconds"],
    )


def read_payment(row: Mapping[str, Any] | RowMapping, **other_references: Any) -> Payment:
    """Return the payment in `row`, with what is known `other_references` it; what is not given has its default."""
    return Payment(
        id=row["id"],
        tenant_id=row["tenant_id"],
        version=row["version"],
        user_id=row["user_id"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        status=_STATUSES[row["status"]],
        provider_id=row["provider_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        expires_at=row["expires_at"],
        exceptions=frozenset(row["exceptions"]),
        provider_reference=row["provider_reference"],
        redirect_url=row["redirect_url"],
        failure_reason=row["failure_reason"],
        metadata=row["metadata"],
        completed_at=row["completed_at"],
        committed_until=row["committed_until"],
        received_minor=row["received_minor"],
        received_currency=row["received_currency"],
        reversed_minor=row["reversed_minor"],
        pending_reason=row.get("pending_reason"),
        **other_references,
    )


_PAYMENT_COLUMNS = {
    "id": "uuid",
    "version": "integer",
    "status": "text",
    "exceptions": "text[]",
    "provider_reference": "text",
    "redirect_url": "text",
    "failure_reason": "text",
    "completed_at": "timestamptz",
    "updated_at": "timestamptz",
    "received_minor": "bigint",
    "received_currency": "text",
    "reversed_minor": "bigint",
    "session_closed": "boolean",
}
_UPDATE_PAYMENTS = prepared(
    "update payment_transactions p set "  # noqa: S608  # constants
    + ", ".join(f"{name} = r.{name}" for name in _PAYMENT_COLUMNS if name != "id")
    + f" from {row_set(_PAYMENT_COLUMNS)} where p.id = r.id and p.id = any(cast(:id as uuid[]))"
)


def update_payments(connection: Connection, payments: list[Payment]) -> None:
    """Write what may change of payments."""
    if not payments:
        return
    # Sorted, so that the same marks are the same value whoever wrote them.
    rows = [
        (
            payment.id,
            payment.version,
            payment.status,
            sorted(payment.exceptions),
            payment.provider_reference,
            payment.redirect_url,
            payment.failure_reason,
            payment.completed_at,
            payment.updated_at,
            payment.received_minor,
            payment.received_currency,
            payment.reversed_minor,
            payment.session_closed,
        )
        for payment in payments
    ]
    buffer(connection, _UPDATE_PAYMENTS, encode_rows(_PAYMENT_COLUMNS, rows))


_COMMITMENT_COLUMNS = {"id": "uuid", "committed_until": "timestamptz"}
_UPDATE_COMMITMENTS = prepared(
    f"""
    update payment_transactions p set committed_until = r.committed_until
    from {row_set(_COMMITMENT_COLUMNS)} where p.id = r.id and p.id = any(cast(:id as uuid[]))
    """  # noqa: S608  # constants
)


def update_commitments(connection: Connection, rows: list[LockedPayment]) -> None:
    """Write until when committed payers are waited for; few payments have that."""
    made = [row.payment for row in rows if row.payment.committed_until != row.original.committed_until]
    if made:
        values = [(payment.id, payment.committed_until) for payment in made]
        buffer(connection, _UPDATE_COMMITMENTS, encode_rows(_COMMITMENT_COLUMNS, values))


_DELETE_WORK = prepared(
    """
    delete from payment_work where payment_id = any(array(
        select payment_id from payment_work where payment_id = any(cast(:ids as uuid[]))
        order by payment_id for update))
    """
)
_WORK_COLUMNS = {
    "payment_id": "uuid",
    "tenant_id": "uuid",
    "provider_id": "uuid",
    "action": "text",
    "due_at": "timestamptz",
    "polls": "integer",
}
_UPSERT_WORK = prepared(
    f"""
    insert into payment_work ({", ".join(_WORK_COLUMNS)})
    select {", ".join(_WORK_COLUMNS)} from {row_set(_WORK_COLUMNS)} order by payment_id
    on conflict (payment_id) do update set action = excluded.action, due_at = excluded.due_at, polls = excluded.polls,
        attempts = 0, postponed = 0, claim_id = null
    """  # noqa: S608  # constants
)


def reschedule(connection: Connection, rows: list[LockedPayment], now: datetime.datetime) -> None:
    """Give each payment's work row its next call, whoever held it: a stale claim finds its claim_id gone."""
    calls = [(row, next_call(row.payment, row.polls, now)) for row in rows]
    done = [row.payment.id for row, call in calls if call is None]
    if done:
        buffer(connection, _DELETE_WORK, {"ids": uuid_array(done)})
    left = [
        (row.payment.id, row.payment.tenant_id, row.payment.provider_id, call.action, call.due_at, row.polls)
        for row, call in calls
        if call is not None
    ]
    if left:
        buffer(connection, _UPSERT_WORK, encode_rows(_WORK_COLUMNS, left))


_HOLD_COLUMNS = {"payment_id": "uuid", "state": "text"}
_CLOSE_HOLDS = prepared(
    f"""
    update wallet_temp_logs l set state = r.state, closed_at = now()
    from {row_set(_HOLD_COLUMNS)} where l.payment_id = r.payment_id and l.payment_id = any(cast(:payment_id as uuid[]))
    """  # noqa: S608  # constants
)


def close_holds(connection: Connection, payments: list[Payment]) -> None:
    """Close the holds of payments that have ended: applied where they completed, else released."""
    ended = [
        (payment.id, "applied" if payment.status is Status.COMPLETED else "released")
        for payment in payments
        if not payment.is_open
    ]
    if ended:
        buffer(connection, _CLOSE_HOLDS, encode_rows(_HOLD_COLUMNS, ended))
