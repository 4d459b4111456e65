"""Applies an operator's decision about a dead letter: accept its money, or reject it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, select, text

from app.core.decision import Verdict
from app.core.errors import RequestRejected
from app.core.facts import Command, CommandKind
from app.core.money import format_money
from app.core.reversals.corrections import CORRECTABLE
from app.runtime.runtime import Runtime
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item, ItemOutcome, preview
from app.services.payments.settlement import Batch
from app.services.records import audit
from app.services.records.audit import AuditRow
from app.services.tenants.changes import name_reason
from models import tables
from models.sql import columns

# Reasons of cases about money that went back or came again, and what accepting and rejecting do with these.
MOVED = ("reversal", "reinstatement", "refund")
_MOVES = {CommandKind.ACCEPT: CommandKind.BOOK, CommandKind.REJECT: CommandKind.DISCARD}
_MAY_BE_REFUSED = (*_MOVES, *_MOVES.values(), CommandKind.CORRECT, CommandKind.REFUND_AGAIN)
# What ends a dead letter that holds no money to accept, by its reason.
_ASK_AGAIN = "Redrive it: the provider is asked, and its answer is settled; or reject it, if the books are right."
_WAYS = {
    "unknown_payment": "Redrive it once the payment is there, or reject it: no wallet here is wrong.",
    "missing_here": "Only the provider has it, and no wallet here is wrong: give it back there, then reject this.",
    **dict.fromkeys(CORRECTABLE, _ASK_AGAIN),
}
_TRY_AGAIN = "Redrive it to try it again, or reject it, if the books are right."
_LETTERS, _PAYMENTS = tables.dead_letters, tables.payment_transactions
_DECIDED = columns(
    _LETTERS,
    *("id", "tenant_id", "kind", "reason", "payment_id", "provider_id", "webhook_id"),
    *("amount_minor", "currency", "case_key", "case_reference", "state", "closed_by"),
)
_CLOSE = text(
    """
    update dead_letters set state = :state, closed_at = case when :state = 'open' then closed_at else now() end,
        closed_by = case when :state = 'open' then closed_by else :actor end,
        history = history || jsonb_build_array(jsonb_strip_nulls(jsonb_build_object(
            'at', now(), 'actor', cast(:actor as text), 'action', cast(:action as text),
            'reason', cast(:reason as text))))
    where tenant_id = :tenant_id and id = :id
    """
)


@dataclass(frozen=True, slots=True)
class Operator:
    """The actor and the reason of a decision or a redrive; both are kept in the audit and in the history."""

    actor: str
    reason: str | None = None


def refund_again(batch: Batch, row: RowMapping, by: Operator, is_dry_run: bool) -> str:
    """Give the money of a locked case back once more; return the effect in words. Raise RequestRejected (409)."""
    money = (row["amount_minor"], row["currency"], row["case_reference"])
    command = Command(CommandKind.REFUND_AGAIN, row["id"], *money, case_key=row["case_key"])
    items = [Item(row["tenant_id"], row["payment_id"], command, by.actor)]
    outcomes = preview(batch.connection, items) if is_dry_run else batch.settle(items)
    _check_effect(outcomes)
    return describe(outcomes)


def lock_dead_letter(connection: Connection, tenant_id: uuid.UUID, dead_letter_id: uuid.UUID) -> RowMapping:
    """Lock the payment of a dead letter, then the dead letter, so that one operator at a time acts. Raise 404."""
    of_tenant = (_LETTERS.c.tenant_id == tenant_id, _LETTERS.c.id == dead_letter_id)
    its_payment = (_LETTERS.c.tenant_id == _PAYMENTS.c.tenant_id, _LETTERS.c.payment_id == _PAYMENTS.c.id)
    connection.execute(
        select(_PAYMENTS.c.id).where(*of_tenant, *its_payment).with_for_update(key_share=True, of=_PAYMENTS)
    )
    row = connection.execute(select(*_DECIDED).where(*of_tenant).with_for_update()).mappings().first()
    if row is None:
        raise RequestRejected(404, "There is no such dead letter.")
    return row


def close(connection: Connection, row: RowMapping, by: Operator, action: str, state: str) -> None:
    """Give a locked dead letter its state and add to its history; it may stay open."""
    about = {"tenant_id": row["tenant_id"], "id": row["id"], "actor": by.actor, "reason": by.reason}
    connection.execute(_CLOSE, about | {"action": action, "state": state})


def accept(
    runtime: Runtime,
    tenant_id: uuid.UUID,
    dead_letter_id: uuid.UUID,
    actor: str,
    is_dry_run: bool = False,
    reason: str | None = None,
) -> str:
    """Settle the money that waits in a dead letter and close it; return the effect in words.

    A reversal is booked, also where it is more than was credited; a credit that reconciliation found to differ follows
    what the provider shows. `reason` is the operator's, kept in the audit and in the history. Raise RequestRejected:
    404, or 409 where it is closed already, holds no money, or cannot be booked.
    """
    return _decide(runtime, tenant_id, dead_letter_id, Operator(actor, reason), CommandKind.ACCEPT, is_dry_run)


def reject(
    runtime: Runtime,
    tenant_id: uuid.UUID,
    dead_letter_id: uuid.UUID,
    actor: str,
    is_dry_run: bool = False,
    reason: str | None = None,
) -> str:
    """Close a dead letter without a credit; return the effect in words. Raise RequestRejected (404, 409)."""
    return _decide(runtime, tenant_id, dead_letter_id, Operator(actor, reason), CommandKind.REJECT, is_dry_run)


def _decide(
    runtime: Runtime, tenant_id: uuid.UUID, dead_letter_id: uuid.UUID, by: Operator, kind: CommandKind, is_dry_run: bool
) -> str:
    with settlement.open(runtime, "clerk", tenant_id) as batch:
        connection = batch.connection
        row = lock_dead_letter(connection, tenant_id, dead_letter_id)
        _check(row, kind)
        item = _item(row, kind, by.actor)
        if is_dry_run:
            if item is None:
                return "closes the case; nothing else changes"
            outcomes = preview(connection, [item])
            _check_effect(outcomes)
            return describe(outcomes)
        state = "accepted" if kind is CommandKind.ACCEPT else "rejected"
        # Closed first, so that the decision reads the payment's other open cases only.
        close(connection, row, by, state, state)
        outcomes = batch.settle([item] if item else [])
        _check_effect(outcomes)
        detail = {"dead_letter_id": dead_letter_id, "reason": row["reason"], **name_reason(by.reason)}
        if row["amount_minor"] is not None:
            detail |= {"amount_minor": row["amount_minor"], "currency": row["currency"]}
        audit.write(connection, [AuditRow(tenant_id, by.actor, f"dead_letter_{state}", detail, row["payment_id"])])
    return describe(outcomes) if outcomes else "the case is closed; nothing else changed"


def moves_money(outcomes: list[ItemOutcome]) -> bool:
    """Return whether any of the decisions moves money, of the user or in suspense."""
    return any(outcome.decision and (outcome.decision.transfer or outcome.decision.suspense) for outcome in outcomes)


def _check(row: RowMapping, kind: CommandKind) -> None:
    if row["state"] != "open":
        by = f" by {row['closed_by']}" if row["closed_by"] else ""
        raise RequestRejected(409, f"The dead letter is not open any more: {row['state']}{by}.")
    has_money = row["amount_minor"] is not None or row["reason"] in MOVED
    if kind is CommandKind.ACCEPT and not (has_money and row["payment_id"]):
        way = _WAYS.get(row["reason"], _TRY_AGAIN)
        raise RequestRejected(409, f"There is no money in this dead letter to accept. {way}")


def _check_effect(outcomes: list[ItemOutcome]) -> None:
    """Raise RequestRejected where what waits for a person cannot be decided so."""
    for outcome in outcomes:
        decision = outcome.decision
        is_decided = outcome.item.given.kind in _MAY_BE_REFUSED
        if is_decided and decision and decision.verdict is Verdict.IGNORED:
            raise RequestRejected(409, f"This cannot be done: {decision.reason}.")


def _item(row: RowMapping, kind: CommandKind, actor: str) -> Item | None:
    if row["payment_id"] is not None and row["reason"] in MOVED:
        return Item(
            row["tenant_id"], row["payment_id"], Command(_MOVES[kind], row["id"], case_key=row["case_key"]), actor
        )
    if row["payment_id"] is None or row["amount_minor"] is None:
        return None
    if row["kind"] == "reconciliation":
        if kind is CommandKind.REJECT:
            return None
        kind = CommandKind.CORRECT
    money = (row["amount_minor"], row["currency"], row["case_reference"])
    command = Command(kind, row["id"], *money, case_key=row["case_key"])
    return Item(row["tenant_id"], row["payment_id"], command, actor)


def describe(outcomes: list[ItemOutcome]) -> str:
    """Return the decisions in words, made or previewed."""
    return "; then ".join(map(_describe_one, outcomes))


def _describe_one(outcome: ItemOutcome) -> str:
    decision = outcome.decision
    if decision is None:
        return "waits: there is no such payment with this provider"
    words = f"{decision.verdict}: {decision.reason}; the payment is {decision.payment.status}"
    for moved in filter(None, (decision.transfer, decision.suspense)):
        words += f"; {moved.type.replace('_', ' ')} of {format_money(moved.amount_minor, moved.currency)}"
    return words
