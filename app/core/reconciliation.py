"""Differences between a payment and the provider's row of it; pure, and it moves no money."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from app.core.decision import money_of
from app.core.facts import Fact, FactKind
from app.core.money import format_money
from app.core.payment import REVERSAL_WAITING, Payment, Status
from app.core.reversals.disputes import list_news
from app.core.reversals.movements import report
from app.core.reversals.records import MovementState
from app.core.reversals.totals import has_fallen


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference for a person. `reason` is missing_here, missing_there, amount, currency or state.

    `key` is the same for the same difference. `is_ours`: we have a payment of this provider for it.
    """

    reason: str
    detail: str
    key: str
    reference: str | None
    payment_id: uuid.UUID | None
    is_ours: bool = True


def missing_there(payment: Payment) -> Difference:
    """Return the difference for a payment that has a reference which the provider does not know any more."""
    reference = payment.provider_reference
    detail = f"the payment is {payment.status} here with reference {reference}, which the provider does not know"
    return Difference("missing_there", detail, f"missing_there:{reference}", reference, payment.id)


def compare(
    payment: Payment | None,
    fact: Fact,
    *,
    reference: str,
    asked: tuple[int, str],
    refunded_minor: int | None,
    payment_id: uuid.UUID | None,
    can_close: bool,
) -> Difference | None:
    """Return the first difference between a payment, None where we have none, and the provider's row of it.

    `asked`: (minor units, currency) that was requested. `refunded_minor`: the total given back, None where the provider
    reports single movements. `can_close`: whether the provider ends an unpaid payment when we ask it to; else such a
    payment stays open there.
    """
    if payment is None:
        detail = f"the provider has {reference} ('{fact.kind}'), which is no payment of this provider here"
        return Difference("missing_here", detail, f"missing_here:{reference}", reference, payment_id, is_ours=False)
    if payment.provider_reference not in (None, reference):
        detail = f"the provider has {reference} for the payment as well, which here has {payment.provider_reference}"
        return Difference("missing_here", detail, f"missing_here:{reference}", reference, payment.id)
    found = (
        _asked_differs(payment, asked)
        or _state_differs(payment, fact, can_close=can_close)
        or _money_differs(payment, fact, refunded_minor)
    )
    if found is None:
        return None
    reason, detail = found
    return Difference(reason, detail, f"{reason}:{reference}:{detail}", reference, payment.id)


def is_news(payment: Payment, fact: Fact, reference: str) -> bool:
    """Return whether the provider's row changes the payment as a poll would: it is open here and not there."""
    is_done = fact.kind in (FactKind.SUCCEEDED, FactKind.DECLINED, FactKind.CANCELLED)
    is_done = is_done or (fact.kind is FactKind.COMMITTED and payment.committed_until is None)
    is_known = (fact.amount_minor, fact.currency) == (payment.received_minor, payment.received_currency)
    is_same = payment.provider_reference in (None, reference)
    return payment.is_open and is_same and is_done and not (fact.kind is FactKind.SUCCEEDED and is_known)


def find_money_back(payment: Payment, fact: Fact, reference: str, refunded_minor: int) -> list[Fact]:
    """Return what the provider's row reports of money that went back or came again, and of disputes, not known here.

    Of an unpaid payment it waits. A total that has fallen is not among it: only a lookup of our own shows that.
    """
    is_same = payment.provider_reference in (None, reference)
    if fact.kind is not FactKind.SUCCEEDED or not is_same:
        return []
    known = {one.key for one in payment.movements}
    moved = [one for one in report(fact.movements, reference) if f"{one.kind}:{one.reversal_id}" not in known]
    moved += list_news(payment, fact.disputes)
    if refunded_minor <= payment.reversed_minor:
        return moved
    is_completed = payment.status is Status.COMPLETED
    if is_completed and REVERSAL_WAITING in payment.exceptions and refunded_minor > (payment.received_minor or 0):
        # More than was credited waits for a person already.
        return moved
    return [Fact(FactKind.REFUNDED, reference, amount_minor=refunded_minor, currency=fact.currency), *moved]


def needs_lookup(payment: Payment, fact: Fact, reference: str, refunded_minor: int) -> bool:
    """Return whether only a lookup settles the total given back: it is smaller than is booked, or has fallen before."""
    is_same = payment.provider_reference in (None, reference) and fact.currency == payment.received_currency
    is_paid = payment.status is Status.COMPLETED and fact.kind is FactKind.SUCCEEDED
    is_smaller = refunded_minor < payment.reversed_minor
    differs = is_same and is_paid and refunded_minor != payment.reversed_minor
    return differs and (is_smaller or has_fallen(payment))


def _asked_differs(payment: Payment, asked: tuple[int, str]) -> tuple[str, str] | None:
    minor, currency = asked
    if currency != payment.currency:
        return "currency", f"asked in {payment.currency} here, in {currency} there"
    if minor != payment.amount_minor:
        here, there = format_money(payment.amount_minor, currency), format_money(minor, currency)
        return "amount", f"asked {here} here, {there} there"
    return None


def _state_differs(payment: Payment, fact: Fact, *, can_close: bool) -> tuple[str, str] | None:
    is_paid_here, is_paid_there = payment.status is Status.COMPLETED, fact.kind is FactKind.SUCCEEDED
    if is_paid_here and not is_paid_there:
        return "state", f"completed here, '{fact.kind}' there"
    if is_paid_there and not is_paid_here and not payment.is_open:
        # Money that is known here waits for a person already, or one has rejected it.
        if (fact.amount_minor, fact.currency) == (payment.received_minor, payment.received_currency):
            return None
        return "state", f"{payment.status} here, paid {format_money(*money_of(fact))} there"
    if fact.kind is FactKind.PENDING and not payment.is_open and payment.session_closed and can_close:
        return "state", f"{payment.status} here and its session closed, still open there"
    return None


def _money_differs(payment: Payment, fact: Fact, refunded_minor: int | None) -> tuple[str, str] | None:
    if payment.status is not Status.COMPLETED:
        return None
    if fact.currency is None or fact.currency != payment.received_currency:
        return "currency", f"received in {payment.received_currency} here, in {fact.currency} there"
    if fact.amount_minor != payment.received_minor:
        here, there = format_money(payment.received_minor or 0, fact.currency), format_money(*money_of(fact))
        return "amount", f"received {here} here, {there} there"
    if refunded_minor is None:
        return _movements_differ(payment, fact)
    if refunded_minor != payment.reversed_minor:
        here, there = (format_money(minor, fact.currency) for minor in (payment.reversed_minor, refunded_minor))
        return "amount", f"given back {here} here, {there} there"
    return None


def _movements_differ(payment: Payment, fact: Fact) -> tuple[str, str] | None:
    """Compare what is booked with what the provider shows; what only the provider shows was reported and is booked."""
    shown = {(one.kind, one.reversal_id): (one.amount_minor, one.currency) for one in fact.movements}
    for one in payment.movements:
        there = shown.get((one.kind, one.reversal_id))
        if one.state is MovementState.BOOKED and there != (one.amount_minor, one.currency):
            here, found = format_money(one.amount_minor, one.currency), format_money(*there) if there else "not"
            return "amount", f"{one.kind} {here} ({one.reversal_id}) here, {found} there"
    return None
