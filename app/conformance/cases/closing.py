"""Cases about closing a payment, and about the end that the provider's clock makes."""

from __future__ import annotations

from app.conformance.case import case, expect, expect_equal, expect_error, unless_cancels, unless_expires
from app.conformance.proxy import Fault
from app.conformance.trial import MINOR, Trial
from app.core.errors import OutcomeUnknown, ProviderRefusedUs, Throttled
from app.core.facts import FactKind
from app.core.payment import Status


@case(unless_cancels)
def cancelled_once(trial: Trial) -> None:
    """An open payment is closed; to close it again changes nothing and says the same."""
    deposit = trial.created()
    kinds = [trial.cancel(deposit).kind for _ in range(2)] + [trial.fetch(deposit).kind]
    expect_equal(kinds, [FactKind.CANCELLED] * 3, "closed twice and queried")


@case(unless_cancels)
def cancel_against_paid(trial: Trial) -> None:
    """To close a payment that has just been paid says that its payer is done, and how much came if it can."""
    deposit = trial.created()
    trial.happen(deposit, "pay")
    fact = trial.cancel(deposit)
    if trial.adapter.capabilities.reads_money:
        found = (fact.kind, fact.amount_minor, fact.currency)
        expect_equal(found, (FactKind.SUCCEEDED, MINOR, deposit.order.currency), "the answer")
    else:
        expect_equal(fact.kind, FactKind.COMMITTED, "the answer")


@case(unless_cancels)
def failed_cancel_is_not_cancelled(trial: Trial) -> None:
    """To close a payment without an answer, or with an error, is never the end of the payment."""
    deposit = trial.created()
    failures = [
        (Fault(ending="nothing"), OutcomeUnknown),
        (Fault(False, status=500), OutcomeUnknown),
        (Fault(False, status=429), Throttled),
        (Fault(False, status=401), ProviderRefusedUs),
    ]
    for fault, kind in failures:
        trial.proxy.spoil(fault)
        expect_error(lambda: trial.cancel(deposit), kind)
        trial.proxy.heal()
    expect_equal(trial.cancel(deposit).kind, FactKind.CANCELLED, "the next try")


@case(unless_expires)
def expired_is_cancelled_by_the_clock(trial: Trial) -> None:
    """A payment whose time ran out at the provider is cancelled, and says that the clock did it."""
    deposit = trial.created()
    arrivals = trial.happen(deposit, "expire")
    fact = trial.fetch(deposit)
    expect_equal((fact.kind, fact.is_expiry), (FactKind.CANCELLED, True), "the lookup")
    folded = trial.settle(deposit, arrivals)
    folded.settle(fact)
    expect_equal((folded.payment.status, folded.payment.failure_reason), (Status.CANCELLED, "expired"), "the payment")
    expect(not folded.payment.exceptions, f"the end is exceptional: {set(folded.payment.exceptions)}")
