"""Cases about refunds that start here: made once, added up, refused, lost, and failed after they were done."""

from __future__ import annotations

import time
from dataclasses import replace

from app.conformance.case import (
    case,
    expect,
    expect_equal,
    expect_error,
    unless_finds_refunds,
    unless_keys_refunds,
    unless_refunds,
)
from app.conformance.proxy import Fault
from app.conformance.trial import MINOR, Trial
from app.core.errors import OutcomeUnknown, ProviderRefusedUs, Unavailable
from app.core.facts import Fact, FactKind
from app.core.payment import Status
from app.core.refunds.records import Refund, RefundStatus
from app.providers import RefundSubject
from models import new_id

_PART = 700
# Emulators end a refund that they work on within moments; the rest is for a machine under load.
_END_SECONDS = 20.0
_POLL_SECONDS = 0.05


class _Refunded:
    """A paid payment, and what refunds of ours do to it."""

    def __init__(self, trial: Trial) -> None:
        self.trial, self.deposit = trial, trial.created()
        self.folded = trial.settle(self.deposit, trial.happen(self.deposit, "pay"))
        expect_equal(self.folded.payment.status, Status.COMPLETED, "the payment before its refund")

    def ask(self, minor: int = _PART) -> RefundSubject:
        """Return a refund that a tenant has asked for, as it is about to be sent."""
        money = (self.deposit.id, str(self.folded.payment.provider_reference), minor, self.deposit.order.currency)
        aliases = sorted(self.folded.aliases - {money[1]})
        subject = RefundSubject(new_id(), *money, reason="came back", aliases=tuple(aliases))
        self.folded.ask_refund(subject)
        return subject

    def call(self, subject: RefundSubject) -> Fact:
        """Make the refund; return the answer."""
        adapter = self.trial.adapter
        return adapter.refund(self.trial.account, subject, adapter.build_refund(subject))

    def send(self, subject: RefundSubject) -> Fact:
        """Make the refund, and settle the answer."""
        return self.settle(subject, self.call(subject))

    def end(self, subject: RefundSubject) -> None:
        """Query the refund until the provider has ended it, or settle its reports where it cannot be queried."""
        deadline = time.monotonic() + _END_SECONDS
        while self.read(subject).is_unfinished:
            if self.trial.adapter.capabilities.reads_refunds:
                subject = replace(subject, reference=self.read(subject).provider_reference, is_known=True)
                self.settle(subject, self.trial.adapter.fetch_refund(self.trial.account, subject))
            else:
                self.report()
            expect(time.monotonic() < deadline, "the refund is still under way")
            time.sleep(_POLL_SECONDS)

    def read(self, subject: RefundSubject) -> Refund:
        """Return the refund as it is by now."""
        return next(one for one in self.folded.payment.refunds if one.id == subject.refund_id)

    def settle(self, subject: RefundSubject, fact: Fact) -> Fact:
        """Settle what the provider says of the refund; return it."""
        expect_equal(fact.kind, FactKind.REFUND_STATE, "the answer about a refund")
        fact = replace(fact, refund_id=subject.refund_id)
        self.folded.settle(fact)
        return fact

    def report(self) -> None:
        """Settle the provider's own reports: its webhooks, twice, and a lookup."""
        self.trial.emulator.await_webhooks(str(self.deposit.id))
        arrivals = self.trial.arrivals.take()
        self.trial.settle(self.deposit, [*arrivals, *arrivals], self.folded)
        self.folded.settle(self.trial.fetch(self.deposit))

    def gone(self) -> int:
        """Return how much the provider has given back, in minor units."""
        return self.trial.emulator.read_truth(str(self.deposit.id)).gone_minor

    def expect(self, left_minor: int, *statuses: RefundStatus) -> None:
        """Fail unless that much is left of the payment's money, and its refunds have ended so."""
        payment = self.folded.payment
        found = (self.folded.credited_minor, payment.reversed_minor, payment.exception)
        expect_equal(found, (left_minor, MINOR - left_minor, None), "what is left, what went back, and the exception")
        expect_equal(tuple(one.status for one in payment.refunds), statuses, "the refunds")


@case(unless_refunds)
def refund_of_ours_is_booked_once(trial: Trial) -> None:
    """A refund of ours moves its money once: by the answer, a lookup and the provider's reports, in either order."""
    for reports_first in (False, True):
        refunded = _Refunded(trial)
        subject = refunded.ask()
        answer = refunded.call(subject)
        if reports_first:
            refunded.report()
        refunded.settle(subject, answer)
        refunded.end(subject)
        refunded.report()
        refunded.expect(MINOR - _PART, RefundStatus.COMPLETED)
        expect_equal(refunded.gone(), _PART, "what the provider gave back")


@case(unless_refunds)
def refunds_of_ours_in_part_add_up(trial: Trial) -> None:
    """Two refunds of ours of a part each are both made, and the rest can be refunded after them."""
    refunded, left = _Refunded(trial), MINOR
    for minor in (_PART, 100, MINOR - _PART - 100):
        subject, left = refunded.ask(minor), left - minor
        refunded.send(subject)
        refunded.end(subject)
        refunded.report()
    refunded.expect(left, *[RefundStatus.COMPLETED] * 3)
    expect_equal((left, refunded.gone()), (0, MINOR), "what is left, and what the provider gave back")


@case(unless_keys_refunds)
def repeated_refund_is_one(trial: Trial) -> None:
    """The same refund call twice makes one refund, and its answers name the same one."""
    refunded = _Refunded(trial)
    subject = refunded.ask()
    expect_equal(trial.adapter.build_refund(subject), trial.adapter.build_refund(subject), "the request built again")
    first, again = refunded.send(subject), refunded.send(subject)
    expect(first.reversal_id and first.reversal_id == again.reversal_id, f"two refunds: {first!r} and {again!r}")
    refunded.end(subject)
    refunded.report()
    refunded.expect(MINOR - _PART, RefundStatus.COMPLETED)
    expect_equal(refunded.gone(), _PART, "what the provider gave back")


@case(unless_refunds)
def refund_beyond_what_is_left_is_refused(trial: Trial) -> None:
    """A refund of money that has gone back already has failed, and moves nothing."""
    refunded = _Refunded(trial)
    subject = refunded.ask()
    trial.emulator.happen(str(refunded.deposit.id), "refund")
    refunded.send(subject)
    refunded.end(subject)
    refunded.report()
    found = (refunded.read(subject).status, refunded.gone())
    expect_equal(found, (RefundStatus.FAILED, MINOR), "the refund, and what the provider gave back")
    moved = [one.transfer for one in refunded.folded.decisions if one.transfer and one.transfer.type == "refund"]
    expect(not moved, f"the refund moved money: {moved}")


@case(unless_refunds)
def refund_with_a_refused_key_is_ours_to_mend(trial: Trial) -> None:
    """Credentials that the provider does not know fail no refund."""
    refunded = _Refunded(trial)
    subject = refunded.ask()
    request = trial.adapter.build_refund(subject)
    expect_error(lambda: trial.adapter.refund(trial.stranger, subject, request), ProviderRefusedUs)


@case(unless_keys_refunds)
def lost_refund_is_asked_for_again(trial: Trial) -> None:
    """A refund whose answer is lost has an unknown outcome; the next try with its key makes no second one."""
    for fault in (Fault(ending="nothing"), Fault(status=503), Fault(False, status=503)):
        refunded = _Refunded(trial)
        subject = refunded.ask()
        _lose(refunded, subject, fault)
        refunded.send(subject)
        refunded.end(subject)
        refunded.report()
        refunded.expect(MINOR - _PART, RefundStatus.COMPLETED)
        expect_equal(refunded.gone(), _PART, "what the provider gave back")


@case(unless_finds_refunds)
def lost_refund_is_found_by_our_id(trial: Trial) -> None:
    """A refund whose answer is lost is found by our id, and one that was never made is not."""
    for has_effect in (True, False):
        refunded = _Refunded(trial)
        subject = refunded.ask()
        # Another one of the payment is not taken for it.
        other = refunded.ask(100)
        refunded.send(other)
        _lose(refunded, subject, Fault(has_effect, status=503))
        found = trial.adapter.fetch_refund(trial.account, subject)
        expect_equal(found.kind, FactKind.REFUND_STATE if has_effect else FactKind.NOT_FOUND, "the lookup by our id")
        if has_effect:
            refunded.settle(subject, found)
        # What the provider reports of these would else arrive among the webhooks of the next payment.
        for made in (other, subject) if has_effect else (other,):
            refunded.end(made)
        refunded.report()


@case(unless_refunds)
def failed_refund_of_ours_comes_again(trial: Trial) -> None:
    """A refund of ours that fails after it was done has failed, and its money is left as it was."""
    refunded = _Refunded(trial)
    subject = refunded.ask()
    refunded.send(subject)
    refunded.end(subject)
    trial.emulator.happen(str(refunded.deposit.id), "fail_refund")
    refunded.report()
    refunded.expect(MINOR, RefundStatus.FAILED)
    expect_equal(refunded.gone(), 0, "what the provider gave back")


def _lose(refunded: _Refunded, subject: RefundSubject, fault: Fault) -> None:
    """Let the answer to the refund call be lost; what is read before it is answered."""
    refunded.trial.proxy.spoil(replace(fault, spoils_reads=False))
    expect_error(lambda: refunded.call(subject), OutcomeUnknown if fault.status is None else Unavailable)
    refunded.trial.proxy.heal()
