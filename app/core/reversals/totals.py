"""Deciders about totals given back: booked against what was credited, or waiting until it is.

A total is given back under a provider reference in a currency. It is booked once that much is credited there, in
whatever order the two arrive: until then it waits with its payment, and each credit tries it again.

Totals only grow: the largest counts, in whatever order they arrive. Money that came again makes one smaller, and only
a lookup of our own that began after the last booking says so for sure. After that what a webhook reports may be older
than the fall, so it only has the provider asked.
Rules: CONTRACT section 10.
"""

from __future__ import annotations

import datetime
from dataclasses import replace

from app.core.decision import (
    Case,
    Decision,
    Transfer,
    Verdict,
    case_key,
    changed,
    filled_in,
    is_other_reference,
    money_of,
)
from app.core.facts import Fact, FactKind, Input
from app.core.money import format_money
from app.core.payment import Payment, Status, format_received
from app.core.refunds import attribution, policy_refunds
from app.core.refunds.deciders import note_refund
from app.core.refunds.suspense import has_suspense
from app.core.reversals.credited import CreditedMoney, read_credited, with_marks, with_other
from app.core.reversals.records import KnownMovement, MovementState, WaitingReversal


def reverse(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Decide a refund or chargeback of a completed payment: a reversing pair of entries for the part that is new."""
    amount_minor, currency = money_of(fact)
    account = read_credited(payment, fact.reference, currency)
    is_smaller = amount_minor < account.shown_reversed_minor
    if is_smaller and account.other is None and fact.asked_version == payment.version:
        fallen = account.shown_reversed_minor - amount_minor
        refund = attribution.find_fallen(payment, fact.reference, currency, fallen)
        if refund is not None:
            return note_refund(payment, attribution.report(refund, "failed"), now)
        return _reinstate(payment, fact, now, account)
    if amount_minor <= account.shown_reversed_minor:
        # A smaller one was overtaken, unless a lookup that something overtook has reported it: that is repeated.
        return Decision(
            Verdict.DUPLICATE,
            "this reversal is known",
            payment,
            supersedes=_REVERSAL,
            supersedes_keys=frozenset({key_of(_as_waiting(fact))}),
            asks=is_smaller and fact.asked_version is not None,
        )
    if fact.asked_version is None and has_fallen(payment):
        return Decision(Verdict.IGNORED, "the total has fallen before: the provider is asked", payment, asks=True)
    delta = amount_minor - account.shown_reversed_minor
    refund = attribution.find_grown(payment, fact.reference, currency, delta)
    if refund is not None:
        return note_refund(payment, attribution.report(refund, "completed"), now)
    # More than was credited, or in another currency.
    if amount_minor > account.shown_credited_minor or delta > account.takeable_minor:
        return _refuse(payment, fact, now, "a reversal that does not fit what was credited")
    return _book(payment, fact, now, account)


_REVERSAL = frozenset({"reversal"})
# Begins the ids of movements that are steps of a total: its falls, and what a person has booked of other money.
_STEP = "total:"


def has_fallen(payment: Payment) -> bool:
    """Return whether money of the total came again before."""
    again = any(one.kind == "reinstated" and one.reversal_id.startswith(_STEP) for one in payment.movements)
    return again or attribution.has_failed(payment)


def _reinstate(payment: Payment, fact: Fact, now: datetime.datetime, account: CreditedMoney) -> Decision:
    """Book the part of the total that came again, as a movement whose id is the version that it makes."""
    amount_minor, currency = money_of(fact)
    delta, reference = account.shown_reversed_minor - amount_minor, payment.provider_reference
    fall = f"{_STEP}{payment.version + 1}"
    again = KnownMovement("reinstated", fall, reference, delta, currency, MovementState.BOOKED)
    # What comes again was the user's first.
    user_minor = min(delta, account.reversed_minor)
    again = replace(again, suspense_minor=delta - user_minor)
    after = replace(payment, reversed_minor=payment.reversed_minor - user_minor, movements=(*payment.movements, again))
    decision = Decision(
        Verdict.APPLIED,
        "money that the provider had taken back came again",
        changed(after, now, exceptions=with_marks(after)),
        transfer=Transfer(again.key, "reinstatement", user_minor, currency) if user_minor else None,
        notification="payment.reinstated" if user_minor else None,
    )
    return policy_refunds.with_suspense(decision, again)


def _book(payment: Payment, fact: Fact, now: datetime.datetime, account: CreditedMoney) -> Decision:
    amount_minor, currency = money_of(fact)
    delta, other = amount_minor - account.shown_reversed_minor, account.other
    waiting, done = _split_waiting(payment, fact)
    taken = _take_part(payment, fact, account, delta)
    user_minor = delta - (taken.suspense_minor if taken else 0)
    # After a fall the same total may be given back once more.
    key = f"reversal:{amount_minor}" + (f"@{payment.version + 1}" if has_fallen(payment) else "")
    after = payment if taken is None else replace(payment, movements=(*payment.movements, taken))
    if other is not None:
        key = f"reversal:{other.reference}:{currency}:{amount_minor}"
        after = with_other(after, other, other.reversed_minor + user_minor)
    is_counted = currency == payment.received_currency
    after = replace(
        after,
        # The payment's sum is in one currency.
        reversed_minor=payment.reversed_minor + user_minor if is_counted else payment.reversed_minor,
        reversals_waiting=waiting,
    )
    filled = {} if other is not None else filled_in(payment, fact)
    decision = Decision(
        Verdict.APPLIED,
        "the provider took money back",
        changed(after, now, exceptions=with_marks(after), **filled),
        transfer=Transfer(key, "reversal", user_minor, currency) if user_minor else None,
        supersedes=_REVERSAL,
        supersedes_keys=frozenset(map(key_of, (_as_waiting(fact), *done))),
        notification="payment.reversed" if user_minor else None,
        alert="payment_reversed",
    )
    return decision if taken is None else policy_refunds.with_suspense(decision, taken)


def _take_part(payment: Payment, fact: Fact, account: CreditedMoney, delta_minor: int) -> KnownMovement | None:
    """Return the step of a total that is of money in suspense, as a movement whose id is the version that it makes."""
    part = policy_refunds.find_part(payment, account, delta_minor) if account.suspense.booked_minor else 0
    if part == 0:
        return None
    money = (fact.reference or payment.provider_reference, part, money_of(fact)[1])
    step = f"{_STEP}{payment.version + 1}"
    return KnownMovement("reversed", step, *money, MovementState.BOOKED, suspense_minor=part)


def await_success(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Keep a reversal until its payment's success; after the monitoring window a person decides."""
    if is_other_reference(payment, fact):
        return _refuse(payment, fact, now, f"the payment has {payment.provider_reference}, the reversal another")
    if now >= payment.monitored_until:
        return _refuse(payment, fact, now, "a reversal of money that was never credited")
    after, reversal = _add_waiting(payment, fact, now)
    if after is payment:
        return Decision(Verdict.DUPLICATE, "this reversal waits already", payment, waits=reversal)
    return Decision(Verdict.APPLIED, "the reversal waits for its payment's success", after, waits=reversal)


def _refuse(payment: Payment, fact: Fact, now: datetime.datetime, why: str) -> Decision:
    """Keep a reversal for a person; it still waits, for money that a later fact or a person credits."""
    after, reversal = _add_waiting(payment, fact, now)
    return Decision(
        Verdict.DEAD_LETTER,
        why,
        after,
        case=Case(
            "reversal",
            f"{why}: {format_money(*money_of(fact))} of {format_received(payment)}",
            key_of(reversal),
            fact.reference,
        ),
        alert="reversal_held",
        waits=reversal,
    )


def book_waiting(payment: Payment, reversal: WaitingReversal, now: datetime.datetime) -> Decision:
    """Book a total that waits, whatever was credited."""
    fact = as_fact(reversal)
    account = read_credited(payment, reversal.reference, reversal.currency)
    if account.other is None:
        return _book(payment, fact, now, account)
    # No accepted case has this money: a movement keeps what is reversed of it.
    waiting, _ = _split_waiting(payment, fact)
    delta = reversal.amount_minor - account.shown_reversed_minor
    step = (f"{_STEP}{payment.version + 1}", account.other.reference, delta, reversal.currency)
    movement = policy_refunds.take_part(payment, KnownMovement("reversed", *step, MovementState.BOOKED))
    is_counted = reversal.currency == payment.received_currency
    after = replace(
        payment,
        reversals_waiting=waiting,
        movements=(*payment.movements, movement),
        reversed_minor=payment.reversed_minor + (movement.moved_minor if is_counted else 0),
    )
    user = Transfer(movement.key, "reversal", movement.moved_minor, reversal.currency)
    decision = Decision(
        Verdict.APPLIED,
        "the provider took money back",
        changed(after, now, exceptions=with_marks(after)),
        transfer=user if user.amount_minor else None,
        notification="payment.reversed",
        alert="payment_reversed",
    )
    return policy_refunds.with_suspense(decision, movement)


def list_due(before: Payment, given: Input, decision: Decision) -> list[WaitingReversal | Fact]:
    """Return the totals to be decided right after `decision`, in their order.

    Those that waited for the money that it credited, and the one that a success reports.
    """
    after = decision.payment
    has_moved = decision.transfer or decision.suspense
    waiting = [one for one in after.reversals_waiting if _is_ready(before, after, one)] if has_moved else []
    due: list[WaitingReversal | Fact] = [*sorted(waiting, key=lambda one: one.amount_minor)]
    if isinstance(given, Fact) and given.kind is FactKind.REFUNDED and after.refunds != before.refunds:
        # A refund of ours was in the total; the rest of it is decided next.
        version = after.version if given.asked_version == before.version else given.asked_version
        due.append(replace(given, asked_version=version))
    if isinstance(given, Fact) and given.kind is FactKind.SUCCEEDED and given.refunded_minor is not None:
        reported = as_fact(WaitingReversal(given.reference, given.refunded_minor, money_of(given)[1]))
        # What this decision itself has changed makes the lookup no older.
        version = after.version if given.asked_version == before.version else given.asked_version
        if not _is_known(after, reported):
            due.append(replace(reported, asked_version=version))
    return due


def _is_known(payment: Payment, fact: Fact) -> bool:
    """Return whether the total is booked or waits already."""
    amount_minor, currency = money_of(fact)
    if key_of(_as_waiting(fact)) in map(key_of, payment.reversals_waiting):
        return True
    if payment.status is not Status.COMPLETED and not has_suspense(payment):
        return amount_minor == 0
    return amount_minor == read_credited(payment, fact.reference, currency).shown_reversed_minor


def as_fact(reversal: WaitingReversal) -> Fact:
    """Return the reversal as the fact that reported it."""
    return Fact(FactKind.REFUNDED, reversal.reference, amount_minor=reversal.amount_minor, currency=reversal.currency)


def _as_waiting(fact: Fact) -> WaitingReversal:
    return WaitingReversal(fact.reference, *money_of(fact))


def _is_ready(before: Payment, after: Payment, reversal: WaitingReversal) -> bool:
    # The payment's completion decides all of them, a later credit those that it covers.
    if before.status is not Status.COMPLETED and not has_suspense(before):
        return True
    return reversal.amount_minor <= read_credited(after, reversal.reference, reversal.currency).shown_credited_minor


def _add_waiting(payment: Payment, fact: Fact, now: datetime.datetime) -> tuple[Payment, WaitingReversal]:
    reversal = _as_waiting(fact)
    if key_of(reversal) in map(key_of, payment.reversals_waiting):
        return payment, reversal
    after = replace(payment, reversals_waiting=(*payment.reversals_waiting, reversal))
    return changed(after, now, exceptions=with_marks(after)), reversal


def _split_waiting(payment: Payment, fact: Fact) -> tuple[tuple[WaitingReversal, ...], tuple[WaitingReversal, ...]]:
    """Return the reversals that still wait, and those that the booking of `fact`, a total, has settled."""
    amount_minor, currency = money_of(fact)
    own = fact.reference or payment.provider_reference
    done = tuple(
        one
        for one in payment.reversals_waiting
        if one.currency == currency
        and (one.reference or payment.provider_reference) == own
        and one.amount_minor <= amount_minor
    )
    return tuple(one for one in payment.reversals_waiting if one not in done), done


def key_of(reversal: WaitingReversal) -> str:
    """Return the key of the case about a total."""
    return case_key("reversal", reversal.reference, reversal.amount_minor, reversal.currency)
