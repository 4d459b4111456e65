"""The one function through which every fact and command about money goes, in sets, in the caller's transaction.

Locks: payments by id, their work rows by id, user wallets by id, a clearing shard last.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from app.core.decision import Case, Decision, Verdict
from app.core.decisions import decide
from app.core.errors import InvariantBroken
from app.core.facts import Fact, FactKind, Input
from app.core.payments import EDGES, Beside, Payment, Policy, Status, present_payment
from app.core.schedule import next_call
from app.services import alerts, audit, dead_letters, ledger
from app.services.alerts import AlertRow
from app.services.audit import AuditRow
from app.services.dead_letters import DeadLetterRow, Superseded
from app.services.ledger import Posting
from models import new_id
from models.row_sets import encode_rows, row_set


@dataclass(frozen=True, slots=True)
class Item:
    """One fact or command about one payment, and who brings it.

    `provider_id`, where given, must be the payment's own. `webhook_id`, `body` and `headers` tell where a webhook's
    fact came from; a dead letter keeps them. `polls` is the new place in the poll schedule, where a poll was answered.
    """

    tenant_id: uuid.UUID
    payment_id: uuid.UUID
    given: Input
    actor: str
    provider_id: uuid.UUID | None = None
    webhook_id: uuid.UUID | None = None
    body: bytes | None = None
    headers: dict[str, Any] | None = None
    polls: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item; `decision` is None where the tenant has no such payment with that provider."""

    item: Item
    decision: Decision | None


@dataclass(slots=True)
class _Loaded:
    payment: Payment
    original: Payment
    polls: int
    reschedule: bool = False


@dataclass(slots=True)
class _Writes:
    """What the decisions of a batch add up to, in the order in which they were made."""

    postings: list[Posting] = field(default_factory=list)
    cases: list[DeadLetterRow] = field(default_factory=list)
    superseded: list[Superseded] = field(default_factory=list)
    alerts: list[AlertRow] = field(default_factory=list)
    notifications: list[tuple[Payment, str]] = field(default_factory=list)
    audit: list[tuple[Outcome, Payment]] = field(default_factory=list)


def settle(connection: Connection, items: list[Item]) -> list[Outcome]:
    """Decides `items` in their order and writes all that follows from them; the caller commits.

    Items of one payment are decided one after the other on its row, which stays locked until the commit. Raises
    sqlalchemy.exc.DBAPIError (retry the batch on 40001 and 40P01) and InvariantBroken (nothing may be written).
    """
    loaded, writes, outcomes, now = _decide_all(connection, items)
    _write(connection, loaded, writes, now)
    return outcomes


def preview(connection: Connection, items: list[Item]) -> list[Outcome]:
    """Decides `items` as `settle` would at this moment and writes nothing; the payments stay locked until the end."""
    return _decide_all(connection, items)[2]


def _decide_all(
    connection: Connection, items: list[Item]
) -> tuple[dict[uuid.UUID, _Loaded], _Writes, list[Outcome], datetime.datetime]:
    loaded, now = _lock_and_load(connection, items)
    balances = _lock_balances(connection, items, loaded)
    writes, outcomes = _Writes(), []
    for item in items:
        row = loaded.get(item.payment_id)
        if row is None or not _belongs(item, row.payment):
            outcomes.append(Outcome(item, None))
            continue
        if balances is not None and row.payment.received_currency:
            key = (row.payment.tenant_id, row.payment.user_id, row.payment.received_currency)
            row.payment = replace(row.payment, wallet_balance_minor=balances.get(key, 0))
        outcome = _decide_one(item, row, now, writes)
        outcomes.append(outcome)
        if balances is not None and outcome.decision and outcome.decision.transfer:
            moved = ledger.user_change(Posting(row.payment, outcome.decision.transfer))
            balances[moved.key] = balances.get(moved.key, 0) + moved.amount_minor
    return loaded, writes, outcomes, now


_BALANCES = text(
    """
    select tenant_id, user_id, currency, balance_minor from wallets
    where kind = 'user' and (tenant_id, user_id) in (
        select * from unnest(cast(:tenants as uuid[]), cast(:users as text[])))
    order by id for no key update
    """
)


def _lock_balances(
    connection: Connection, items: list[Item], loaded: dict[uuid.UUID, _Loaded]
) -> dict[ledger.UserKey, int] | None:
    """Locks all wallets of the batch's users where a reversal may not take one below zero, and returns the balances.

    All of them and in the order of their ids, so that the ledger's own locks later find nothing new to wait for.
    """
    held = [
        item
        for item in items
        if item.given.kind is FactKind.REFUNDED
        and item.payment_id in loaded
        and loaded[item.payment_id].payment.policy.negative == "hold"
    ]
    if not held:
        return None
    users = {(row.payment.tenant_id, row.payment.user_id) for row in loaded.values()}
    parameters = {"tenants": [tenant_id for tenant_id, _ in users], "users": [user_id for _, user_id in users]}
    return {
        (row.tenant_id, row.user_id, row.currency): row.balance_minor
        for row in connection.execute(_BALANCES, parameters)
    }


def _belongs(item: Item, payment: Payment) -> bool:
    return item.tenant_id == payment.tenant_id and item.provider_id in (None, payment.provider_id)


def _decide_one(item: Item, row: _Loaded, now: datetime.datetime, writes: _Writes) -> Outcome:
    before = row.payment
    decision = decide(before, item.given, now)
    after = decision.payment
    if before.status is not after.status and (before.status, after.status) not in EDGES:
        raise InvariantBroken(f"no step from {before.status} to {after.status}", payment_id=before.id)
    outcome = Outcome(item, decision)
    if decision.transfer:
        writes.postings.append(Posting(after, decision.transfer))
    if decision.supersedes:
        reference = _reference(item) or after.provider_reference
        writes.superseded.append(Superseded(after.id, reference, decision.supersedes))
    if decision.case:
        writes.cases.append(_dead_letter(item, after, decision.case))
    if decision.alert:
        writes.alerts.append(
            AlertRow(decision.alert, after.tenant_id, {"payment_id": after.id, "why": decision.reason})
        )
    if decision.notification:
        writes.notifications.append((after, decision.notification))
    if decision.verdict is not Verdict.IGNORED or item.webhook_id:
        writes.audit.append((outcome, before))
    row.payment = after
    if item.polls is not None:
        row.polls = item.polls
    row.reschedule |= item.polls is not None or after is not before
    return outcome


def _reference(item: Item) -> str | None:
    return item.given.reference if isinstance(item.given, Fact) else None


def _dead_letter(item: Item, payment: Payment, case: Case) -> DeadLetterRow:
    return DeadLetterRow(
        tenant_id=payment.tenant_id,
        kind="webhook" if item.webhook_id else "provider_call",
        reason=case.reason,
        detail=case.detail,
        payment_id=payment.id,
        provider_id=payment.provider_id,
        webhook_id=item.webhook_id,
        amount_minor=case.amount_minor,
        currency=case.currency,
        body=item.body,
        headers=item.headers,
        case_key=case.key,
        case_reference=case.reference,
        state="rejected" if case.is_rejected else "open",
    )


# Two statements: what is read beside the payment must be read after its lock was granted, not before.
_LOCK = text("select id from payment_transactions where id = any(:ids) order by id for no key update")
_LOAD = text(
    """
    select p.id, p.tenant_id, p.version, p.user_id, p.amount_minor, p.currency, p.status, p.provider_id, p.created_at,
           p.updated_at, p.expires_at, p.exceptions, p.provider_reference, p.redirect_url, p.failure_reason, p.metadata,
           p.completed_at, p.received_minor, p.received_currency, p.reversed_minor, p.session_closed,
           p.provider_request_at is not null as was_sent,
           t.tolerance_percent, t.late_policy, t.over_policy, t.negative_policy, t.monitoring_seconds,
           coalesce(w.polls, 0) as polls, clock_timestamp() as now,
           exists (select from dead_letters d where d.tenant_id = p.tenant_id and d.payment_id = p.id
                   and d.state = 'open' and d.amount_minor is not null) as has_open_case,
           exists (select from webhook_work h where h.payment_id = p.id and h.tenant_id = p.tenant_id)
               as has_waiting_webhooks,
           case when 'conflict' = any(p.exceptions) then array(
               select jsonb_build_array(d.case_reference, d.currency,
                   coalesce(sum(d.amount_minor) filter (where d.state = 'accepted'), 0),
                   coalesce(max(d.amount_minor) filter (where d.state = 'open'), 0))
               from dead_letters d
               where d.tenant_id = p.tenant_id and d.payment_id = p.id and d.amount_minor is not null
                 and d.reason in ('second_payment', 'reference_mismatch')
               group by d.case_reference, d.currency) end as beside
    from payment_transactions p
    join tenants t on t.id = p.tenant_id
    left join payment_work w on w.payment_id = p.id and w.tenant_id = p.tenant_id
    where p.id = any(:ids)
    """
)


def _lock_and_load(connection: Connection, items: Iterable[Item]) -> tuple[dict[uuid.UUID, _Loaded], datetime.datetime]:
    ids = list({item.payment_id for item in items})
    connection.execute(_LOCK, {"ids": ids})
    loaded: dict[uuid.UUID, _Loaded] = {}
    now = datetime.datetime.now(datetime.UTC)
    for row in connection.execute(_LOAD, {"ids": ids}).mappings():
        payment = read_payment(row)
        loaded[payment.id] = _Loaded(payment, payment, row["polls"])
        # The database's clock decides, so that workers whose clocks differ decide alike.
        now = row["now"]
    return loaded, now


def read_payment(row: RowMapping) -> Payment:
    """Returns the payment in `row`; what is not selected has its default."""
    extra: dict[str, Any] = {}
    if "tolerance_percent" in row:
        extra = {
            "was_sent": row["was_sent"],
            "has_open_case": row["has_open_case"],
            "has_waiting_webhooks": row["has_waiting_webhooks"],
            "beside": tuple(Beside(*money) for money in row["beside"] or ()),
            "session_closed": row["session_closed"],
            "policy": Policy(
                tolerance_percent=row["tolerance_percent"],
                late=row["late_policy"],
                over=row["over_policy"],
                negative=row["negative_policy"],
                monitoring_seconds=row["monitoring_seconds"],
            ),
        }
    return Payment(
        id=row["id"],
        tenant_id=row["tenant_id"],
        version=row["version"],
        user_id=row["user_id"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        status=Status(row["status"]),
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
        received_minor=row["received_minor"],
        received_currency=row["received_currency"],
        reversed_minor=row["reversed_minor"],
        **extra,
    )


def _write(connection: Connection, loaded: dict[uuid.UUID, _Loaded], writes: _Writes, now: datetime.datetime) -> None:
    changed = [row for row in loaded.values() if row.payment.version != row.original.version]
    _update_payments(connection, [row.payment for row in changed])
    _reschedule(connection, [row for row in loaded.values() if row.reschedule], now)
    _close_holds(connection, [row.payment for row in changed if row.payment.status is not row.original.status])
    # Cases of the same reference go before the one that replaces them comes.
    dead_letters.supersede(connection, writes.superseded)
    dead_letters.write(connection, writes.cases)
    _notify(connection, writes.notifications)
    alerts.write(connection, writes.alerts)
    entries = ledger.post(connection, writes.postings)
    audit.write(connection, [_audit_row(outcome, before, entries) for outcome, before in writes.audit])


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
_UPDATE_PAYMENTS = text(
    "update payment_transactions p set "  # noqa: S608  # constants
    + ", ".join(f"{name} = r.{name}" for name in _PAYMENT_COLUMNS if name != "id")
    + f" from {row_set(_PAYMENT_COLUMNS)} where p.id = r.id"
)


def _update_payments(connection: Connection, payments: list[Payment]) -> None:
    if not payments:
        return
    rows = [
        {name: getattr(payment, name) for name in _PAYMENT_COLUMNS} | {"exceptions": sorted(payment.exceptions)}
        for payment in payments
    ]
    connection.execute(_UPDATE_PAYMENTS, {"rows": encode_rows(rows)})


_DELETE_WORK = text(
    f"""
    delete from payment_work where payment_id in (
        select payment_id from payment_work
        where payment_id in (select id from {row_set({"id": "uuid"})}) order by payment_id for update)
    """  # noqa: S608  # constants
)
_WORK_COLUMNS = {
    "payment_id": "uuid",
    "tenant_id": "uuid",
    "provider_id": "uuid",
    "action": "text",
    "due_at": "timestamptz",
    "polls": "integer",
}
_UPSERT_WORK = text(
    f"""
    insert into payment_work ({", ".join(_WORK_COLUMNS)})
    select {", ".join(_WORK_COLUMNS)} from {row_set(_WORK_COLUMNS)} order by payment_id
    on conflict (payment_id) do update set action = excluded.action, due_at = excluded.due_at, polls = excluded.polls,
        attempts = 0, claim_id = null
    """  # noqa: S608  # constants
)


def _reschedule(connection: Connection, rows: list[_Loaded], now: datetime.datetime) -> None:
    """Gives each payment's work row its next call, whoever held it: a stale claim finds its claim_id gone."""
    calls = [(row, next_call(row.payment, row.polls, now)) for row in rows]
    done = [{"id": row.payment.id} for row, call in calls if call is None]
    if done:
        connection.execute(_DELETE_WORK, {"rows": encode_rows(done)})
    left = [
        {
            "payment_id": row.payment.id,
            "tenant_id": row.payment.tenant_id,
            "provider_id": row.payment.provider_id,
            "action": call.action,
            "due_at": call.due_at,
            "polls": row.polls,
        }
        for row, call in calls
        if call is not None
    ]
    if left:
        connection.execute(_UPSERT_WORK, {"rows": encode_rows(left)})


_CLOSE_HOLDS = text(
    f"""
    update wallet_temp_logs l set state = r.state, closed_at = now()
    from {row_set({"payment_id": "uuid", "state": "text"})} where l.payment_id = r.payment_id
    """  # noqa: S608  # constants
)


def _close_holds(connection: Connection, payments: list[Payment]) -> None:
    ended = [
        {"payment_id": payment.id, "state": "applied" if payment.status is Status.COMPLETED else "released"}
        for payment in payments
        if not payment.is_open
    ]
    if ended:
        connection.execute(_CLOSE_HOLDS, {"rows": encode_rows(ended)})


_NOTIFICATION_COLUMNS = {
    "id": "uuid",
    "tenant_id": "uuid",
    "user_id": "text",
    "payment_id": "uuid",
    "type": "text",
    "payload": "jsonb",
}
_NOTIFY = text(
    f"""
    with written as (
        insert into notifications ({", ".join(_NOTIFICATION_COLUMNS)})
        select {", ".join(_NOTIFICATION_COLUMNS)} from {row_set(_NOTIFICATION_COLUMNS)}
        returning id, tenant_id, user_id
    )
    insert into notification_work (notification_id, tenant_id, user_id)
    select id, tenant_id, user_id from written
    """  # noqa: S608  # constants
)


def _notify(connection: Connection, notifications: list[tuple[Payment, str]]) -> None:
    if notifications:
        rows = [
            {
                "id": new_id(),
                "tenant_id": payment.tenant_id,
                "user_id": payment.user_id,
                "payment_id": payment.id,
                "type": event,
                "payload": present_payment(payment),
            }
            for payment, event in notifications
        ]
        connection.execute(_NOTIFY, {"rows": encode_rows(rows)})


def _audit_row(outcome: Outcome, before: Payment, entries: dict[uuid.UUID, list[dict[str, object]]]) -> AuditRow:
    item, decision = outcome.item, outcome.decision
    assert decision is not None  # noqa: S101  # only decided items are kept for the audit
    after = decision.payment
    detail: dict[str, Any] = {
        "given": str(item.given.kind),
        "verdict": str(decision.verdict),
        "reason": decision.reason,
        "from": str(before.status),
        "to": str(after.status),
    }
    if item.webhook_id:
        detail["webhook_id"] = str(item.webhook_id)
    if decision.transfer:
        key = decision.transfer.key
        detail["entries"] = [entry for entry in entries.get(after.id, []) if entry["transfer_key"] == key]
    if decision.case:
        detail["case"] = {"reason": decision.case.reason, "detail": decision.case.detail}
    if decision.notification:
        detail["notification"] = decision.notification
    return AuditRow(after.tenant_id, item.actor, "decision", detail, after.id, after.version)
