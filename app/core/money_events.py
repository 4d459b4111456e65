"""Deciders about money: the total asked for, another one, a second payment, and money that a person accepts.

docs/MONEY.md shows what they do, case by case. Rules: CONTRACT section 3, "States".
"""

from __future__ import annotations

import datetime
from dataclasses import replace

from app.core.decision import (
    Case,
    Decision,
    Reason,
    Transfer,
    Verdict,
    case_key,
    changed,
    filled_in,
    is_other_reference,
    money_of,
    with_conflict,
)
from app.core.facts import Command, Fact
from app.core.money import format_money
from app.core.payment import Payment, Status, format_received
from app.core.refunds import policy_refunds
from app.core.reversals.credited import sum_corrections

AMOUNT_EXCEPTIONS = frozenset({"currency_mismatch", "underpaid", "overpaid"})
# Reasons of cases about a payment's own money: a later total replaces them.
HELD = AMOUNT_EXCEPTIONS | {"late"}
# Cases that the arrival of the money settles as well: calls that were given up, differences of reconciliation.
SETTLED_BY_MONEY = HELD | {"attempts_exhausted", "provider_refused_us", "state"}
# Reasons of cases about other money; a later total of the same reference replaces the one before.
SECOND_MONEY = frozenset({"second_payment", "reference_mismatch"})


def succeed(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Decide a success of a payment that is not completed, in time or late."""
    amount_minor, currency = money_of(fact)
    suspended = policy_refunds.known_minor(payment, fact.reference, currency) if payment.refunds else 0
    if suspended:
        return _succeed_after_refund(payment, fact, now, suspended)
    is_known = (amount_minor, currency) == (payment.received_minor, payment.received_currency)
    if is_known and not payment.has_open_case:
        # A person or the policy has rejected this total; a repeat changes nothing.
        return Decision(Verdict.DUPLICATE, "this total is known and was rejected", payment)
    if currency != payment.currency:
        return _hold(payment, fact, now, "currency_mismatch")
    difference = amount_minor - payment.amount_minor
    tolerated = int(payment.amount_minor * payment.policy.tolerance_percent / 100)
    if abs(difference) > tolerated:
        if difference < 0:
            return _hold(payment, fact, now, "underpaid")
        can_take = payment.policy.over == "credit"
        can_take |= payment.policy.over == "refund" and policy_refunds.can_refund(payment, fact)
        if not can_take:
            return _hold(payment, fact, now, "overpaid", is_rejected=payment.policy.over == "reject")
    if not payment.is_open and payment.policy.late != "credit":
        if payment.policy.late == "refund" and policy_refunds.can_refund(payment, fact):
            return policy_refunds.refund_late(payment, fact, now, HELD)
        return _hold(payment, fact, now, "late", is_rejected=payment.policy.late == "reject")
    overpaid = {"overpaid"} if difference > tolerated else set()
    decision = _complete(payment, fact, now, (amount_minor, currency), overpaid)
    return _give_excess_back(decision, payment) if overpaid and payment.policy.over == "refund" else decision


def _succeed_after_refund(payment: Payment, fact: Fact, now: datetime.datetime, known_minor: int) -> Decision:
    """Decide a success of an ended payment whose late money, a total of `known_minor`, goes back or has gone back."""
    amount_minor, currency = money_of(fact)
    if amount_minor <= known_minor:
        return Decision(Verdict.DUPLICATE, "no more than the total that was given back", payment)
    if payment.policy.late == "refund":
        return policy_refunds.refund_late(payment, fact, now, SECOND_MONEY, known_minor)
    why = f"{format_money(known_minor, currency)} was given back, now {format_money(amount_minor, currency)} has come"
    return hold_other_reference(payment, fact, now, Verdict.DEAD_LETTER, "second_payment", why, known_minor)


def _give_excess_back(decision: Decision, before: Payment) -> Decision:
    """Credit what was asked for; what was received beyond it goes back to the payer."""
    received_minor, currency = decision.payment.received_minor or 0, before.currency
    excess_minor = received_minor - before.amount_minor
    after, suspended = policy_refunds.suspend(decision.payment, policy_refunds.OVERPAID, excess_minor, currency)
    return replace(
        decision,
        reason=f"{decision.reason}: {format_money(excess_minor, currency)} more than was asked for goes back",
        payment=after,
        transfer=Transfer("deposit", "deposit", before.amount_minor, currency),
        suspense=suspended,
    )


def _complete(
    payment: Payment, fact: Fact, now: datetime.datetime, money: tuple[int, str], exceptions: set[str]
) -> Decision:
    if not payment.is_open:
        exceptions = exceptions | {"late"}
    exceptions_after = (payment.exceptions - AMOUNT_EXCEPTIONS) | exceptions
    return Decision(
        Verdict.APPLIED,
        "the money arrived" + (" after the payment had ended" if "late" in exceptions else ""),
        _completed_with(payment, money, now, exceptions_after, filled_in(payment, fact)),
        transfer=Transfer("deposit", "deposit", *money),
        supersedes=SETTLED_BY_MONEY,
        notification="payment.completed",
    )


def _completed_with(
    payment: Payment,
    money: tuple[int, str],
    now: datetime.datetime,
    exceptions: frozenset[str],
    filled: dict[str, object],
) -> Payment:
    """Return the payment as completed with `money`, its `exceptions` and the fields of `filled`."""
    return changed(
        payment,
        now,
        status=Status.COMPLETED,
        completed_at=now,
        failure_reason=None,
        received_minor=money[0],
        received_currency=money[1],
        exceptions=exceptions,
        has_open_case=False,
        **filled,
    )


def _hold(payment: Payment, fact: Fact, now: datetime.datetime, reason: Reason, is_rejected: bool = False) -> Decision:
    """Hold money other than requested for a person; the payment keeps its state."""
    amount_minor, currency = money_of(fact)
    on_top = amount_minor - (payment.received_minor or 0)
    if currency == payment.received_currency and (on_top == 0 or (on_top < 0 and reason != "late")):
        # Totals only grow: this is a repeat, or an earlier one that comes late. The asked total always counts.
        return Decision(Verdict.DUPLICATE, "no more than the total that is known and waits for a person", payment)
    asked, received = format_money(payment.amount_minor, payment.currency), format_money(amount_minor, currency)
    why = f"asked {asked}, received {received}"
    key = case_key(reason, fact.reference, amount_minor, currency)
    exceptions = {reason} if payment.is_open else {reason, "late"}
    held = changed(
        payment,
        now,
        received_minor=amount_minor,
        received_currency=currency,
        exceptions=(payment.exceptions - AMOUNT_EXCEPTIONS) | exceptions,
        has_open_case=not is_rejected,
        **filled_in(payment, fact),
    )
    return Decision(
        Verdict.DEAD_LETTER,
        f"{reason}: {why}",
        held,
        case=Case(reason, why, key, fact.reference, amount_minor, currency, is_rejected),
        supersedes=HELD,
        notification="payment.review",
        alert=f"payment_{reason}",
    )


def succeed_again(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Decide a success for a completed payment: the same one again, or a second payment of the money."""
    amount_minor, currency = money_of(fact)
    is_other = is_other_reference(payment, fact)
    # A person has corrected the rest: the provider does not show it.
    received_minor = (payment.received_minor or 0) - sum_corrections(payment)
    same_money = (amount_minor, currency) == (received_minor, payment.received_currency)
    if same_money and not is_other:
        filled = filled_in(payment, fact)
        settled = changed(payment, now, **filled) if filled else payment
        return Decision(Verdict.DUPLICATE, "the payment is completed already", settled)
    if not is_other and currency == payment.received_currency:
        credited = received_minor
        if amount_minor < credited:
            return _less_than_before(payment, fact, now)
    else:
        credited = payment.other_reference(fact.reference, currency).accepted_minor
        credited += policy_refunds.known_minor(payment, fact.reference, currency)
    why = (
        f"completed with {format_received(payment)} ({payment.provider_reference}),"
        f" now {format_money(amount_minor, currency)} ({fact.reference or payment.provider_reference})"
    )
    return hold_other_reference(payment, fact, now, Verdict.CONFLICT, "second_payment", why, credited)


def _less_than_before(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    amount_minor, currency = money_of(fact)
    return Decision(
        Verdict.CONFLICT,
        "a success with less than was received before",
        with_conflict(payment, now),
        case=Case(
            "second_payment",
            f"completed with {format_received(payment)}, now only {format_money(amount_minor, currency)}",
            f"less_money:{amount_minor}:{currency}",
            payment.provider_reference,
        ),
        notification="payment.review",
        alert="payment_conflict",
    )


def hold_other_reference(
    payment: Payment, fact: Fact, now: datetime.datetime, verdict: Verdict, reason: Reason, why: str, credited: int
) -> Decision:
    """Hold money that is not the payment's own for a person: what exceeds the `credited` minor units.

    Totals of one reference only grow, so one that does not exceed the known total is a duplicate.
    """
    amount_minor, currency = money_of(fact)
    known = payment.other_reference(fact.reference, currency)
    extra = amount_minor - credited
    if extra <= known.waiting_minor:
        return Decision(Verdict.DUPLICATE, "no more than was accepted or waits for a person", payment)
    others = (*(one for one in payment.other_references if one != known), replace(known, waiting_minor=extra))
    # The same key before and after the payment's completion: it is the same money.
    key = case_key("second_money", known.reference, amount_minor, currency)
    held = with_conflict(payment, now)
    if payment.status is not Status.COMPLETED:
        held = replace(held, has_open_case=True)
    return Decision(
        verdict,
        why,
        replace(held, other_references=others),
        case=Case(reason, why, key, known.reference, extra, currency),
        supersedes=SECOND_MONEY,
        # Money in another currency is other money, also under the same reference.
        supersedes_currency=currency,
        notification="payment.review",
        alert="payment_conflict",
    )


def accept(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    """Accept held money for a person: it is credited as received, and the payment is completed with it.

    `received_minor` is the total of the payment's own reference, with which later successes are compared. So a payment
    completed by another reference's money takes over that reference, and other money is not added to the total.
    """
    if policy_refunds.is_case(command):
        return _accept_suspended(payment, command, now)
    amount_minor, currency = money_of(command)
    is_own = command.reference in (None, payment.provider_reference)
    transfer = Transfer(f"case:{command.case_id}", "deposit", amount_minor, currency)
    if payment.status is Status.COMPLETED:
        received = payment.received_minor or 0
        is_more = is_own and currency == payment.received_currency
        accepted = changed(payment, now, received_minor=received + amount_minor if is_more else received)
    else:
        exceptions = payment.exceptions if payment.is_open else payment.exceptions | {"late"}
        filled: dict[str, object] = {"provider_reference": command.reference or payment.provider_reference}
        # What went back of the same reference's money is in the provider's total.
        total_minor = amount_minor + policy_refunds.known_minor(payment, command.reference, currency)
        accepted = _completed_with(payment, (total_minor, currency), now, exceptions, filled)
        # The first credit of a payment always has this key, so that it cannot happen twice.
        transfer = replace(transfer, key="deposit")
    return Decision(
        Verdict.APPLIED, "accepted by a person", accepted, transfer=transfer, notification="payment.completed"
    )


def _accept_suspended(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    """Credit money in suspense; it is in the total that was received already."""
    decision = policy_refunds.accept_suspended(payment, command, now)
    transfer = decision.transfer
    if transfer is None or payment.status is Status.COMPLETED:
        return decision
    money = (policy_refunds.known_minor(payment, command.reference, transfer.currency), transfer.currency)
    decided = replace(decision.payment, version=payment.version)
    after = _completed_with(decided, money, now, payment.exceptions, {})
    # The first credit of a payment always has this key, so that it cannot happen twice.
    return replace(decision, payment=after, transfer=replace(transfer, key="deposit"))
