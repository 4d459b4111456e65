"""Deciders about money: arrived, arrived otherwise than asked, arrived twice, taken back, accepted by a person.

Rules: CONTRACT section 3, "States".
"""

from __future__ import annotations

import datetime
from dataclasses import replace

from app.core.decision import (
    Case,
    Decision,
    Transfer,
    Verdict,
    changed,
    filled_in,
    is_other_reference,
    marked,
    money_of,
)
from app.core.facts import Command, Fact
from app.core.payments import Payment, Status

AMOUNT_MARKS = frozenset({"currency_mismatch", "underpaid", "overpaid"})


def succeed(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Money has arrived for a payment that is not completed, in time or late."""
    amount_minor, currency = money_of(fact)
    if (amount_minor, currency) == (payment.received_minor, payment.received_currency):
        return Decision(Verdict.DUPLICATE, "this total is known and waits for a person", payment)
    if currency != payment.currency:
        return _hold(payment, fact, now, "currency_mismatch")
    difference = amount_minor - payment.amount_minor
    tolerated = int(payment.amount_minor * payment.policy.tolerance_percent / 100)
    if abs(difference) > tolerated:
        if difference < 0:
            return _hold(payment, fact, now, "underpaid")
        if payment.policy.over != "credit":
            return _hold(payment, fact, now, "overpaid", is_rejected=payment.policy.over == "reject")
    if not payment.is_open and payment.policy.late != "credit":
        return _hold(payment, fact, now, "late", is_rejected=payment.policy.late == "reject")
    return _complete(payment, fact, now, marks={"overpaid"} if difference > tolerated else set())


def _complete(payment: Payment, fact: Fact, now: datetime.datetime, marks: set[str]) -> Decision:
    amount_minor, currency = money_of(fact)
    if not payment.is_open:
        marks = marks | {"late"}
    completed = changed(
        payment,
        now,
        status=Status.COMPLETED,
        completed_at=now,
        failure_reason=None,
        received_minor=amount_minor,
        received_currency=currency,
        exceptions=(payment.exceptions - AMOUNT_MARKS) | marks,
        has_open_case=False,
        **filled_in(payment, fact),
    )
    return Decision(
        Verdict.APPLIED,
        "the money arrived" + (" after the payment had ended" if "late" in marks else ""),
        completed,
        transfer=Transfer("deposit", "deposit", amount_minor, currency),
        supersedes=True,
        notification="payment.completed",
    )


def _hold(payment: Payment, fact: Fact, now: datetime.datetime, mark: str, is_rejected: bool = False) -> Decision:
    """Money has arrived that is not what was asked: kept for a person, the payment keeps its state."""
    amount_minor, currency = money_of(fact)
    marks = {mark} if payment.is_open else {mark, "late"}
    held = changed(
        payment,
        now,
        received_minor=amount_minor,
        received_currency=currency,
        exceptions=(payment.exceptions - AMOUNT_MARKS) | marks,
        has_open_case=not is_rejected,
        **filled_in(payment, fact),
    )
    return Decision(
        Verdict.DEAD_LETTER,
        f"{mark}: asked {payment.amount_minor} {payment.currency}, received {amount_minor} {currency} (minor units)",
        held,
        case=Case(
            mark,
            f"asked {payment.amount_minor} {payment.currency}, received {amount_minor} {currency}",
            f"{mark}:{fact.reference}:{amount_minor}:{currency}",
            fact.reference,
            amount_minor,
            currency,
            is_rejected,
        ),
        supersedes=True,
        notification="payment.review",
        alert=f"payment_{mark}",
    )


def succeed_again(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """A success for a completed payment: the same one again, or a second payment of the money."""
    amount_minor, currency = money_of(fact)
    is_other = is_other_reference(payment, fact)
    same_money = (amount_minor, currency) == (payment.received_minor, payment.received_currency)
    if same_money and not is_other:
        filled = filled_in(payment, fact)
        settled = changed(payment, now, **filled) if filled else payment
        return Decision(Verdict.DUPLICATE, "the payment is completed already", settled)
    extra = amount_minor
    if not is_other and currency == payment.received_currency:
        # The same reference with another total: only what has come on top can be credited.
        extra = amount_minor - (payment.received_minor or 0)
    return Decision(
        Verdict.CONFLICT,
        "a second success with another reference or amount",
        marked(payment, now, "conflict"),
        case=Case(
            "second_payment",
            f"completed with {payment.received_minor} {payment.received_currency}"
            f" ({payment.provider_reference}), now {amount_minor} {currency} ({fact.reference})",
            f"second_payment:{fact.reference}:{amount_minor}:{currency}",
            fact.reference,
            extra if extra > 0 else None,
            currency if extra > 0 else None,
        ),
        notification="payment.review",
        alert="payment_conflict",
    )


def reverse(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """A refund or chargeback of a completed payment: a reversing pair of entries for what is new of it."""
    amount_minor, currency = money_of(fact)
    delta = amount_minor - payment.reversed_minor
    credited = payment.received_minor or 0
    if delta == 0 and currency == payment.received_currency:
        return Decision(Verdict.DUPLICATE, "this reversal is known", payment)
    # A verified fact that cannot be: another currency, less than before, more than was credited, another payment.
    if (
        currency != payment.received_currency
        or delta < 0
        or amount_minor > credited
        or is_other_reference(payment, fact)
    ):
        return _refuse_reversal(payment, fact, "a reversal that does not fit what was credited")
    balance = payment.wallet_balance_minor
    if payment.policy.negative == "hold" and balance is not None and balance < delta:
        return _refuse_reversal(payment, fact, "the wallet would go below zero")
    reversed_payment = changed(payment, now, reversed_minor=amount_minor, exceptions=payment.exceptions | {"reversed"})
    return Decision(
        Verdict.APPLIED,
        "the provider took money back",
        reversed_payment,
        transfer=Transfer(f"reversal:{amount_minor}", "reversal", delta, currency),
        notification="payment.reversed",
        alert="payment_reversed",
    )


def _refuse_reversal(payment: Payment, fact: Fact, why: str) -> Decision:
    return Decision(
        Verdict.DEAD_LETTER,
        why,
        payment,
        case=Case(
            "reversal",
            f"{why}: {fact.amount_minor} {fact.currency} of {payment.received_minor} {payment.received_currency}",
            f"reversal:{fact.reference}:{fact.amount_minor}:{fact.currency}",
            fact.reference,
        ),
        alert="reversal_held",
    )


def reverse_nothing(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """A refund of a payment that was never completed: kept for a person, moves no money."""
    return _refuse_reversal(payment, fact, "a reversal of money that was never credited")


def accept(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    """A person accepts held money: it is credited as received, and the payment is completed with it."""
    amount_minor, currency = money_of(command)
    transfer = Transfer(f"case:{command.case_id}", "deposit", amount_minor, currency)
    if payment.status is Status.COMPLETED:
        received = payment.received_minor or 0
        same_currency = currency == payment.received_currency
        accepted = changed(payment, now, received_minor=received + amount_minor if same_currency else received)
    else:
        accepted = changed(
            payment,
            now,
            status=Status.COMPLETED,
            completed_at=now,
            failure_reason=None,
            received_minor=amount_minor,
            received_currency=currency,
            exceptions=payment.exceptions if payment.is_open else payment.exceptions | {"late"},
            has_open_case=False,
        )
        # The first credit of a payment has one key whoever decided it, so that no second way to it exists.
        transfer = replace(transfer, key="deposit")
    return Decision(
        Verdict.APPLIED, "accepted by a person", accepted, transfer=transfer, notification="payment.completed"
    )
