"""The state machine: a total table over every state and every fact or command.

No other code changes a payment. A decision is a value; `app.services.payments.settlement` writes it.
Rules: CONTRACT section 3, "States".
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace

from app.core.capture import CAPTURE_IN_FLIGHT, approve, forget_approval
from app.core.decision import (
    Case,
    CommandDecider,
    Decision,
    FactDecider,
    Verdict,
    announce_action,
    changed,
    filled_in,
    is_other_reference,
    with_conflict,
)
from app.core.errors import InvariantBroken
from app.core.facts import Command, CommandKind, Fact, FactKind, Input
from app.core.money_events import accept, hold_other_reference, succeed, succeed_again
from app.core.payment import Payment, Status
from app.core.refunds.deciders import ask_refund, note_refund
from app.core.refunds.policy_refunds import is_case, refund_again, reject_suspended
from app.core.refunds.suspense import has_suspense
from app.core.reversals.corrections import correct
from app.core.reversals.decided import book, discard
from app.core.reversals.disputes import note_dispute
from app.core.reversals.movements import await_money, await_reversal, reinstate, reverse_one
from app.core.reversals.totals import await_success, reverse


def decide(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
    """Return what `given` does to `payment` at `now`. Total: every state has a decider for every kind."""
    if isinstance(given, Command):
        return COMMANDS[payment.status, given.kind](payment, given, now)
    is_about_other = is_other_reference(payment, given) and payment.status is not Status.COMPLETED
    if is_about_other and given.kind not in _ABOUT_ANY_REFERENCE:
        return _reference_mismatch(payment, given, now)
    # Money in suspense goes back and comes again without its payment being completed.
    is_about_suspense = given.kind in _MONEY_BACK and has_suspense(payment)
    return FACTS[Status.COMPLETED if is_about_suspense else payment.status, given.kind](payment, given, now)


def _ignored(
    reason: str, verdict: Verdict = Verdict.IGNORED
) -> Callable[[Payment, Input, datetime.datetime], Decision]:
    def decider(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
        return Decision(verdict, reason, payment)

    return decider


def _duplicate(reason: str) -> FactDecider:
    return _ignored(reason, Verdict.DUPLICATE)


def _reference_mismatch(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Refuse a fact under another reference than the stored one: it is never applied."""
    why = f"the fact '{fact.kind}' names {fact.reference}, the payment has {payment.provider_reference}"
    if fact.kind is FactKind.SUCCEEDED:
        return hold_other_reference(payment, fact, now, Verdict.DEAD_LETTER, "reference_mismatch", why, credited=0)
    return Decision(
        Verdict.DEAD_LETTER,
        why,
        with_conflict(payment, now),
        case=Case("reference_mismatch", why, f"reference_mismatch:{fact.kind}:{fact.reference}", fact.reference),
        notification="payment.review",
        alert="payment_conflict",
    )


def _start(payment: Payment, given: Fact, now: datetime.datetime) -> Decision:
    """Set the payment to processing: the provider has it."""
    filled = filled_in(payment, given)
    started = changed(payment, now, status=Status.PROCESSING, **filled)
    return Decision(
        Verdict.APPLIED,
        "the provider has the payment",
        started,
        notification=announce_action(payment, started),
    )


def _fill_in(payment: Payment, given: Fact, now: datetime.datetime) -> Decision:
    """Set only missing fields from a provider's answer that another fact overtook."""
    filled = filled_in(payment, given)
    if not filled:
        return Decision(Verdict.DUPLICATE, "nothing new", payment)
    known = changed(payment, now, **filled)
    return Decision(
        Verdict.APPLIED,
        "the provider's answer filled in what was missing",
        known,
        notification=announce_action(payment, known),
    )


def _commit(payment: Payment, given: Fact, now: datetime.datetime) -> Decision:
    """Postpone the expiry: the payer has committed to a method that settles days later; the first such fact counts.

    A payment that has ended keeps its state and is polled until then.
    """
    if payment.committed_until is not None:
        return _fill_in(payment, given, now)
    if given.settles_within_days is None:
        raise InvariantBroken("'committed' comes with the days that the provider's slow methods take")
    filled = filled_in(payment, given)
    until = now + datetime.timedelta(days=given.settles_within_days)
    status = Status.PROCESSING if payment.is_open else payment.status
    committed = changed(payment, now, status=status, committed_until=until, **filled)
    return Decision(
        Verdict.APPLIED,
        "the payer has committed to a method that settles later",
        committed,
        notification=announce_action(payment, committed),
    )


def _note_attempt(payment: Payment, given: Fact, now: datetime.datetime) -> Decision:
    """Keep why an attempt to pay failed; the payer may try again. Polls report the same attempt many times.

    Where it is the answer to our capture, the approval is used up.
    """
    error = given.message or "declined"
    why = f"an attempt to pay was declined: {error}" + (f" ({given.technical})" if given.technical else "")
    changes = {"last_attempt_error": error} | forget_approval(payment, given)
    is_new = payment.last_attempt_error != error or len(changes) > 1
    return Decision(Verdict.APPLIED, why, changed(payment, now, **changes) if is_new else payment)


def _contradict(payment: Payment, given: Fact, now: datetime.datetime) -> Decision:
    """Record a failure for a payment that is completed; it moves no money."""
    return Decision(
        Verdict.CONFLICT,
        f"the provider says '{given.kind}' of a completed payment",
        with_conflict(payment, now),
        notification=None if "conflict" in payment.exceptions else "payment.review",
        alert="payment_conflict",
    )


def _confirm_the_end_before(payment: Payment, given: Fact, now: datetime.datetime) -> Decision:
    """Decide a cancellation for a payment that is completed.

    Where the money came late, the cancellation is older: usually it answers our own closing of the session while the
    customer paid, and the two messages may come in either order.
    """
    if "late" in payment.exceptions:
        return Decision(Verdict.IGNORED, "the payment had ended before its money arrived", payment)
    return _contradict(payment, given, now)


def _end(status: Status, event: str) -> FactDecider:
    def decider(payment: Payment, given: Fact, now: datetime.datetime) -> Decision:
        if payment.has_open_case:
            return Decision(
                Verdict.CONFLICT,
                f"the provider says '{given.kind}' while received money waits for a person",
                with_conflict(payment, now),
                alert="payment_conflict",
            )
        reason = given.message or ("declined" if status is Status.FAILED else "cancelled at the provider")
        # The provider's expiry may overtake our own; it is the same end.
        if status is Status.CANCELLED and (given.is_expiry or now >= payment.awaited_until):
            reason = "expired"
        ended = changed(
            payment,
            now,
            status=status,
            failure_reason=reason,
            # The provider has ended it: there is no session to close.
            session_closed=True,
            **filled_in(payment, given),
        )
        # The provider's technical reason is for the audit and the timeline of operators.
        why = f"the provider says '{given.kind}'" + (f": {given.technical}" if given.technical else "")
        return Decision(Verdict.APPLIED, why, ended, notification=event)

    return decider


def _cancel(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    if payment.capture_sent_at is not None:
        return Decision(Verdict.IGNORED, CAPTURE_IN_FLIGHT, payment)
    cancelled = changed(payment, now, status=Status.CANCELLED, failure_reason="cancelled")
    return Decision(Verdict.APPLIED, "cancelled on request", cancelled, notification="payment.cancelled")


def _expire(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    if now < payment.expires_at:
        return Decision(Verdict.IGNORED, "not expired yet", payment)
    if payment.capture_sent_at is not None:
        return Decision(Verdict.IGNORED, CAPTURE_IN_FLIGHT, payment)
    if now < payment.awaited_until:
        return Decision(Verdict.IGNORED, "the payer has committed or approved, and the money may come yet", payment)
    if payment.has_open_case:
        return Decision(Verdict.IGNORED, "received money waits for a person", payment)
    if payment.has_waiting_webhooks:
        return Decision(Verdict.IGNORED, "webhooks of it wait to be settled", payment)
    expired = changed(payment, now, status=Status.CANCELLED, failure_reason="expired")
    return Decision(Verdict.APPLIED, "nobody paid in time", expired, notification="payment.cancelled")


def _reject(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    if is_case(command):
        return reject_suspended(payment, command, now)
    return Decision(Verdict.APPLIED, "rejected by a person", replace(payment, has_open_case=False))


def _look_up(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    return Decision(Verdict.APPLIED, "the provider is asked for its state", payment, asks=True)


def _reroute(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    """Give a payment to another provider, which the caller knows to be wanted and its present one not to have it."""
    is_known = payment.provider_reference is not None or payment.redirect_url is not None or payment.prompt is not None
    if is_known or payment.has_open_case or command.provider_id in (None, payment.provider_id):
        return Decision(Verdict.IGNORED, "the provider has the payment", payment)
    moved = changed(payment, now, provider_id=command.provider_id)
    return Decision(Verdict.APPLIED, f"the provider was not reached, {command.provider_id} is next", moved)


_fail = _end(Status.FAILED, "payment.failed")
_end_cancelled = _end(Status.CANCELLED, "payment.cancelled")
_unknown = _ignored("the provider does not know it")
_started = _ignored("the provider has the payment")
_completed, _failed, _cancelled = (
    _ignored(f"the payment {end}") for end in ("is completed", "has failed", "is cancelled")
)
_not_completed = _ignored("no money of the payment was credited")
_not_captured = _ignored("the payment has ended: what the payer approved is not captured")
_FAILED_ALREADY, _CANCELLED_ALREADY = "the payment has failed already", "the payment is cancelled already"

# Facts about money that was paid, under whichever reference.
_MONEY_BACK = (FactKind.REFUNDED, FactKind.REVERSED, FactKind.REINSTATED, FactKind.REFUND_STATE)
_ABOUT_ANY_REFERENCE = (*_MONEY_BACK, FactKind.DISPUTE)
# Each row has the deciders of one fact or command in the states pending, processing, completed, failed and cancelled.
_FACT_ROWS: dict[FactKind, tuple[FactDecider, ...]] = {
    FactKind.ACCEPTED: (_start, _fill_in, _fill_in, _fill_in, _fill_in),
    FactKind.PENDING: (_start, _fill_in, _fill_in, _fill_in, _fill_in),
    FactKind.APPROVED: (approve, approve, _completed, _not_captured, _not_captured),
    FactKind.COMMITTED: (_commit, _commit, _fill_in, _commit, _commit),
    FactKind.SUCCEEDED: (succeed, succeed, succeed_again, succeed, succeed),
    FactKind.ATTEMPT_DECLINED: (_note_attempt, _note_attempt, _completed, _failed, _cancelled),
    FactKind.DECLINED: (_fail, _fail, _contradict, _duplicate(_FAILED_ALREADY), _ignored(_CANCELLED_ALREADY)),
    FactKind.CANCELLED: (
        _end_cancelled,
        _end_cancelled,
        _confirm_the_end_before,
        _ignored(_FAILED_ALREADY),
        _duplicate(_CANCELLED_ALREADY),
    ),
    FactKind.REFUNDED: (await_success, await_success, reverse, await_success, await_success),
    FactKind.REVERSED: (await_money, await_money, reverse_one, await_money, await_money),
    FactKind.REINSTATED: (await_reversal, await_reversal, reinstate, await_reversal, await_reversal),
    FactKind.DISPUTE: (note_dispute, note_dispute, note_dispute, note_dispute, note_dispute),
    FactKind.REFUND_STATE: (_not_completed, _not_completed, note_refund, _not_completed, _not_completed),
    FactKind.NOT_FOUND: (_unknown, _unknown, _unknown, _unknown, _unknown),
}
_COMMAND_ROWS: dict[CommandKind, tuple[CommandDecider, ...]] = {
    CommandKind.CANCEL: (_cancel, _cancel, _completed, _failed, _cancelled),
    CommandKind.EXPIRE: (_expire, _expire, _completed, _failed, _cancelled),
    CommandKind.ACCEPT: (accept, accept, accept, accept, accept),
    CommandKind.REJECT: (_reject, _reject, _reject, _reject, _reject),
    CommandKind.BOOK: (book, book, book, book, book),
    CommandKind.DISCARD: (discard, discard, discard, discard, discard),
    CommandKind.CORRECT: (_not_completed, _not_completed, correct, _not_completed, _not_completed),
    CommandKind.LOOK_UP: (_look_up, _look_up, _look_up, _look_up, _look_up),
    CommandKind.REFUND: (_not_completed, _not_completed, ask_refund, _not_completed, _not_completed),
    CommandKind.REFUND_AGAIN: (refund_again, refund_again, refund_again, refund_again, refund_again),
    CommandKind.REROUTE: (_reroute, _started, _completed, _failed, _cancelled),
}
FACTS: dict[tuple[Status, FactKind], FactDecider] = {
    (status, kind): decider for kind, row in _FACT_ROWS.items() for status, decider in zip(Status, row, strict=True)
}
COMMANDS: dict[tuple[Status, CommandKind], CommandDecider] = {
    (status, kind): decider for kind, row in _COMMAND_ROWS.items() for status, decider in zip(Status, row, strict=True)
}
