"""Decide facts and commands about payments, in sets, on rows locked in the caller's transaction; write nothing."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from app.core.decision import Case, Decision, Verdict
from app.core.errors import InvariantBroken
from app.core.facts import Fact, Input
from app.core.payment import EDGES, Payment
from app.core.refunds.policy_refunds import SUSPENSE
from app.core.reversals.following import FollowUp, add_following, has_following, list_following
from app.core.state_machine import decide
from app.services.ledger.posting import Posting
from app.services.payments.reversal_rows import Waiting
from app.services.payments.rows import LockedPayment, lock_payments
from app.services.records import dead_letters
from app.services.records.alerts import AlertRow
from app.services.records.dead_letters import DeadLetterRow, Superseded


@dataclass(frozen=True, slots=True)
class Item:
    """One fact or command about one payment.

    `actor` is the source, as the audit names it. `provider_id`, where given, must be the payment's own. `webhook_id`,
    `body` and `headers` are those of the webhook that held the fact; a dead letter keeps them. `is_follow_up`: a
    reversal that waited for the decision before it, or that the same fact reported. `polls` is the new index into the
    poll schedule, where a poll was answered.
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
class ItemOutcome:
    """The decision about an item; None where the tenant has no such payment with that provider.

    `is_foreign`: the tenant has a payment with that id, of another provider. Another tenant's payment counts as none.
    """

    item: Item
    decision: Decision | None
    is_foreign: bool = False


@dataclass(slots=True)
class BatchDecisions:
    """The decisions about a batch and the writes that follow from them, in the order in which they were made."""

    rows: dict[uuid.UUID, LockedPayment]
    now: datetime.datetime
    outcomes: list[ItemOutcome] = field(default_factory=list)
    postings: list[Posting] = field(default_factory=list)
    cases: list[DeadLetterRow] = field(default_factory=list)
    superseded: list[Superseded] = field(default_factory=list)
    alerts: list[AlertRow] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    # Each outcome that is audited, with the payment as it was before.
    audited: list[tuple[ItemOutcome, Payment]] = field(default_factory=list)


def preview(connection: Connection, items: list[Item]) -> list[ItemOutcome]:
    """Decide `items` as settling them at this moment would; the payments stay locked until the transaction ends."""
    return decide_batch(connection, items).outcomes


def decide_batch(connection: Connection, items: list[Item]) -> BatchDecisions:
    """Lock the payments of `items` and decide `items` in their order.

    Items of one payment are decided one after the other on its row. A reversal that waited for a decision is decided
    right after it and is an outcome of its own. Raise sqlalchemy.exc.DBAPIError and InvariantBroken.
    """
    rows, now = lock_payments(connection, list({item.payment_id for item in items}))
    batch = BatchDecisions(rows, now)
    for item in items:
        row = rows.get(item.payment_id)
        if row is None or not _belongs(item, row.payment):
            is_foreign = row is not None and row.payment.tenant_id == item.tenant_id
            batch.outcomes.append(ItemOutcome(item, None, is_foreign=is_foreign))
            continue
        _decide_with_following(item, row, batch)
    return batch


def _decide_with_following(item: Item, row: LockedPayment, batch: BatchDecisions) -> None:
    """Decide an item and, as outcomes of their own, what waited for the decision or came with the same fact."""
    queue = _decide_and_list(item, row, batch, [])
    while queue:
        follow_up, *rest = queue
        queue = _decide_and_list(_as_item(follow_up, row.payment), row, batch, rest)


def _decide_and_list(item: Item, row: LockedPayment, batch: BatchDecisions, queue: list[FollowUp]) -> list[FollowUp]:
    """Decide an item; return `queue`, what is still to be decided, with what follows from the decision."""
    before = row.payment
    decision = _decide_one(item, row, batch)
    if not has_following(decision.payment, item.given):
        return queue
    return add_following(queue, list_following(before, item.given, decision), row.payment)


def _as_item(follow_up: FollowUp, payment: Payment) -> Item:
    actor = f"provider:{payment.provider_id}"
    about = (payment.tenant_id, payment.id, follow_up.fact, actor, payment.provider_id, follow_up.webhook_id)
    return Item(*about, is_follow_up=True)


def _belongs(item: Item, payment: Payment) -> bool:
    return item.tenant_id == payment.tenant_id and item.provider_id in (None, payment.provider_id)


def _decide_one(item: Item, row: LockedPayment, batch: BatchDecisions) -> Decision:
    before = row.payment
    decision = decide(before, item.given, batch.now)
    after = decision.payment
    if before.status is not after.status and (before.status, after.status) not in EDGES:
        raise InvariantBroken(f"no step from {before.status} to {after.status}", payment_id=before.id)
    outcome = ItemOutcome(item, decision)
    batch.outcomes.append(outcome)
    batch.postings += [Posting(after, moved) for moved in (decision.transfer, decision.suspense) if moved]
    if decision.supersedes:
        named = item.given.reference if isinstance(item.given, Fact) else None
        which = (decision.supersedes, decision.supersedes_currency, decision.supersedes_keys)
        _supersede(Superseded(after.id, named or after.provider_reference, *which), row, batch)
    if decision.case:
        batch.cases.append(_dead_letter(item, after, decision.case))
    if decision.alert or decision.case:
        batch.alerts += _list_alarms(after, decision)
    if decision.verdict is not Verdict.IGNORED or item.webhook_id:
        batch.audited.append((outcome, before))
    row.payment = _with_source(item, before, _keep_waiting(item, decision, batch))
    if item.polls is not None:
        row.polls = item.polls
    row.query_now |= decision.asks
    row.reschedule |= item.polls is not None or after is not before or row.query_now
    return decision


def _list_alarms(payment: Payment, decision: Decision) -> Iterator[AlertRow]:
    """Yield the decision's alarm, and one of the case about money in suspense, which any report of that may open."""
    about = {"payment_id": payment.id, "why": decision.reason}
    case = decision.case
    if case and case.reason == SUSPENSE:
        detail = {**about, "amount_minor": case.amount_minor, "currency": case.currency}
        yield AlertRow("suspense_held", payment.tenant_id, detail, f"{payment.id} {case.key}")
    if decision.alert:
        yield AlertRow(decision.alert, payment.tenant_id, about, _name_subject(payment, decision))


def _name_subject(payment: Payment, decision: Decision) -> str | None:
    """Return what the decision's own alarm lasts for: the case that it is about, or the dispute; None for an event."""
    case = decision.case
    if case and not case.is_rejected and case.reason != SUSPENSE:
        return f"{payment.id} {case.key}"
    dispute = (decision.about or {}).get("dispute")
    return f"{payment.id} {dispute['id']}" if dispute else None


def _keep_waiting(item: Item, decision: Decision, batch: BatchDecisions) -> Payment:
    """Return the payment with the webhook of the reversal that waits; one that is a case has no deadline any more."""
    payment = decision.payment
    if decision.waits is None:
        return payment
    kept = tuple(
        replace(one, webhook_id=one.webhook_id or item.webhook_id) if one == decision.waits else one
        for one in payment.reversals_waiting
    )
    payment = replace(payment, reversals_waiting=kept)
    waiting = next(one for one in kept if one == decision.waits)
    batch.waiting.append((payment, waiting, None if decision.case else payment.monitored_until))
    return payment


def _with_source(item: Item, before: Payment, after: Payment) -> Payment:
    """Return the payment with the webhook of the movement that it has now and had not `before`."""
    if item.webhook_id is None or after.movements is before.movements:
        return after
    known = {one.key for one in before.movements}
    movements = (one if one.key in known else replace(one, webhook_id=item.webhook_id) for one in after.movements)
    return replace(after, movements=tuple(movements))


def _supersede(superseded: Superseded, row: LockedPayment, batch: BatchDecisions) -> None:
    if row.has_open_letters:
        batch.superseded.append(superseded)
    # Cases of this batch are not in the database yet.
    batch.cases = [dead_letters.superseded_by(superseded, case) for case in batch.cases]


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
