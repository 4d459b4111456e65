"""What is decided right after a decision: money that goes back or comes again and waited for it, or came with it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.core.decision import Decision
from app.core.facts import Fact, Input
from app.core.payment import Payment
from app.core.refunds.attribution import report
from app.core.refunds.deciders import TAKEN_BEFORE, list_unsent
from app.core.reversals import disputes, movements, totals
from app.core.reversals.records import KnownMovement, MovementState, WaitingReversal


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A fact to be decided; `webhook_id` is the webhook that reported it, where it waited."""

    fact: Fact
    webhook_id: uuid.UUID | None = None


def has_following(payment: Payment, given: Input) -> bool:
    """Return whether anything may follow a decision about `given` that left `payment`; a cheap check."""
    if payment.reversals_waiting or payment.movements or payment.refunds:
        return True
    if not isinstance(given, Fact):
        return False
    is_total = given.refunded_minor is not None and bool(given.refunded_minor or payment.reversed_minor)
    return is_total or bool(given.movements or given.disputes)


def list_following(before: Payment, given: Input, decision: Decision) -> list[FollowUp]:
    """Return what is to be decided after `decision` about `given`: refunds, totals, then movements, then disputes."""
    unsent = [replace(report(one, "failed"), message=TAKEN_BEFORE) for one in list_unsent(before, decision.payment)]
    money = [*unsent, *totals.list_due(before, given, decision), *movements.list_due(before, given, decision)]
    return [_follow(due) for due in (*money, *disputes.list_due(decision.payment, given))]


def add_following(queue: Sequence[FollowUp], added: Sequence[FollowUp], payment: Payment) -> list[FollowUp]:
    """Return `queue` behind what a decision has added, without what `payment` has booked meanwhile.

    What can be booked now comes first: money that came again makes room for other reversals.
    """
    booked = {one.key for one in payment.movements if one.state is MovementState.BOOKED}
    merged = dict.fromkeys((*added, *queue))
    return [one for one in merged if f"{one.fact.kind}:{one.fact.reversal_id}" not in booked]


def _follow(due: WaitingReversal | KnownMovement | Fact) -> FollowUp:
    if isinstance(due, Fact):
        return FollowUp(due)
    fact = totals.as_fact(due) if isinstance(due, WaitingReversal) else movements.as_fact(due, due.reference)
    return FollowUp(fact, due.webhook_id)
