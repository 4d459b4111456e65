"""The one function through which every fact and command about money goes, in sets, in the caller's transaction.

Locks: payments by id, their work rows by id, user wallets by id, a clearing shard last.
"""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, text

from app.core.decision import Case, Decision, Verdict
from app.core.decisions import decide
from app.core.errors import InvariantBroken
from app.core.facts import Fact, FactKind, Input
from app.core.payments import EDGES, Payment
from app.services import alerts, audit, dead_letters, ledger
from app.services.alerts import AlertRow
from app.services.audit import AuditRow
from app.services.dead_letters import DeadLetterRow, Superseded
from app.services.ledger import Posting
from app.services.payment_rows import (
    LockedPayment,
    close_holds,
    lock_payments,
    reschedule,
    update_commitments,
    update_payments,
)


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
    """What became of an item; `decision` is None where the tenant has no such payment with that provider.

    `is_foreign`: there is a payment with that id, of another provider or tenant.
    """

    item: Item
    decision: Decision | None
    is_foreign: bool = False


@dataclass(slots=True)
class _Writes:
    """What the decisions of a batch add up to, in the order in which they were made."""

    postings: list[Posting] = field(default_factory=list)
    cases: list[DeadLetterRow] = field(default_factory=list)
    superseded: list[Superseded] = field(default_factory=list)
    alerts: list[AlertRow] = field(default_factory=list)
    audit: list[tuple[Outcome, Payment]] = field(default_factory=list)


def settle(connection: Connection, items: list[Item]) -> list[Outcome]:
    """Decides `items` in their order and writes what follows from them; the caller adds the notifications and commits.

    The notifications go last, by `after_commit.number` where the caller is a worker, else by `after_commit.queue`.
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
) -> tuple[dict[uuid.UUID, LockedPayment], _Writes, list[Outcome], datetime.datetime]:
    loaded, now = lock_payments(connection, list({item.payment_id for item in items}))
    balances = _lock_balances(connection, items, loaded)
    writes, outcomes = _Writes(), []
    for item in items:
        row = loaded.get(item.payment_id)
        if row is None or not _belongs(item, row.payment):
            outcomes.append(Outcome(item, None, is_foreign=row is not None))
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
    connection: Connection, items: list[Item], loaded: dict[uuid.UUID, LockedPayment]
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


def _decide_one(item: Item, row: LockedPayment, now: datetime.datetime, writes: _Writes) -> Outcome:
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
        _supersede(Superseded(after.id, reference, decision.supersedes, decision.supersedes_currency), row, writes)
    if decision.case:
        writes.cases.append(_dead_letter(item, after, decision.case))
    if decision.alert:
        writes.alerts.append(
            AlertRow(decision.alert, after.tenant_id, {"payment_id": after.id, "why": decision.reason})
        )
    if decision.verdict is not Verdict.IGNORED or item.webhook_id:
        writes.audit.append((outcome, before))
    row.payment = after
    if item.polls is not None:
        row.polls = item.polls
    row.reschedule |= item.polls is not None or after is not before
    return outcome


def _supersede(superseded: Superseded, row: LockedPayment, writes: _Writes) -> None:
    if row.has_open_letters:
        writes.superseded.append(superseded)
    # Cases of this batch are not in the database yet.
    writes.cases = [dead_letters.superseded_by(superseded, case) for case in writes.cases]


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


def _write(
    connection: Connection, loaded: dict[uuid.UUID, LockedPayment], writes: _Writes, now: datetime.datetime
) -> None:
    changed = [row for row in loaded.values() if row.payment.version != row.original.version]
    update_payments(connection, [row.payment for row in changed])
    update_commitments(connection, changed)
    reschedule(connection, [row for row in loaded.values() if row.reschedule], now)
    close_holds(connection, [row.payment for row in changed if row.payment.status is not row.original.status])
    # Cases of the same reference go before the one that replaces them comes.
    dead_letters.supersede(connection, writes.superseded)
    dead_letters.write(connection, writes.cases)
    alerts.write(connection, writes.alerts)
    posted = ledger.post(connection, writes.postings)
    audit.write(connection, [_audit_row(outcome, before, posted) for outcome, before in writes.audit])


def _audit_row(outcome: Outcome, before: Payment, posted: dict[ledger.PostingKey, dict[str, object]]) -> AuditRow:
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
        detail["webhook_id"] = item.webhook_id
    if decision.transfer:
        detail |= posted[after.id, decision.transfer.key]
    if decision.case:
        detail["case"] = {"reason": decision.case.reason, "detail": decision.case.detail}
    if decision.notification:
        detail["notification"] = decision.notification
    return AuditRow(after.tenant_id, item.actor, "decision", detail, after.id, after.version)
