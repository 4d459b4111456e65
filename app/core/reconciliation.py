"""Differences between a payment and the provider's row of it; pure, and it moves no money."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

from app.core.decision import Reason, money_of
from app.core.facts import Fact, FactKind
from app.core.money import format_money
from app.core.payment import REVERSAL_WAITING, Payment, Status
from app.core.refunds.suspense import has_suspense, read_suspense
from app.core.reversals.corrections import MOVEMENT, is_correction
from app.core.reversals.credited import sum_corrections
from app.core.reversals.disputes import list_news
from app.core.reversals.movements import report
from app.core.reversals.records import MovementState
from app.core.reversals.totals import has_fallen


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference for a person. `reason` is missing_here, missing_there, amount, currency, movement or state.

    `key` is the same for the same difference. `is_ours`: we have a payment of this provider for it. `correction_minor`:
    what the wallet lacks in `currency`, in minor units, less than nothing where it has too much; None where no money is
    wrong here, or where the provider's answer to a lookup brings it in order.
    """

    reason: Reason
    detail: str
    key: str
    reference: str | None
    payment_id: uuid.UUID | None
    is_ours: bool = True
    correction_minor: int | None = None
    currency: str | None = None


def missing_there(payment: Payment) -> Difference:
    """Return the difference for a payment that has a reference which the provider does not know any more."""
    reference = payment.provider_reference
    detail = f"the payment is {payment.status} here with reference {reference}, which the provider does not know"
    found = Difference("missing_there", detail, f"missing_there:{reference}", reference, payment.id)
    return _with_correction(found, payment, _all_of(payment))


def _all_of(payment: Payment) -> int:
    """Return the correction that takes back all that is left of a payment's credit."""
    return payment.reversed_minor - (payment.received_minor or 0) if payment.status is Status.COMPLETED else 0


def _with_correction(difference: Difference, payment: Payment, correction_minor: int) -> Difference:
    if not correction_minor:
        return difference
    return replace(difference, correction_minor=correction_minor, currency=payment.received_currency)


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
    reason, detail, correction_minor = found
    difference = Difference(reason, detail, f"{reason}:{reference}:{detail}", reference, payment.id)
    return _with_correction(difference, payment, correction_minor)


# The reason of a difference, its detail, and the correction that ends it in minor units; 0 where there is none.
_Found = tuple[Reason, str, int]


def is_news(payment: Payment, fact: Fact, reference: str) -> bool:
    """Return whether the provider's row changes the payment as a poll would: it is open here and not there.

    Money under another reference than the payment's waits for a person, whatever the payment's state.
    """
    if fact.kind is FactKind.SUCCEEDED and payment.provider_reference not in (None, reference):
        return True
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
    if refunded_minor <= _reversed_minor(payment):
        return moved
    is_completed = payment.status is Status.COMPLETED
    if is_completed and REVERSAL_WAITING in payment.exceptions and refunded_minor > (payment.received_minor or 0):
        # More than was credited waits for a person already.
        return moved
    return [Fact(FactKind.REFUNDED, reference, amount_minor=refunded_minor, currency=fact.currency), *moved]


def needs_lookup(payment: Payment, fact: Fact, reference: str, refunded_minor: int) -> bool:
    """Return whether only a lookup settles the total given back: it is smaller than is booked, or has fallen before."""
    is_same = payment.provider_reference in (None, reference) and fact.currency == payment.received_currency
    is_known = payment.status is Status.COMPLETED or has_suspense(payment)
    is_paid = is_known and fact.kind is FactKind.SUCCEEDED
    is_smaller = refunded_minor < _reversed_minor(payment)
    differs = is_same and is_paid and refunded_minor != _reversed_minor(payment)
    return differs and (is_smaller or has_fallen(payment))


def _reversed_minor(payment: Payment) -> int:
    """Return what the provider shows as given back: of the user's money, and of what was in suspense."""
    if not payment.refunds or payment.received_currency is None:
        return payment.reversed_minor
    return payment.reversed_minor + read_suspense(payment, None, payment.received_currency).gone_minor


def _asked_differs(payment: Payment, asked: tuple[int, str]) -> _Found | None:
    minor, currency = asked
    if currency != payment.currency:
        return "currency", f"asked in {payment.currency} here, in {currency} there", 0
    if minor != payment.amount_minor:
        here, there = format_money(payment.amount_minor, currency), format_money(minor, currency)
        return "amount", f"asked {here} here, {there} there", 0
    return None


def _state_differs(payment: Payment, fact: Fact, *, can_close: bool) -> _Found | None:
    is_paid_here, is_paid_there = payment.status is Status.COMPLETED, fact.kind is FactKind.SUCCEEDED
    if is_paid_here and not is_paid_there:
        return "state", f"completed here, '{fact.kind}' there", _all_of(payment)
    if is_paid_there and not is_paid_here and not payment.is_open:
        # Money that is known here waits for a person already, or one has rejected it.
        if (fact.amount_minor, fact.currency) == (payment.received_minor, payment.received_currency):
            return None
        # A poll credits it, as the tenant's policy for late money says.
        return "state", f"{payment.status} here, paid {format_money(*money_of(fact))} there", 0
    if fact.kind is FactKind.PENDING and not payment.is_open and payment.session_closed and can_close:
        return "state", f"{payment.status} here and its session closed, still open there", 0
    return None


def _money_differs(payment: Payment, fact: Fact, refunded_minor: int | None) -> _Found | None:
    if payment.status is not Status.COMPLETED:
        return None
    if fact.currency is None or fact.currency != payment.received_currency:
        detail = f"received in {payment.received_currency} here, in {fact.currency} there"
        return "currency", detail, _all_of(payment)
    if fact.amount_minor != payment.received_minor:
        received_minor, (there_minor, currency) = payment.received_minor or 0, money_of(fact)
        here, there = format_money(received_minor, currency), format_money(there_minor, currency)
        # Of more, what was taken back can be given again; the rest is a case of its own once the provider is asked.
        correction_minor = min(there_minor - received_minor, sum_corrections(payment))
        return "amount", f"received {here} here, {there} there", correction_minor
    if refunded_minor is None:
        return _movements_differ(payment, fact)
    if refunded_minor != _reversed_minor(payment):
        here, there = (format_money(minor, fact.currency) for minor in (_reversed_minor(payment), refunded_minor))
        # A lookup books it.
        return "amount", f"given back {here} here, {there} there", 0
    return None


def _movements_differ(payment: Payment, fact: Fact) -> _Found | None:
    """Compare what is booked with what the provider shows; what only the provider shows was reported and is booked."""
    shown = {(one.kind, one.reversal_id): (one.amount_minor, one.currency) for one in fact.movements}
    for one in payment.movements:
        there = shown.get((one.kind, one.reversal_id))
        if one.state is not MovementState.BOOKED or is_correction(one) or there == (one.amount_minor, one.currency):
            continue
        here, found = format_money(one.amount_minor, one.currency), format_money(*there) if there else "not"
        there_minor = there[0] if there and there[1] == one.currency else 0
        wrong_minor = one.amount_minor - there_minor if one.currency == payment.received_currency else 0
        detail = f"{one.kind} {here} ({one.reversal_id}) here, {found} there"
        return MOVEMENT, detail, wrong_minor if one.kind == "reversed" else -wrong_minor
    return None
