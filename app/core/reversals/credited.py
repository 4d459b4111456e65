"""What was credited and what is reversed under each provider reference, and the marks that follow from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from app.core.payment import HAS_DISPUTES, HAS_MOVEMENTS, REVERSAL_WAITING, OtherReference, Payment
from app.core.reversals.records import KnownMovement


@dataclass(frozen=True, slots=True)
class CreditedMoney:
    """Money under one reference in one currency, in minor units: credited, and reversed less what came again."""

    credited_minor: int
    reversed_minor: int
    # None where it is the payment's own money.
    other: OtherReference | None = None

    @property
    def left_minor(self) -> int:
        """What may still go back."""
        return self.credited_minor - self.reversed_minor


def read_credited(payment: Payment, reference: str | None, currency: str) -> CreditedMoney:
    """Return the money of a reference in `currency`; without a reference it is the payment's own."""
    is_own = payment.is_own_reference(reference)
    if is_own and currency == payment.received_currency:
        elsewhere = sum(one.reversed_minor for one in payment.other_references if one.currency == currency)
        elsewhere += _sum(one for one in payment.movements if one.currency == currency and not _is_own(payment, one))
        return CreditedMoney(payment.received_minor or 0, payment.reversed_minor - elsewhere)
    found = payment.other_reference(reference, currency)
    moved = _sum(one for one in payment.movements if _is_under(payment, one, found))
    return CreditedMoney(found.accepted_minor, found.reversed_minor + moved, found)


def with_marks(payment: Payment) -> frozenset[str]:
    """Return the payment's exceptions with those that its reversals, movements and disputes give it now."""
    marks = {
        REVERSAL_WAITING: bool(payment.reversals_waiting),
        HAS_MOVEMENTS: bool(payment.movements),
        HAS_DISPUTES: bool(payment.disputes),
        "reversed": _is_reversed(payment),
        "disputed": any(one.state == "opened" for one in payment.disputes),
    }
    return payment.exceptions.difference(marks) | {mark for mark, is_given in marks.items() if is_given}


def _is_reversed(payment: Payment) -> bool:
    """Return whether anything is reversed, in whichever currency and under whichever reference."""
    if payment.reversed_minor > 0 or any(one.reversed_minor > 0 for one in payment.other_references):
        return True
    return any(read_credited(payment, one.reference, one.currency).reversed_minor > 0 for one in payment.movements)


def with_other(payment: Payment, other: OtherReference, reversed_minor: int) -> Payment:
    """Return the payment with what is reversed of another reference's money."""
    others = (one for one in payment.other_references if one != other)
    return replace(payment, other_references=(*others, replace(other, reversed_minor=reversed_minor)))


def _is_own(payment: Payment, movement: KnownMovement) -> bool:
    return payment.is_own_reference(movement.reference)


def _is_under(payment: Payment, movement: KnownMovement, other: OtherReference) -> bool:
    reference = movement.reference or payment.provider_reference
    return (reference, movement.currency) == (other.reference, other.currency)


def _sum(movements: Iterable[KnownMovement]) -> int:
    return sum(one.moved_minor for one in movements)
