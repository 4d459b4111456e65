"""Deciders about single movements with ids: money that goes back, and money that comes again.

Each (payment, kind, reversal_id) has one effect. A reversal is booked once its money is credited, money that comes
again once its reversal is booked, in whatever order they arrive: until then they wait with the payment. A reversal that
is more than what is left of the credit is booked where what came again makes up for it.
Rules: CONTRACT section 10.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import replace

from app.core.decision import (
    Case,
    Decision,
    Reason,
    Transfer,
    Verdict,
    changed,
    filled_in,
    is_other_reference,
    money_of,
    with_conflict,
)
from app.core.errors import InvariantBroken
from app.core.facts import Fact, FactKind, Input, Movement, MovementKind
from app.core.money import format_money
from app.core.payment import Payment, Status, format_received
from app.core.refunds import attribution, policy_refunds
from app.core.refunds.deciders import note_refund
from app.core.refunds.suspense import has_suspense
from app.core.reversals.credited import read_credited, with_marks
from app.core.reversals.records import KnownMovement, MovementState

_REASONS: dict[MovementKind, Reason] = {"reversed": "reversal", "reinstated": "reinstatement"}
_KINDS = {"reversed": FactKind.REVERSED, "reinstated": FactKind.REINSTATED}


def reverse_one(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Decide a single reversal of a completed payment."""
    movement, known = _as_movement(payment, fact), _find(payment, fact)
    if known is not None and (known.state is not MovementState.WAITING or not _is_same(known, movement)):
        return _repeat(payment, movement, known, now)
    of_refund = _of_refund(payment, fact, movement, known, now)
    if of_refund is not None:
        return of_refund
    net_minor = movement.amount_minor - _waiting_return(payment, movement)
    if net_minor > read_credited(payment, movement.reference, movement.currency).takeable_minor:
        return _hold(payment, movement, now, "a reversal that does not fit what was credited")
    return _book(payment, movement, now, fact)


def reinstate(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Decide money that came again, of a completed payment."""
    movement, known = _as_movement(payment, fact), _find(payment, fact)
    if known is not None and (known.state is not MovementState.WAITING or not _is_same(known, movement)):
        return _repeat(payment, movement, known, now)
    of_refund = _of_refund(payment, fact, movement, known, now)
    if of_refund is not None:
        return of_refund
    reversal = _reversal_of(payment, movement)
    if reversal is None or reversal.state is MovementState.WAITING:
        return await_reversal(payment, fact, now)
    if reversal.state is MovementState.REJECTED:
        return Decision(Verdict.IGNORED, "its reversal was rejected: nothing of it is booked", payment)
    if reversal.currency != movement.currency or movement.amount_minor > reversal.amount_minor:
        return _hold(payment, movement, now, "more came again than had gone back")
    return _book(payment, movement, now, fact)


def _of_refund(
    payment: Payment, fact: Fact, movement: KnownMovement, known: KnownMovement | None, now: datetime.datetime
) -> Decision | None:
    """Decide a movement that is about a refund of ours, by its id, or that may be while an answer is outstanding."""
    refund = attribution.find_by_id(payment, movement.reversal_id, fact.refund_id)
    is_reversal = movement.kind == "reversed"
    if refund is None:
        if not is_reversal or not attribution.awaits_answer(payment, movement.reference, movement.currency):
            return None
        why = "it may be a refund of ours, whose answer is not known"
        if known is None:
            until = now + datetime.timedelta(seconds=payment.policy.monitoring_seconds)
            return _wait(payment, movement, now, until, why)
        if known.waits_until is None or now >= known.waits_until:
            return _hold(payment, movement, now, why)
        return Decision(Verdict.DUPLICATE, "this reversal waits already", payment)
    if (refund.amount_minor, refund.currency) != (movement.amount_minor, movement.currency):
        return _hold(payment, movement, now, "the refund was of another amount")
    decision = note_refund(payment, attribution.report(refund, "completed" if is_reversal else "failed", fact), now)
    if known is None:
        return decision
    after = _with_movement(decision.payment, replace(known, state=MovementState.REFUND, waits_until=None))
    return replace(decision, payment=after if decision.payment is not payment else changed(after, now))


def await_money(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Keep a single reversal until its payment's success; after the monitoring window a person decides."""
    movement, known = _as_movement(payment, fact), _find(payment, fact)
    if known is not None and not _is_same(known, movement):
        return _repeat(payment, movement, known, now)
    if is_other_reference(payment, fact):
        why = f"the payment has {payment.provider_reference}, the reversal another"
        return _hold(payment, movement, now, why)
    if now >= payment.monitored_until:
        return _hold(payment, movement, now, "a reversal of money that was never credited")
    if known is not None:
        return Decision(Verdict.DUPLICATE, "this reversal waits already", payment)
    return _wait(payment, movement, now, payment.monitored_until, "the reversal waits for its payment's success")


def await_reversal(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Keep money that came again until its reversal is booked, for one monitoring window; then a person decides."""
    movement, known = _as_movement(payment, fact), _find(payment, fact)
    if known is None:
        until = max(payment.monitored_until, now + datetime.timedelta(seconds=payment.policy.monitoring_seconds))
        return _wait(payment, movement, now, until, "the money that came again waits for its reversal")
    if not _is_same(known, movement):
        return _repeat(payment, movement, known, now)
    if known.waits_until is None or now >= known.waits_until:
        return _hold(payment, movement, now, "money came again whose reversal is not known")
    return Decision(Verdict.DUPLICATE, "this money waits already", payment)


def book_waiting(payment: Payment, movement: KnownMovement, now: datetime.datetime) -> Decision:
    """Book a movement that waits, whatever was credited."""
    return _book(payment, replace(movement, waits_until=None), now, as_fact(movement, movement.reference))


def list_due(before: Payment, given: Input, decision: Decision) -> list[KnownMovement | Fact]:
    """Return the movements to be decided right after `decision`: reversals before what came again, of others than ours.

    At the payment's completion those are all reversals that wait, later what can be booked now. A success brings those
    that it reports and that are not known.
    """
    after = decision.payment
    due: list[KnownMovement] = []
    reported: list[Fact] = []
    if (after.status is Status.COMPLETED or has_suspense(after)) and (
        decision.transfer or decision.suspense or (after.movements, after.refunds) != (before.movements, before.refunds)
    ):
        is_new = before.status is not Status.COMPLETED and not has_suspense(before)
        waiting = (one for one in after.movements if one.state is MovementState.WAITING)
        due = [one for one in waiting if (is_new and one.kind == "reversed") or _can_be_booked(after, one)]
    if isinstance(given, Fact) and given.kind is FactKind.SUCCEEDED:
        known = {one.key for one in after.movements}
        shown = sorted(report(given.movements, given.reference), key=lambda one: not _ends_refund(after, one))
        reported = [one for one in shown if f"{one.kind}:{one.reversal_id}" not in known]
    # A reversal that came back needs no room, and a refund of ours that failed moves nothing before.
    due.sort(key=lambda one: (not _ends_refund(after, one), _waiting_return(after, one) == 0, *_order(one)))
    return [*due, *reported]


def _ends_refund(payment: Payment, one: KnownMovement | Fact) -> bool:
    """Return whether it is money of a refund of ours that came again: the refund has failed, whatever it was before."""
    return one.kind == "reinstated" and attribution.find_by_id(payment, one.reversal_id) is not None


def as_fact(movement: KnownMovement | Movement, reference: str | None) -> Fact:
    """Return the movement as a provider reports it under `reference`."""
    return Fact(
        _KINDS[movement.kind],
        reference,
        amount_minor=movement.amount_minor,
        currency=movement.currency,
        reversal_id=movement.reversal_id,
    )


def report(movements: Iterable[Movement], reference: str | None) -> list[Fact]:
    """Return movements that a provider shows under `reference` as facts, in the order in which they are decided."""
    return [as_fact(one, reference) for one in sorted(movements, key=_order)]


def _order(movement: KnownMovement | Movement) -> tuple[bool, int, str]:
    return movement.kind == "reinstated", movement.amount_minor, movement.reversal_id


def _as_movement(payment: Payment, fact: Fact) -> KnownMovement:
    amount_minor, currency = money_of(fact)
    if fact.reversal_id is None:
        raise InvariantBroken(f"'{fact.kind}' comes with the id of the reversal", payment_id=payment.id)
    kind: MovementKind = "reversed" if fact.kind is FactKind.REVERSED else "reinstated"
    return KnownMovement(kind, fact.reversal_id, fact.reference, amount_minor, currency, MovementState.WAITING)


def _find(payment: Payment, fact: Fact) -> KnownMovement | None:
    wanted = (str(fact.kind), fact.reversal_id)
    return next((one for one in payment.movements if (one.kind, one.reversal_id) == wanted), None)


def _is_same(known: KnownMovement, movement: KnownMovement) -> bool:
    return (known.amount_minor, known.currency) == (movement.amount_minor, movement.currency)


def _reversal_of(payment: Payment, movement: KnownMovement) -> KnownMovement | None:
    return next((one for one in payment.movements if one.key == f"reversed:{movement.reversal_id}"), None)


def _waiting_return(payment: Payment, reversal: KnownMovement) -> int:
    """Return how much of a reversal came again already and waits for it, in minor units."""
    found = (one for one in payment.movements if one.key == f"reinstated:{reversal.reversal_id}")
    return next((one.amount_minor for one in found if _can_follow(reversal, one)), 0)


def _can_follow(reversal: KnownMovement, again: KnownMovement) -> bool:
    is_waiting = again.state is MovementState.WAITING
    return is_waiting and again.currency == reversal.currency and again.amount_minor <= reversal.amount_minor


def _can_be_booked(payment: Payment, movement: KnownMovement) -> bool:
    if attribution.find_by_id(payment, movement.reversal_id) is not None:
        return True
    if movement.kind == "reversed":
        if attribution.awaits_answer(payment, movement.reference, movement.currency):
            return False
        net_minor = movement.amount_minor - _waiting_return(payment, movement)
        return net_minor <= read_credited(payment, movement.reference, movement.currency).takeable_minor
    reversal = _reversal_of(payment, movement)
    return reversal is not None and reversal.state is MovementState.BOOKED and _can_follow(reversal, movement)


def _book(payment: Payment, movement: KnownMovement, now: datetime.datetime, fact: Fact) -> Decision:
    """Book a movement under the reference that it was reported for, the payment's own where it named none.

    Money comes again where it was taken from, whatever reference the report of it names.
    """
    reversal = _reversal_of(payment, movement) if movement.kind == "reinstated" else None
    named = reversal if reversal is not None and reversal.state is MovementState.BOOKED else movement
    reference = named.reference or payment.provider_reference
    booked = replace(movement, reference=reference, state=MovementState.BOOKED)
    booked = policy_refunds.take_part(payment, booked)
    user_minor = booked.amount_minor - booked.suspense_minor
    after = _with_movement(payment, booked)
    if movement.currency == payment.received_currency:
        # The payment's sum is in one currency.
        after = replace(after, reversed_minor=payment.reversed_minor + booked.moved_minor)
    filled = filled_in(payment, fact) if payment.is_own_reference(fact.reference) else {}
    is_reversal = movement.kind == "reversed"
    decision = Decision(
        Verdict.APPLIED,
        "the provider took money back" if is_reversal else "money that the provider had taken back came again",
        changed(after, now, exceptions=with_marks(after), **filled),
        transfer=Transfer(movement.key, _REASONS[movement.kind], user_minor, movement.currency) if user_minor else None,
        supersedes=frozenset({_REASONS[movement.kind]}),
        supersedes_keys=frozenset({movement.key}),
        notification=f"payment.{movement.kind}" if user_minor else None,
        alert="payment_reversed" if is_reversal else None,
    )
    return policy_refunds.with_suspense(decision, booked)


def _wait(
    payment: Payment, movement: KnownMovement, now: datetime.datetime, until: datetime.datetime, why: str
) -> Decision:
    after = _with_movement(payment, replace(movement, waits_until=until))
    return Decision(Verdict.APPLIED, why, changed(after, now, exceptions=with_marks(after)))


def _hold(payment: Payment, movement: KnownMovement, now: datetime.datetime, why: str) -> Decision:
    """Keep a movement for a person; it still waits, for what a later fact or a person makes of its payment."""
    known = next((one for one in payment.movements if one.key == movement.key), None)
    is_told = known is not None and known.waits_until is None
    after = payment
    if not is_told:
        after = _with_movement(payment, movement)
        after = changed(after, now, exceptions=with_marks(after))
    reason = _REASONS[movement.kind]
    money = format_money(movement.amount_minor, movement.currency)
    return Decision(
        Verdict.DEAD_LETTER,
        why,
        after,
        case=Case(reason, f"{why}: {money} of {format_received(payment)}", movement.key, movement.reference),
        alert=None if is_told else f"{reason}_held",
    )


def _repeat(payment: Payment, movement: KnownMovement, known: KnownMovement, now: datetime.datetime) -> Decision:
    """Decide a movement that has had its effect, or that was reported with other money before: the first counts."""
    if _is_same(known, movement):
        return Decision(Verdict.DUPLICATE, f"this {_REASONS[known.kind]} is {known.state} already", payment)
    first, money = (format_money(one.amount_minor, one.currency) for one in (known, movement))
    return Decision(
        Verdict.CONFLICT,
        f"the provider reported {known.reversal_id} with {first} before, and now with {money}",
        with_conflict(payment, now),
        notification=None if "conflict" in payment.exceptions else "payment.review",
        alert="payment_conflict",
    )


def _with_movement(payment: Payment, movement: KnownMovement) -> Payment:
    """Return the payment with the movement as it is now, in the place that it has had."""
    known = next((one for one in payment.movements if one.key == movement.key), None)
    if known is None:
        return replace(payment, movements=(*payment.movements, movement))
    now = replace(movement, webhook_id=known.webhook_id)
    return replace(payment, movements=tuple(now if one is known else one for one in payment.movements))
