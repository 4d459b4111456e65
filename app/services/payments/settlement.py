"""The one function through which every fact and command about money goes, in sets, in the caller's transaction.

Locks: payments by id, their work rows by id, user wallets by id, a clearing shard last.
"""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from app.core.decision import Case, Decision, Verdict
from app.core.errors import InvariantBroken
from app.core.facts import Fact, Input
from app.core.payment import EDGES, Payment
from app.core.reversals import as_fact, list_following
from app.core.state_machine import decide
from app.services.ledger import posting
from app.services.ledger.posting import Posting
from app.services.payments.balances import Balances, lock_balances, note_transfer, with_balance
from app.services.payments.reversal_rows import Waiting, add_evidence, write_waiting
from app.services.payments.rows import (
    LockedPayment,
    close_holds,
    lock_payments,
    reschedule,
    update_commitments,
    update_payments,
)
from app.services.records import alerts, audit, dead_letters
from app.services.records.alerts import AlertRow
from app.services.records.audit import AuditRow
from app.services.records.dead_letters import DeadLetterRow, Superseded


@dataclass(frozen=True, slots=True)
class Item:
    """One fact or command about one payment, and who brings it.

    `provider_id`, where given, must be the payment's own. `webhook_id`, `body` and `headers` tell where a webhook's
    fact came from; a dead letter keeps them. `is_follow_up`: a reversal that waited for the decision before it, or that
    was told along with it. `polls` is the new place in the poll schedule, where a poll was answered.
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
    is_follow_up: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item; `decision` is None where the tenant has no such payment with that provider.

    `is_foreign`: the tenant has a payment with that id, of another provider. One of another tenant is as none.
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
    waiting: list[Waiting] = field(default_factory=list)
    audit: list[tuple[Outcome, Payment]] = field(default_factory=list)


def settle(connection: Connection, items: list[Item]) -> list[Outcome]:
    """Decides `items` in their order and writes what follows from them; the caller adds the notifications and commits.

    The notifications go last, by `after_commit.number` where the caller is a worker, else by `after_commit.queue`.
    Items of one payment are decided one after the other on its row, which stays locked until the commit. What waited
    for a decision is decided right after it and is an outcome of its own. Raise
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
    balances = lock_balances(connection, [(item.payment_id, item.given) for item in items], loaded)
    writes, outcomes = _Writes(), []
    for item in items:
        row = loaded.get(item.payment_id)
        if row is None or not _belongs(item, row.payment):
            is_foreign = row is not None and row.payment.tenant_id == item.tenant_id
            outcomes.append(Outcome(item, None, is_foreign=is_foreign))
            continue
        before = row.payment
        outcomes.append(_decide_on_balance(item, row, now, writes, balances))
        for follow_up in _follow_ups(before, outcomes[-1]):
            outcomes.append(_decide_on_balance(follow_up, row, now, writes, balances))
    return loaded, writes, outcomes, now


def _follow_ups(before: Payment, outcome: Outcome) -> list[Item]:
    item, decision = outcome.item, outcome.decision
    assert decision is not None  # noqa: S101  # of a payment that is there
    if not decision.payment.reversals_waiting and not (isinstance(item.given, Fact) and item.given.refunded_minor):
        return []
    payment = decision.payment
    actor = f"provider:{payment.provider_id}"
    return [
        Item(
            payment.tenant_id,
            payment.id,
            as_fact(reversal),
            actor,
            payment.provider_id,
            reversal.webhook_id,
            is_follow_up=True,
        )
        for reversal in list_following(before, item.given, decision)
    ]


def _decide_on_balance(
    item: Item, row: LockedPayment, now: datetime.datetime, writes: _Writes, balances: Balances | None
) -> Outcome:
    row.payment = with_balance(row.payment, item.given, balances)
    outcome = _decide_one(item, row, now, writes)
    note_transfer(balances, row.payment, outcome.decision.transfer if outcome.decision else None)
    return outcome


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
        which = (decision.supersedes, decision.supersedes_currency, decision.supersedes_keys)
        _supersede(Superseded(after.id, reference, *which), row, writes)
    if decision.case:
        writes.cases.append(_dead_letter(item, after, decision.case))
    if decision.alert:
        writes.alerts.append(
            AlertRow(decision.alert, after.tenant_id, {"payment_id": after.id, "why": decision.reason})
        )
    if decision.verdict is not Verdict.IGNORED or item.webhook_id:
        writes.audit.append((outcome, before))
    row.payment = _keep_waiting(item, decision, writes)
    if item.polls is not None:
        row.polls = item.polls
    row.reschedule |= item.polls is not None or after is not before
    return outcome


def _keep_waiting(item: Item, decision: Decision, writes: _Writes) -> Payment:
    """Return the payment with the webhook that told what waits; a case waits for no deadline any more."""
    payment = decision.payment
    if decision.waits is None:
        return payment
    kept = tuple(
        replace(one, webhook_id=one.webhook_id or item.webhook_id) if one == decision.waits else one
        for one in payment.reversals_waiting
    )
    payment = replace(payment, reversals_waiting=kept)
    waiting = next(one for one in kept if one == decision.waits)
    writes.waiting.append((payment, waiting, None if decision.case else payment.monitored_until))
    return payment


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
    dead_letters.write(connection, add_evidence(connection, writes.cases))
    write_waiting(connection, writes.waiting, [(row.original, row.payment) for row in loaded.values()])
    alerts.write(connection, writes.alerts)
    posted = posting.post(connection, writes.postings)
    audit.write(connection, [_audit_row(outcome, before, posted) for outcome, before in writes.audit])


def _audit_row(outcome: Outcome, before: Payment, posted: dict[posting.PostingKey, dict[str, object]]) -> AuditRow:
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
