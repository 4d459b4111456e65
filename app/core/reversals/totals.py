"""Deciders about totals given back: booked against what was credited, or waiting until it is.

A total is given back under a provider reference in a currency. It is booked once that much is credited there, in
whatever order the two arrive: until then it waits with its payment, and each credit tries it again.
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
from app.core.reversals.credited import CreditedMoney, read_credited, with_marks, with_other
from app.core.reversals.records import WaitingReversal


def reverse(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Decide a refund or chargeback of a completed payment: a reversing pair of entries for the part that is new."""
    amount_minor, currency = money_of(fact)
    account = read_credited(payment, fact.reference, currency)
    if amount_minor <= account.reversed_minor:
        # Totals only grow: a smaller one was overtaken.
        return Decision(
            Verdict.DUPLICATE,
            "this reversal is known",
            payment,
            supersedes=_REVERSAL,
            supersedes_keys=frozenset({_key_of(_as_waiting(fact))}),
        )
    # More than was credited, or in another currency.
    if amount_minor > account.credited_minor:
        return _refuse(payment, fact, now, "a reversal that does not fit what was credited")
    balance = payment.wallet_balance_minor
    if payment.policy.negative == "hold" and balance is not None and balance < amount_minor - account.reversed_minor:
        return _refuse(payment, fact, now, "the wallet would go below zero")
    return _book(payment, fact, now, account)


_REVERSAL = frozenset({"reversal"})


def _book(payment: Payment, fact: Fact, now: datetime.datetime, account: CreditedMoney) -> Decision:
    amount_minor, currency = money_of(fact)
    delta, other = amount_minor - account.reversed_minor, account.other
    waiting, done = _split_waiting(payment, fact)
    key = f"reversal:{amount_minor}"
    after = payment
    if other is not None:
        key = f"reversal:{other.reference}:{currency}:{amount_minor}"
        after = with_other(payment, other, other.reversed_minor + delta)
    is_counted = currency == payment.received_currency
    after = replace(
        after,
        # The payment's sum is in one currency.
        reversed_minor=payment.reversed_minor + delta if is_counted else payment.reversed_minor,
        reversals_waiting=waiting,
    )
    filled = {} if other is not None else filled_in(payment, fact)
    return Decision(
        Verdict.APPLIED,
        "the provider took money back",
        changed(after, now, exceptions=with_marks(after), **filled),
        transfer=Transfer(key, "reversal", delta, currency),
        supersedes=_REVERSAL,
        supersedes_keys=frozenset(map(_key_of, (_as_waiting(fact), *done))),
        notification="payment.reversed",
        alert="payment_reversed",
    )


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
            _key_of(reversal),
            fact.reference,
        ),
        alert="reversal_held",
        waits=reversal,
    )


def list_due(before: Payment, given: Input, decision: Decision) -> list[WaitingReversal]:
    """Return the totals to be decided right after `decision`, in their order.

    Those that waited for the money that it credited, and the one that a success reports.
    """
    after = decision.payment
    due = [one for one in after.reversals_waiting if _is_ready(before, after, one)] if decision.transfer else []
    if isinstance(given, Fact) and given.kind is FactKind.SUCCEEDED and given.refunded_minor:
        reported = WaitingReversal(given.reference, given.refunded_minor, money_of(given)[1])
        if not is_known(after, reported) and _key_of(reported) not in map(_key_of, due):
            due.append(reported)
    return sorted(due, key=lambda one: one.amount_minor)


def is_known(payment: Payment, reversal: WaitingReversal) -> bool:
    """Return whether the reversal is booked or waits already."""
    if _key_of(reversal) in map(_key_of, payment.reversals_waiting):
        return True
    account = read_credited(payment, reversal.reference, reversal.currency)
    return payment.status is Status.COMPLETED and reversal.amount_minor <= account.reversed_minor


def as_fact(reversal: WaitingReversal) -> Fact:
    """Return the reversal as the fact that reported it."""
    return Fact(FactKind.REFUNDED, reversal.reference, amount_minor=reversal.amount_minor, currency=reversal.currency)


def _as_waiting(fact: Fact) -> WaitingReversal:
    return WaitingReversal(fact.reference, *money_of(fact))


def _is_ready(before: Payment, after: Payment, reversal: WaitingReversal) -> bool:
    # The payment's completion decides all of them, a later credit those that it covers.
    if before.status is not Status.COMPLETED:
        return True
    return reversal.amount_minor <= read_credited(after, reversal.reference, reversal.currency).credited_minor


def _add_waiting(payment: Payment, fact: Fact, now: datetime.datetime) -> tuple[Payment, WaitingReversal]:
    reversal = _as_waiting(fact)
    if _key_of(reversal) in map(_key_of, payment.reversals_waiting):
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


def _key_of(reversal: WaitingReversal) -> str:
    return case_key("reversal", reversal.reference, reversal.amount_minor, reversal.currency)
