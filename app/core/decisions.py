"""The state machine: one total table over every state and every fact or command.

Nothing else decides what happens to a payment. A decision is a value; `app.services.settlement` writes it.
Rules: CONTRACT section 3, "States".
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from app.core.facts import Command, CommandKind, Fact, FactKind, Input
from app.core.payments import Payment, Status

AMOUNT_MARKS = frozenset({"currency_mismatch", "underpaid", "overpaid"})


class Verdict(StrEnum):
    """What became of a fact or command."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    CONFLICT = "conflict"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money to be posted between the provider's clearing wallet and the user's; `key` is unique per payment."""

    key: str
    type: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Case:
    """A dead letter to be opened. `key` makes the same case one row; `amount_minor` is what accepting would credit.

    `is_rejected`: the tenant's policy has rejected it already; it is kept for the record.
    """

    reason: str
    detail: str
    key: str
    reference: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    is_rejected: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be written: the payment as it will be, and everything that goes with it in one transaction.

    `supersedes`: open cases of the same provider reference are settled by this. `alert` names an alarm to raise.
    """

    verdict: Verdict
    reason: str
    payment: Payment
    transfer: Transfer | None = None
    case: Case | None = None
    supersedes: bool = False
    notification: str | None = None
    alert: str | None = None


Decider = Callable[[Payment, Input, datetime.datetime], Decision]


def decide(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
    """Returns what `given` does to `payment` at `now`. Total: every state has a decider for every kind."""
    if isinstance(given, Fact) and _is_other_reference(payment, given) and payment.status is not Status.COMPLETED:
        return _reference_mismatch(payment, given, now)
    return TABLE[payment.status, given.kind](payment, given, now)


def _is_other_reference(payment: Payment, fact: Fact) -> bool:
    return bool(
        fact.reference and payment.provider_reference is not None and fact.reference != payment.provider_reference
    )


def _changed(payment: Payment, now: datetime.datetime, **changes: object) -> Payment:
    return replace(payment, version=payment.version + 1, updated_at=now, **changes)  # type: ignore[arg-type]


def _with_reference(payment: Payment, fact: Fact) -> dict[str, object]:
    """The fields that a fact only fills in, never changes."""
    filled: dict[str, object] = {}
    if payment.provider_reference is None and fact.reference:
        filled["provider_reference"] = fact.reference
    if payment.redirect_url is None and fact.redirect_url:
        filled["redirect_url"] = fact.redirect_url
    return filled


def _ignored(reason: str) -> Decider:
    def decider(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
        return Decision(Verdict.IGNORED, reason, payment)

    return decider


def _duplicate(reason: str) -> Decider:
    def decider(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
        return Decision(Verdict.DUPLICATE, reason, payment)

    return decider


def _reference_mismatch(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """A fact under another reference than the stored one: never applied, whatever it says."""
    is_money = fact.kind is FactKind.SUCCEEDED
    return Decision(
        Verdict.DEAD_LETTER,
        f"the provider's reference {fact.reference} is not the one of this payment",
        replace(_marked(payment, now, "conflict"), has_open_case=payment.has_open_case or is_money),
        case=Case(
            "reference_mismatch",
            f"the fact '{fact.kind}' names {fact.reference}, the payment has {payment.provider_reference}",
            f"reference_mismatch:{fact.kind}:{fact.reference}:{fact.amount_minor}:{fact.currency}",
            fact.reference,
            fact.amount_minor if is_money else None,
            fact.currency if is_money else None,
        ),
        notification="payment.review",
        alert="payment_conflict",
    )


def _start(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
    """The provider has the payment: it is processing from here on."""
    assert isinstance(given, Fact)  # noqa: S101  # the table sends facts only
    filled = _with_reference(payment, given)
    has_url = payment.redirect_url is not None or "redirect_url" in filled
    return Decision(
        Verdict.APPLIED,
        "the provider has the payment",
        _changed(payment, now, status=Status.PROCESSING, **filled),
        notification="payment.redirect_ready" if has_url else None,
    )


def _fill_in(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
    """A provider's answer after something else was faster: only what is missing is filled in."""
    assert isinstance(given, Fact)  # noqa: S101  # the table sends facts only
    filled = _with_reference(payment, given)
    if not filled:
        return Decision(Verdict.DUPLICATE, "nothing new", payment)
    is_ready = payment.is_open and "redirect_url" in filled
    return Decision(
        Verdict.APPLIED,
        "the provider's answer filled in what was missing",
        _changed(payment, now, **filled),
        notification="payment.redirect_ready" if is_ready else None,
    )


def _succeed(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
    """Money has arrived for a payment that is not completed, in time or late."""
    assert isinstance(given, Fact) and given.amount_minor is not None and given.currency  # noqa: S101
    if (given.amount_minor, given.currency) == (payment.received_minor, payment.received_currency):
        return Decision(Verdict.DUPLICATE, "this total is known and waits for a person", payment)
    if given.currency != payment.currency:
        return _hold(payment, given, now, "currency_mismatch")
    difference = given.amount_minor - payment.amount_minor
    tolerated = int(payment.amount_minor * payment.policy.tolerance_percent / 100)
    if abs(difference) > tolerated:
        if difference < 0:
            return _hold(payment, given, now, "underpaid")
        if payment.policy.over != "credit":
            return _hold(payment, given, now, "overpaid", is_rejected=payment.policy.over == "reject")
    if not payment.is_open and payment.policy.late != "credit":
        return _hold(payment, given, now, "late", is_rejected=payment.policy.late == "reject")
    return _complete(payment, given, now, marks={"overpaid"} if difference > tolerated else set())


def _complete(payment: Payment, fact: Fact, now: datetime.datetime, marks: set[str]) -> Decision:
    assert fact.amount_minor is not None and fact.currency  # noqa: S101  # checked by the caller
    if not payment.is_open:
        marks = marks | {"late"}
    completed = _changed(
        payment,
        now,
        status=Status.COMPLETED,
        completed_at=now,
        failure_reason=None,
        received_minor=fact.amount_minor,
        received_currency=fact.currency,
        exceptions=(payment.exceptions - AMOUNT_MARKS) | marks,
        has_open_case=False,
        **_with_reference(payment, fact),
    )
    return Decision(
        Verdict.APPLIED,
        "the money arrived" + (" after the payment had ended" if "late" in marks else ""),
        completed,
        transfer=Transfer("deposit", "deposit", fact.amount_minor, fact.currency),
        supersedes=True,
        notification="payment.completed",
    )


def _hold(payment: Payment, fact: Fact, now: datetime.datetime, mark: str, is_rejected: bool = False) -> Decision:
    """Money has arrived that is not what was asked: kept for a person, the payment keeps its state."""
    marks = {mark} if payment.is_open else {mark, "late"}
    held = _changed(
        payment,
        now,
        received_minor=fact.amount_minor,
        received_currency=fact.currency,
        exceptions=(payment.exceptions - AMOUNT_MARKS) | marks,
        has_open_case=not is_rejected,
        **_with_reference(payment, fact),
    )
    return Decision(
        Verdict.DEAD_LETTER,
        f"{mark}: asked {payment.amount_minor} {payment.currency}, received {fact.amount_minor} {fact.currency}"
        " (minor units)",
        held,
        case=Case(
            mark,
            f"asked {payment.amount_minor} {payment.currency}, received {fact.amount_minor} {fact.currency}",
            f"{mark}:{fact.reference}:{fact.amount_minor}:{fact.currency}",
            fact.reference,
            fact.amount_minor,
            fact.currency,
            is_rejected,
        ),
        supersedes=True,
        notification="payment.review",
        alert=f"payment_{mark}",
    )


def _second_success(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
    """A success for a completed payment: the same one again, or a second payment of the money."""
    assert isinstance(given, Fact) and given.amount_minor is not None and given.currency  # noqa: S101
    is_other = _is_other_reference(payment, given)
    same_money = (given.amount_minor, given.currency) == (payment.received_minor, payment.received_currency)
    if same_money and not is_other:
        filled = _with_reference(payment, given)
        settled = _changed(payment, now, **filled) if filled else payment
        return Decision(Verdict.DUPLICATE, "the payment is completed already", settled)
    extra = given.amount_minor
    if not is_other and given.currency == payment.received_currency:
        # The same reference with another total: only what has come on top can be credited.
        extra = given.amount_minor - (payment.received_minor or 0)
    return Decision(
        Verdict.CONFLICT,
        "a second success with another reference or amount",
        _marked(payment, now, "conflict"),
        case=Case(
            "second_payment",
            f"completed with {payment.received_minor} {payment.received_currency}"
            f" ({payment.provider_reference}), now {given.amount_minor} {given.currency} ({given.reference})",
            f"second_payment:{given.reference}:{given.amount_minor}:{given.currency}",
            given.reference,
            extra if extra > 0 else None,
            given.currency if extra > 0 else None,
        ),
        notification="payment.review",
        alert="payment_conflict",
    )


def _marked(payment: Payment, now: datetime.datetime, mark: str) -> Payment:
    return payment if mark in payment.exceptions else _changed(payment, now, exceptions=payment.exceptions | {mark})


def _contradict(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
    """A failure for a payment that is completed: recorded, moves no money."""
    return Decision(
        Verdict.CONFLICT,
        f"the provider says '{given.kind}' of a completed payment",
        _marked(payment, now, "conflict"),
        notification=None if "conflict" in payment.exceptions else "payment.review",
        alert="payment_conflict",
    )


def _end(status: Status, event: str) -> Decider:
    def decider(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
        assert isinstance(given, Fact)  # noqa: S101  # the table sends facts only
        if payment.has_open_case:
            return Decision(
                Verdict.CONFLICT,
                f"the provider says '{given.kind}' while received money waits for a person",
                _marked(payment, now, "conflict"),
                alert="payment_conflict",
            )
        default = "declined" if status is Status.FAILED else "cancelled at the provider"
        ended = _changed(
            payment,
            now,
            status=status,
            failure_reason=given.message or default,
            # The provider itself has ended it: there is no session left to close.
            session_closed=True,
            **_with_reference(payment, given),
        )
        return Decision(Verdict.APPLIED, f"the provider says '{given.kind}'", ended, notification=event)

    return decider


def _cancel(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
    cancelled = _changed(payment, now, status=Status.CANCELLED, failure_reason="cancelled")
    return Decision(Verdict.APPLIED, "cancelled on request", cancelled, notification="payment.cancelled")


def _expire(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
    if now < payment.expires_at:
        return Decision(Verdict.IGNORED, "not expired yet", payment)
    if payment.has_open_case:
        return Decision(Verdict.IGNORED, "received money waits for a person", payment)
    if payment.has_waiting_webhooks:
        return Decision(Verdict.IGNORED, "webhooks of it wait to be settled", payment)
    expired = _changed(payment, now, status=Status.CANCELLED, failure_reason="expired")
    return Decision(Verdict.APPLIED, "nobody paid in time", expired, notification="payment.cancelled")


def _reverse(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
    """A refund or chargeback of a completed payment: a reversing pair of entries for what is new of it."""
    assert isinstance(given, Fact) and given.amount_minor is not None and given.currency  # noqa: S101
    delta = given.amount_minor - payment.reversed_minor
    credited = payment.received_minor or 0
    if delta == 0 and given.currency == payment.received_currency:
        return Decision(Verdict.DUPLICATE, "this reversal is known", payment)
    # A verified fact that cannot be: another currency, less than before, more than was credited, another payment.
    if (
        given.currency != payment.received_currency
        or delta < 0
        or given.amount_minor > credited
        or _is_other_reference(payment, given)
    ):
        return _refuse_reversal(payment, given, "a reversal that does not fit what was credited")
    balance = payment.wallet_balance_minor
    if payment.policy.negative == "hold" and balance is not None and balance < delta:
        return _refuse_reversal(payment, given, "the wallet would go below zero")
    reversed_payment = _changed(
        payment, now, reversed_minor=given.amount_minor, exceptions=payment.exceptions | {"reversed"}
    )
    return Decision(
        Verdict.APPLIED,
        "the provider took money back",
        reversed_payment,
        transfer=Transfer(f"reversal:{given.amount_minor}", "reversal", delta, given.currency),
        notification="payment.reversed",
        alert="payment_reversed",
    )


def _refuse_reversal(payment: Payment, given: Input, why: str) -> Decision:
    assert isinstance(given, Fact)  # noqa: S101  # the callers send facts only
    return Decision(
        Verdict.DEAD_LETTER,
        why,
        payment,
        case=Case(
            "reversal",
            f"{why}: {given.amount_minor} {given.currency} of {payment.received_minor} {payment.received_currency}",
            f"reversal:{given.reference}:{given.amount_minor}:{given.currency}",
            given.reference,
        ),
        alert="reversal_held",
    )


def _reversal_of_nothing(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
    return _refuse_reversal(payment, given, "a reversal of money that was never credited")


def _accept(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
    """A person accepts held money: it is credited as received, and the payment is completed with it."""
    assert isinstance(given, Command) and given.amount_minor is not None and given.currency  # noqa: S101
    transfer = Transfer(f"case:{given.case_id}", "deposit", given.amount_minor, given.currency)
    if payment.status is Status.COMPLETED:
        received = payment.received_minor or 0
        same_currency = given.currency == payment.received_currency
        accepted = _changed(payment, now, received_minor=received + given.amount_minor if same_currency else received)
    else:
        accepted = _changed(
            payment,
            now,
            status=Status.COMPLETED,
            completed_at=now,
            failure_reason=None,
            received_minor=given.amount_minor,
            received_currency=given.currency,
            has_open_case=False,
        )
        # The first credit of a payment has one key whoever decided it, so that no second way to it exists.
        transfer = replace(transfer, key="deposit")
    return Decision(
        Verdict.APPLIED, "accepted by a person", accepted, transfer=transfer, notification="payment.completed"
    )


def _reject(payment: Payment, given: Input, now: datetime.datetime) -> Decision:
    return Decision(Verdict.APPLIED, "rejected by a person", replace(payment, has_open_case=False))


_S, _F, _C = Status, FactKind, CommandKind
TABLE: dict[tuple[Status, FactKind | CommandKind], Decider] = {
    (_S.PENDING, _F.ACCEPTED): _start,
    (_S.PENDING, _F.PENDING): _start,
    (_S.PENDING, _F.SUCCEEDED): _succeed,
    (_S.PENDING, _F.DECLINED): _end(_S.FAILED, "payment.failed"),
    (_S.PENDING, _F.CANCELLED): _end(_S.CANCELLED, "payment.cancelled"),
    (_S.PENDING, _F.REFUNDED): _reversal_of_nothing,
    (_S.PENDING, _F.NOT_FOUND): _ignored("the provider does not know it"),
    (_S.PENDING, _C.CANCEL): _cancel,
    (_S.PENDING, _C.EXPIRE): _expire,
    (_S.PENDING, _C.ACCEPT): _accept,
    (_S.PENDING, _C.REJECT): _reject,
    (_S.PROCESSING, _F.ACCEPTED): _fill_in,
    (_S.PROCESSING, _F.PENDING): _fill_in,
    (_S.PROCESSING, _F.SUCCEEDED): _succeed,
    (_S.PROCESSING, _F.DECLINED): _end(_S.FAILED, "payment.failed"),
    (_S.PROCESSING, _F.CANCELLED): _end(_S.CANCELLED, "payment.cancelled"),
    (_S.PROCESSING, _F.REFUNDED): _reversal_of_nothing,
    (_S.PROCESSING, _F.NOT_FOUND): _ignored("the provider does not know it"),
    (_S.PROCESSING, _C.CANCEL): _cancel,
    (_S.PROCESSING, _C.EXPIRE): _expire,
    (_S.PROCESSING, _C.ACCEPT): _accept,
    (_S.PROCESSING, _C.REJECT): _reject,
    (_S.COMPLETED, _F.ACCEPTED): _fill_in,
    (_S.COMPLETED, _F.PENDING): _fill_in,
    (_S.COMPLETED, _F.SUCCEEDED): _second_success,
    (_S.COMPLETED, _F.DECLINED): _contradict,
    (_S.COMPLETED, _F.CANCELLED): _contradict,
    (_S.COMPLETED, _F.REFUNDED): _reverse,
    (_S.COMPLETED, _F.NOT_FOUND): _ignored("the provider does not know it"),
    (_S.COMPLETED, _C.CANCEL): _ignored("the payment is completed"),
    (_S.COMPLETED, _C.EXPIRE): _ignored("the payment is completed"),
    (_S.COMPLETED, _C.ACCEPT): _accept,
    (_S.COMPLETED, _C.REJECT): _reject,
    (_S.FAILED, _F.ACCEPTED): _fill_in,
    (_S.FAILED, _F.PENDING): _fill_in,
    (_S.FAILED, _F.SUCCEEDED): _succeed,
    (_S.FAILED, _F.DECLINED): _duplicate("the payment has failed already"),
    (_S.FAILED, _F.CANCELLED): _ignored("the payment has failed already"),
    (_S.FAILED, _F.REFUNDED): _reversal_of_nothing,
    (_S.FAILED, _F.NOT_FOUND): _ignored("the provider does not know it"),
    (_S.FAILED, _C.CANCEL): _ignored("the payment has failed"),
    (_S.FAILED, _C.EXPIRE): _ignored("the payment has failed"),
    (_S.FAILED, _C.ACCEPT): _accept,
    (_S.FAILED, _C.REJECT): _reject,
    (_S.CANCELLED, _F.ACCEPTED): _fill_in,
    (_S.CANCELLED, _F.PENDING): _fill_in,
    (_S.CANCELLED, _F.SUCCEEDED): _succeed,
    (_S.CANCELLED, _F.DECLINED): _ignored("the payment is cancelled already"),
    (_S.CANCELLED, _F.CANCELLED): _duplicate("the payment is cancelled already"),
    (_S.CANCELLED, _F.REFUNDED): _reversal_of_nothing,
    (_S.CANCELLED, _F.NOT_FOUND): _ignored("the provider does not know it"),
    (_S.CANCELLED, _C.CANCEL): _ignored("the payment is cancelled"),
    (_S.CANCELLED, _C.EXPIRE): _ignored("the payment is cancelled"),
    (_S.CANCELLED, _C.ACCEPT): _accept,
    (_S.CANCELLED, _C.REJECT): _reject,
}
