"""What was credited and what is reversed under each provider reference, and the marks that follow from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from app.core.payment import HAS_DISPUTES, HAS_MOVEMENTS, HAS_REFUNDS, REVERSAL_WAITING, OtherReference, Payment
from app.core.refunds.records import Refund
from app.core.refunds.suspense import Suspense, read_suspense
from app.core.reversals.records import KnownMovement

# Begins the ids of corrections of what was credited, which no provider reports (`app.core.reversals.corrections`).
CREDIT_CORRECTION = "correction:"
# Begins the ids of corrections of money that went back or came again.
MOVEMENT_CORRECTION = "movement_correction:"
CORRECTIONS = (CREDIT_CORRECTION, MOVEMENT_CORRECTION)


@dataclass(frozen=True, slots=True)
class CreditedMoney:
    """Money under one reference in one currency, in minor units: credited, and reversed less what came again.

    What a person has corrected of a credit is in neither: the provider never had it. `refunded_minor`: the part of what
    is reversed that refunds of ours are. `suspense`: what of the reference's money is no user's; a provider makes no
    difference between the two, so what it shows is the sum of both.
    """

    credited_minor: int
    reversed_minor: int
    # None where it is the payment's own money.
    other: OtherReference | None = None
    refunded_minor: int = 0
    suspense: Suspense = field(default_factory=Suspense)

    @property
    def left_minor(self) -> int:
        """What may still go back of the user's money."""
        return self.credited_minor - self.reversed_minor

    @property
    def takeable_minor(self) -> int:
        """What a provider may take back of all the money."""
        return self.left_minor + self.suspense.free_minor

    @property
    def shown_credited_minor(self) -> int:
        """What the provider shows as received."""
        return self.credited_minor + self.suspense.booked_minor - self.suspense.credited_minor

    @property
    def shown_reversed_minor(self) -> int:
        """What the provider shows as given back."""
        return self.reversed_minor + self.suspense.gone_minor


def read_credited(payment: Payment, reference: str | None, currency: str) -> CreditedMoney:
    """Return the money of a reference in `currency`; without a reference it is the payment's own."""
    is_own, suspense = payment.is_own_reference(reference), read_suspense(payment, reference, currency)
    if is_own and currency == payment.received_currency:
        elsewhere = sum(one.reversed_minor for one in payment.other_references if one.currency == currency)
        elsewhere += _sum(one for one in payment.movements if one.currency == currency and not _is_own(payment, one))
        elsewhere += _sum(one for one in payment.refunds if one.currency == currency and not _is_own(payment, one))
        refunded = _sum(one for one in payment.refunds if one.currency == currency and _is_own(payment, one))
        corrected = sum_corrections(payment)
        credited, reversed_minor = (payment.received_minor or 0) - corrected, payment.reversed_minor - elsewhere
        credited -= suspense.booked_minor - suspense.credited_minor
        return CreditedMoney(credited, reversed_minor - corrected, refunded_minor=refunded, suspense=suspense)
    found = payment.other_reference(reference, currency)
    moved = _sum(one for one in payment.movements if _is_under(payment, one, found))
    refunded = _sum(one for one in payment.refunds if _is_under(payment, one, found))
    accepted = found.accepted_minor + suspense.credited_minor
    return CreditedMoney(accepted, found.reversed_minor + moved + refunded, found, refunded, suspense)


def sum_corrections(payment: Payment) -> int:
    """Return by how much persons have made the payment's own credit smaller, in minor units of its currency."""
    return _sum(one for one in payment.movements if one.reversal_id.startswith(CREDIT_CORRECTION))


def with_marks(payment: Payment) -> frozenset[str]:
    """Return the payment's exceptions with those that what went back and came again gives it now."""
    marks = {
        REVERSAL_WAITING: bool(payment.reversals_waiting),
        HAS_MOVEMENTS: bool(payment.movements),
        HAS_DISPUTES: bool(payment.disputes),
        HAS_REFUNDS: bool(payment.refunds),
        "reversed": _is_reversed(payment),
        "disputed": any(one.state == "opened" for one in payment.disputes),
    }
    return payment.exceptions.difference(marks) | {mark for mark, is_given in marks.items() if is_given}


def _is_reversed(payment: Payment) -> bool:
    """Return whether a provider has anything back, in whichever currency: our own refunds do not count."""
    refunded = _sum(one for one in payment.refunds if one.currency == payment.received_currency)
    if payment.reversed_minor > refunded or any(one.reversed_minor > 0 for one in payment.other_references):
        return True
    moved = (read_credited(payment, one.reference, one.currency) for one in payment.movements)
    return any(money.reversed_minor > money.refunded_minor for money in moved)


def with_other(payment: Payment, other: OtherReference, reversed_minor: int) -> Payment:
    """Return the payment with what is reversed of another reference's money."""
    others = (one for one in payment.other_references if one != other)
    return replace(payment, other_references=(*others, replace(other, reversed_minor=reversed_minor)))


def _is_own(payment: Payment, movement: KnownMovement | Refund) -> bool:
    return payment.is_own_reference(movement.reference)


def _is_under(payment: Payment, movement: KnownMovement | Refund, other: OtherReference) -> bool:
    reference = movement.reference or payment.provider_reference
    return (reference, movement.currency) == (other.reference, other.currency)


def _sum(movements: Iterable[KnownMovement | Refund]) -> int:
    return sum(one.moved_minor for one in movements)
