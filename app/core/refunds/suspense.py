"""What a payment has in suspense: money that is no user's, since a policy gives it back."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.payment import Payment
from app.core.refunds.records import Refund, RefundStatus


@dataclass(frozen=True, slots=True)
class Suspense:
    """Money in suspense of one provider reference in one currency, in minor units.

    `booked_minor`: all that was put there. `credited_minor`: what persons credited to the user from there.
    `gone_minor`: what went back to the payer from there, less what came again. `unfinished_minor`: what refunds are
    under way for, `sent_minor`: those of them that the provider may have.
    """

    booked_minor: int = 0
    credited_minor: int = 0
    gone_minor: int = 0
    unfinished_minor: int = 0
    sent_minor: int = 0

    @property
    def left_minor(self) -> int:
        """What is still there; less than nothing where more went back than was put there."""
        return self.booked_minor - self.credited_minor - self.gone_minor

    @property
    def idle_minor(self) -> int:
        """What no refund is under way for."""
        return max(self.left_minor - self.unfinished_minor, 0)

    @property
    def free_minor(self) -> int:
        """What no refund that was sent will take."""
        return max(self.left_minor - self.sent_minor, 0)


_NOTHING = Suspense()


def has_suspense(payment: Payment) -> bool:
    """Return whether a policy has given money of the payment back, or tries to."""
    return any(one.is_of_policy for one in payment.refunds)


def list_policy_refunds(payment: Payment, reference: str | None, currency: str) -> list[Refund]:
    """Return the refunds that a policy makes of money under a reference in `currency`, oldest first."""
    own = reference or payment.provider_reference
    return [one for one in payment.refunds if one.is_of_policy and (one.reference, one.currency) == (own, currency)]


def list_undecided(payment: Payment, reference: str | None, currency: str) -> list[Refund]:
    """Return those that have failed and about whose money nobody has decided yet."""
    found = list_policy_refunds(payment, reference, currency)
    return [one for one in found if one.status is RefundStatus.FAILED and one.credited_minor is None]


def read_suspense(payment: Payment, reference: str | None, currency: str) -> Suspense:
    """Return the money in suspense under a reference in `currency`; without a reference it is the payment's own."""
    found = list_policy_refunds(payment, reference, currency)
    if not found:
        return _NOTHING
    own = reference or payment.provider_reference
    taken = (
        one.left_suspense_minor
        for one in payment.movements
        if (one.reference or payment.provider_reference, one.currency) == (own, currency)
    )
    unfinished = [one for one in found if one.is_unfinished]
    return Suspense(
        sum(one.suspended_minor or 0 for one in found),
        sum(one.credited_minor or 0 for one in found),
        sum(taken) + sum(one.amount_minor for one in found if one.status is RefundStatus.COMPLETED),
        sum(one.amount_minor for one in unfinished),
        sum(one.amount_minor for one in unfinished if one.called_at is not None),
    )
