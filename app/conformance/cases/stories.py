"""Cases about whole payments: what their webhooks and lookups do to a payment, by the state machine."""

from __future__ import annotations

from collections.abc import Iterator

from app.conformance.case import case, expect, expect_equal, unless_ids
from app.conformance.emulator import Action, Arrival
from app.conformance.ledger_fold import FoldedPayment
from app.conformance.trial import MINOR, Trial, TrialPayment
from app.core.facts import FactKind
from app.core.payment import Status

_PART = 700


@case()
def paid_is_completed_once(trial: Trial) -> None:
    """A payment that is paid is completed with its money, once, however often it is reported."""
    for folded in _ways(trial, "pay"):
        _expect_completed(folded)


@case()
def second_attempt_is_not_late(trial: Trial) -> None:
    """A declined attempt does not end the payment: what is paid after it completes the payment, and is not late."""
    for folded in _ways(trial, "attempt", "pay"):
        _expect_completed(folded)


@case()
def declined_attempt_leaves_it_open(trial: Trial) -> None:
    """After a declined attempt the payment is open, to webhooks and to lookups."""
    for folded in _ways(trial, "attempt"):
        expect(folded.payment.is_open, f"the payment is {folded.payment.status}")
        expect_equal(folded.credited_minor, 0, "the credit")


@case()
def slow_method_is_waited_for(trial: Trial) -> None:
    """A payer who commits to a slow method is waited for, and the payment is completed when the money comes."""
    deposit = trial.created()
    folded = _follow(trial, deposit, "commit")
    fact = trial.fetch(deposit)
    folded.settle(fact)
    expect(fact.kind in (FactKind.COMMITTED, FactKind.PENDING), f"the lookup: {fact!r}")
    expect(folded.payment.is_open and folded.credited_minor == 0, f"it is {folded.payment.status}")
    _expect_completed(_follow(trial, deposit, "pay", folded=folded))


@case()
def slow_method_can_fail(trial: Trial) -> None:
    """A slow method that fails credits nothing and ends the payment: at once, or when the time to pay is up."""
    deposit = trial.created()
    folded = _follow(trial, deposit, "commit", "decline")
    fact = trial.fetch(deposit)
    folded.settle(fact)
    expect_equal((folded.credited_minor, folded.payment.status is Status.COMPLETED), (0, False), "the credit")
    if folded.payment.is_open:
        expect(fact.kind is not FactKind.COMMITTED, "its lookup says that the payer is committed")
        folded.expire()
    # One that the provider lets be paid in another way is ended by the provider's clock.
    is_over = not folded.payment.is_open or trial.adapter.capabilities.can_expire
    expect(is_over, "nothing ends the payment before the slow method's time")
    expect(not folded.payment.exceptions, f"the end is exceptional: {set(folded.payment.exceptions)}")


@case()
def refund_is_booked_once(trial: Trial) -> None:
    """What is given back is taken back once, by the webhook, by a lookup, or by both in either order."""
    for folded in _ways(trial, "pay", "refund"):
        _expect_left(folded, 0)
    # Of a part more could be taken: what is booked twice shows.
    for folded in _ways(trial, "pay", "refund", refunded_minor=_PART):
        _expect_left(folded, MINOR - _PART)


@case()
def refunds_in_part_add_up(trial: Trial) -> None:
    """Two refunds of a part each are both booked, and what is left is credited."""
    deposit = trial.created()
    folded = _follow(trial, deposit, "pay")
    for part, left in ((700, 1_800), (100, 1_700)):
        trial.settle(deposit, trial.happen(deposit, "refund", amount_minor=part), folded)
        if part == 100:
            folded.settle(trial.fetch(deposit))
            _expect_left(folded, left)


@case(unless_ids)
def failed_refund_comes_again(trial: Trial) -> None:
    """A refund that fails after it was done is money that comes again: nothing is taken back in the end."""
    for folded in _ways(trial, "pay", "refund", "fail_refund"):
        _expect_left(folded, MINOR)


@case(unless_ids)
def lost_dispute_takes_the_money(trial: Trial) -> None:
    """A dispute that is lost takes the money once, and is closed where the provider says that it is lost."""
    for folded in _ways(trial, "pay", "dispute", "lose_dispute"):
        _expect_left(folded, 0)
        if trial.adapter.capabilities.says_lost:
            _expect_closed(folded)


@case(unless_ids)
def won_dispute_leaves_the_money(trial: Trial) -> None:
    """A dispute that is won leaves the money as it was, and is closed."""
    for folded in _ways(trial, "pay", "dispute", "win_dispute"):
        _expect_left(folded, MINOR)
        _expect_closed(folded)


@case(unless_ids)
def any_order_has_the_same_end(trial: Trial) -> None:
    """Webhooks that come in reversed order end with the same money."""
    for actions, left in ((("pay", "refund", "fail_refund"), MINOR), (("pay", "refund"), 0)):
        deposit = trial.created()
        arrivals = trial.happen(deposit, *actions)
        folded = trial.settle(deposit, arrivals[::-1])
        folded.settle(trial.fetch(deposit))
        _expect_left(folded, left)


def _expect_closed(folded: FoldedPayment) -> None:
    expect("disputed" not in folded.payment.exceptions, "the dispute is still open")


def _ways(trial: Trial, *actions: Action, refunded_minor: int | None = None) -> Iterator[FoldedPayment]:
    """Yield a payment by its webhooks and then a lookup, and one by a lookup and then its webhooks, twice."""
    deposit, arrivals = trial.created(), list[Arrival]()
    for action in actions:
        arrivals += trial.happen(deposit, action, amount_minor=refunded_minor if action == "refund" else None)
    by_webhooks = trial.settle(deposit, arrivals)
    by_webhooks.settle(trial.fetch(deposit))
    yield by_webhooks
    by_look_up = trial.fold(deposit)
    by_look_up.settle(trial.fetch(deposit))
    yield trial.settle(deposit, [*arrivals, *arrivals], by_look_up)


def _follow(
    trial: Trial, deposit: TrialPayment, *actions: Action, folded: FoldedPayment | None = None
) -> FoldedPayment:
    return trial.settle(deposit, trial.happen(deposit, *actions), folded)


def _expect_completed(folded: FoldedPayment) -> None:
    expect_equal(folded.payment.status, Status.COMPLETED, "the payment")
    expect_equal(folded.payment.exception, None, "its exception")
    expect_equal(folded.credited_minor, MINOR, "the credit")


def _expect_left(folded: FoldedPayment, minor: int) -> None:
    expect_equal(folded.payment.status, Status.COMPLETED, "the payment")
    found = (folded.credited_minor, folded.payment.reversed_minor)
    expect_equal(found, (minor, MINOR - minor), "what is left, and what was taken back")
