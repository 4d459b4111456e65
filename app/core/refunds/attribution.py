"""Which reports of a provider about money that goes back, or comes again, are about refunds of ours."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from app.core.facts import Fact, FactKind, RefundState
from app.core.payment import Payment
from app.core.refunds.records import Refund, RefundStatus


def list_refunds(payment: Payment, reference: str | None, currency: str) -> list[Refund]:
    """Return the refunds of the money under a reference in `currency`, oldest first."""
    own = reference or payment.provider_reference
    return [one for one in payment.refunds if (one.reference, one.currency) == (own, currency)]


def unfinished_minor(payment: Payment, reference: str | None, currency: str) -> int:
    """Return how much of users' money is under way back to the payer under a reference."""
    found = list_refunds(payment, reference, currency)
    return sum(one.amount_minor for one in found if one.is_unfinished and not one.is_of_policy)


def find_by_id(payment: Payment, reversal_id: str | None, refund_id: uuid.UUID | None = None) -> Refund | None:
    """Return the refund that a provider's id names, or our own id of it.

    One that was ended here has no effect any more: where the provider made it all the same, it is a reversal.
    """
    named = (one for one in payment.refunds if one.id == refund_id or one.names(reversal_id))
    return next((one for one in named if not one.is_rejected), None)


def awaits_answer(payment: Payment, reference: str | None, currency: str) -> bool:
    """Return whether a refund was sent whose id at the provider is not known: a report may be about it."""
    found = list_refunds(payment, reference, currency)
    return any(
        one.status is not RefundStatus.FAILED and one.called_at is not None and one.provider_reference is None
        for one in found
    )


def find_grown(payment: Payment, reference: str | None, currency: str, delta_minor: int) -> Refund | None:
    """Return the unfinished refund that a total which is `delta_minor` larger has in it: that amount's, or the oldest.

    Only one that was sent can be in it.
    """
    sent = [
        one for one in list_refunds(payment, reference, currency) if one.is_unfinished and one.called_at is not None
    ]
    return _choose(sent, delta_minor)


def find_fallen(payment: Payment, reference: str | None, currency: str, delta_minor: int) -> Refund | None:
    """Return the completed refund that a total which is `delta_minor` smaller lacks: that amount's, or the newest."""
    done = [one for one in list_refunds(payment, reference, currency) if one.status is RefundStatus.COMPLETED]
    return _choose(reversed(done), delta_minor)


def _choose(refunds: Iterable[Refund], delta_minor: int) -> Refund | None:
    fitting = [one for one in refunds if one.amount_minor <= delta_minor]
    exact = (one for one in fitting if one.amount_minor == delta_minor)
    return next(exact, fitting[0] if fitting else None)


def has_failed(payment: Payment) -> bool:
    """Return whether a refund failed that the provider had: a total may then be older than its failure."""
    failed = (one for one in payment.refunds if one.status is RefundStatus.FAILED)
    return any(one.called_at is not None or one.completed_at is not None for one in failed)


def report(refund: Refund, state: RefundState, fact: Fact | None = None) -> Fact:
    """Return what became of a refund as a fact; `fact` is the report that says so."""
    named = None if fact is None or fact.reversal_id == str(refund.id) else fact.reversal_id
    message = None if fact is None else fact.message
    return Fact(FactKind.REFUND_STATE, message=message, reversal_id=named, refund_id=refund.id, refund_state=state)
