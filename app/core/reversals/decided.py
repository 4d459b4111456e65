"""Deciders about reversals and reinstatements that wait for a person, who books or rejects them."""

from __future__ import annotations

import datetime
from dataclasses import replace

from app.core.decision import Decision, Verdict, changed
from app.core.facts import Command
from app.core.payment import Payment, Status
from app.core.refunds.deciders import book_refund, discard_refund
from app.core.refunds.records import Refund
from app.core.refunds.suspense import read_suspense
from app.core.reversals import movements, totals
from app.core.reversals.credited import read_credited, with_marks
from app.core.reversals.records import KnownMovement, MovementState, WaitingReversal


def book(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    """Book what waits, also more than was credited, or in another currency: a person takes that on.

    Money that comes again is booked where so much is reversed; more of it would be a credit out of nothing.
    """
    waiting = _find(payment, command)
    if waiting is None:
        return Decision(Verdict.IGNORED, "it does not wait any more", payment)
    is_suspended = read_suspense(payment, waiting.reference, waiting.currency).booked_minor > 0
    if payment.status is not Status.COMPLETED and not is_suspended:
        return Decision(Verdict.IGNORED, "nothing was credited yet that could go back", payment)
    if isinstance(waiting, Refund):
        return book_refund(payment, waiting, now)
    if isinstance(waiting, WaitingReversal):
        return totals.book_waiting(payment, waiting, now)
    money = read_credited(payment, waiting.reference, waiting.currency)
    if waiting.kind == "reinstated" and waiting.amount_minor > money.reversed_minor:
        return Decision(Verdict.IGNORED, "less than that is reversed", payment)
    return movements.book_waiting(payment, waiting, now)


def discard(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    """Reject what waits: it is not booked, whatever is credited later."""
    waiting = _find(payment, command)
    if waiting is None:
        return Decision(Verdict.IGNORED, "it does not wait any more", payment)
    if isinstance(waiting, Refund):
        return discard_refund(payment, waiting, now)
    if isinstance(waiting, WaitingReversal):
        after = replace(payment, reversals_waiting=tuple(one for one in payment.reversals_waiting if one != waiting))
    else:
        rejected = replace(waiting, state=MovementState.REJECTED, waits_until=None)
        left = (rejected if one is waiting else one for one in payment.movements)
        after = replace(payment, movements=tuple(left))
    return Decision(Verdict.APPLIED, "rejected by a person", changed(after, now, exceptions=with_marks(after)))


def _find(payment: Payment, command: Command) -> KnownMovement | WaitingReversal | Refund | None:
    refund = next((one for one in payment.refunds if one.key == command.case_key), None)
    if refund is not None:
        return refund
    movement = next((one for one in payment.movements if one.key == command.case_key), None)
    if movement is not None:
        return movement if movement.state is MovementState.WAITING else None
    return next((one for one in payment.reversals_waiting if totals.key_of(one) == command.case_key), None)
