"""The one transaction in which facts and commands change payments and wallets.

    with settlement.open(runtime, "worker") as batch:
        outcomes = batch.settle(items)

A block that ends normally writes the notifications, commits, and publishes after the commit. A block that raises is
rolled back and publishes nothing. There is no other way to settle.

Locks: payments by id, their work rows by id, user wallets by id, a clearing shard last.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.core.decision import Verdict
from app.core.facts import CommandKind, Fact, FactKind
from app.core.payment import Payment, Status
from app.runtime.hints import changed_hints
from app.runtime.runtime import Runtime
from app.services.ledger import posting
from app.services.payments.batch_decisions import BatchDecisions, Item, ItemOutcome, decide_batch
from app.services.payments.refund_rows import write_refunds
from app.services.payments.reversal_rows import add_evidence, write_movements, write_waiting
from app.services.payments.rows import close_holds, move_to_providers, reschedule, update_payer_steps, update_payments
from app.services.queues import lock_waits
from app.services.records import alerts, audit, database_trouble, dead_letters, notifications, references
from app.services.records.alerts import AlertRow
from app.services.records.audit import AuditRow
from app.services.records.notifications import Event, Numbering
from app.services.records.references import ReferenceRow
from models import ByKeys

log = structlog.get_logger(__name__)

_MAKES_DUE = (FactKind.APPROVED, CommandKind.REROUTE, CommandKind.REFUND, CommandKind.REFUND_AGAIN)
_ENDED_WITHOUT_MONEY = (Status.FAILED, Status.CANCELLED)


@dataclass(slots=True)
class Batch:
    """A settlement under way; `connection` takes what else belongs into its transaction."""

    connection: Connection
    outcomes: list[ItemOutcome] = field(default_factory=list)
    _state: Literal["unused", "settling", "settled", "left"] = "unused"

    def settle(self, items: list[Item]) -> list[ItemOutcome]:
        """Decide `items` in their order, write what follows from them, and return their outcomes.

        The payments stay locked until the commit. A batch settles once: a second set of payments would be locked out
        of order. Raise sqlalchemy.exc.DBAPIError (retry the block on 40001 and 40P01), InvariantBroken, and
        RuntimeError where the batch cannot be settled any more.
        """
        if self._state != "unused":
            raise RuntimeError(f"the batch is {self._state}")
        self._state = "settling"
        if items:
            decisions = decide_batch(self.connection, items)
            _write(self.connection, decisions)
            self.outcomes = decisions.outcomes
        self._state = "settled"
        return self.outcomes

    def leave(self) -> None:
        """End the batch. Raise RuntimeError where settling failed and the block went on: half of it may be written."""
        state, self._state = self._state, "left"
        if state == "settling":
            raise RuntimeError("the batch was not settled to its end")


@contextlib.contextmanager
def open(
    runtime: Runtime,
    role: Literal["web", "clerk", "worker"],
    tenant_id: uuid.UUID | None = None,
    *,
    by_keys: ByKeys = "few",
    is_single: bool = False,
) -> Iterator[Batch]:
    """Open a transaction that settles one batch; `role`, `tenant_id` and `by_keys` as `Database.transaction` has them.

    A worker numbers the notifications as its last step. The other roles may not: they queue them and ring for a worker.
    `is_single`: a worker settles one item isolated, which waits for locks only shortly and queues its notifications, so
    that a held counter of its tenant does not hold it up. Raise sqlalchemy.exc.DBAPIError as the database does.
    """
    with runtime.database.transaction(role, tenant_id, by_keys=by_keys) as connection:
        if role == "worker":
            lock_waits.limit_waits(connection, is_single=is_single)
        batch = Batch(connection)
        yield batch
        batch.leave()
        events = _list_events(batch.outcomes)
        numbering = None
        if role == "worker" and not is_single:
            numbering = notifications.number(connection, events)
        else:
            notifications.queue(connection, events)
    _publish(runtime, batch.outcomes, events, numbering)


def _list_events(outcomes: Sequence[ItemOutcome]) -> list[Event]:
    return [
        (outcome.decision.payment, outcome.decision.notification, outcome.decision.about)
        for outcome in outcomes
        if outcome.decision and outcome.decision.notification
    ]


def _write(connection: Connection, batch: BatchDecisions) -> None:
    rows = batch.rows.values()
    changed = [row for row in rows if row.payment.version != row.original.version]
    update_payments(connection, [row.payment for row in changed])
    update_payer_steps(connection, changed)
    reschedule(connection, [row for row in rows if row.reschedule], batch.now)
    move_to_providers(connection, changed)
    close_holds(connection, [row.payment for row in changed if row.payment.status is not row.original.status])
    # Open cases are superseded before the case that replaces them is written: they may have the same reference.
    dead_letters.supersede(connection, batch.superseded)
    dead_letters.write(connection, add_evidence(connection, batch.cases))
    write_waiting(connection, batch.waiting, [(row.original, row.payment) for row in rows])
    write_movements(connection, [(row.original, row.payment) for row in changed])
    write_refunds(connection, [(row.original, row.payment) for row in changed])
    references.write(connection, _list_aliases(batch.outcomes))
    posted = posting.post(connection, batch.postings)
    alerts.write(connection, [*batch.alerts, *_find_negative(batch.postings, posted)])
    audit.write(connection, [_audit_row(outcome, before, posted) for outcome, before in batch.audited])


def _find_negative(
    postings: Sequence[posting.Posting], posted: Mapping[posting.PostingKey, Mapping[str, Any]]
) -> Iterator[AlertRow]:
    """Yield an alarm for each reversal that left its user's wallet below zero."""
    for each in postings:
        if each.sign > 0 or each.is_of_suspense:
            continue
        # The user's entry is the first.
        balance_minor = posted[each.payment.id, each.transfer.key]["entries"][0]["balance_after_minor"]
        if balance_minor < 0:
            detail = {"payment_id": each.payment.id, "user_id": each.payment.user_id}
            detail |= {"currency": each.transfer.currency, "balance_minor": balance_minor}
            # What has taken it below, as the entry has it.
            detail |= {"transfer_key": each.transfer.key, "amount_minor": -each.transfer.amount_minor}
            subject = f"{each.transfer.currency} {each.payment.user_id}"
            yield AlertRow("wallet_negative", each.payment.tenant_id, detail, subject)


def _list_aliases(outcomes: Sequence[ItemOutcome]) -> list[ReferenceRow]:
    return [
        ReferenceRow(payment.provider_id, alias, payment.tenant_id, payment.id)
        for outcome in outcomes
        if isinstance(given := outcome.item.given, Fact) and given.aliases and outcome.decision
        for payment in (outcome.decision.payment,)
        for alias in given.aliases
    ]


def _audit_row(outcome: ItemOutcome, before: Payment, posted: dict[posting.PostingKey, dict[str, object]]) -> AuditRow:
    item, decision = outcome.item, outcome.decision
    assert decision is not None  # noqa: S101  # only decided items are audited
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
    if decision.suspense:
        detail["suspense"] = posted[after.id, decision.suspense.key]
    if decision.case:
        detail["case"] = {"reason": decision.case.reason, "detail": decision.case.detail}
    if decision.notification:
        detail["notification"] = decision.notification
    return AuditRow(after.tenant_id, item.actor, "decision", detail, after.id, after.version)


def _publish(
    runtime: Runtime, outcomes: Sequence[ItemOutcome], events: Sequence[Event], numbering: Numbering | None
) -> None:
    """Publish what was committed to waiting requests and sockets, and ring for what became due.

    Hints and rings may be lost. Without a `numbering` a worker is rung for, which numbers.
    """
    changed = {
        outcome.decision.payment.id
        for outcome in outcomes
        if outcome.decision and outcome.decision.verdict is not Verdict.IGNORED
    }
    numbered = notifications.list_hints(numbering) if numbering else []
    runtime.doorbells.publish([*changed_hints(changed), *numbered])
    if numbering and numbering.has_deliveries:
        runtime.doorbells.ring("deliver")
    if numbering:
        _number_rest(runtime, numbering.left_to_others + numbering.unfinished)
    elif events:
        runtime.doorbells.ring("notify")
    is_closed = any(payment.status in _ENDED_WITHOUT_MONEY and not payment.session_closed for payment, *_ in events)
    # The provider's session is to be closed, the provider asked, another one called,
    # what the payer approved captured, or a refund made.
    if is_closed or any(map(_makes_due, outcomes)):
        runtime.doorbells.ring("provider")


def _makes_due(outcome: ItemOutcome) -> bool:
    if outcome.item.given.kind in _MAKES_DUE:
        return True
    decision = outcome.decision
    # What was put into suspense is to be refunded.
    return bool(decision and (decision.asks or (decision.suspense and decision.suspense.type == "suspense")))


def _number_rest(runtime: Runtime, tenant_ids: Collection[uuid.UUID]) -> None:
    try:
        notifications.number_tenants(runtime, tenant_ids)
    except SQLAlchemyError as error:
        # The settlement is committed: its notifications wait for the next run that numbers.
        if database_trouble.note(runtime, "notify", error) is None:
            log.exception("not_numbered")
        runtime.doorbells.ring("notify")
