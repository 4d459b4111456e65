"""Cases about queries for a payment, by its reference and by our id."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from app.conformance.case import (
    ConformanceFailure,
    case,
    expect,
    expect_equal,
    expect_error,
    unless_finds,
    unless_reads_money,
)
from app.conformance.proxy import Fault
from app.conformance.trial import MINOR, Trial, TrialPayment
from app.core.errors import OutcomeUnknown, ProviderCallFailed, ProviderRefusedUs, Throttled, UnexpectedAnswer
from app.core.facts import Fact, FactKind
from app.providers import Subject
from app.providers.calls.outgoing import RESPONSE_BYTES_MAX, TOTAL_SECONDS

# What a call may take in the case about it, where the adapter's transport can be limited so; and for the machine.
_LIMIT_SECONDS, _GRACE_SECONDS = 1.0, 4.0


@case()
def open_payment_is_found(trial: Trial) -> None:
    """A payment that nobody has paid is pending."""
    deposit = trial.created()
    fact = trial.fetch(deposit)
    expect_equal((fact.kind, fact.reference), (FactKind.PENDING, deposit.reference), "the lookup")


@case(unless_finds)
def payment_is_found_by_our_id(trial: Trial) -> None:
    """A payment whose create call was never answered is found by our id alone, also after the key's life."""
    nobody, deposit = trial.new_deposit(), trial.new_deposit()
    expect_equal(trial.find(nobody), Fact(FactKind.NOT_FOUND), "the lookup of an unknown id")
    trial.proxy.spoil(Fault(ending="nothing"))
    expect_error(lambda: trial.create(deposit), OutcomeUnknown)
    trial.proxy.heal()
    fact = trial.find(deposit)
    expect(fact.kind in (FactKind.PENDING, FactKind.ACCEPTED) and fact.reference, f"the lookup: {fact!r}")
    trial.happen(deposit, "pay")
    expect_equal(_money(trial.find(deposit)), (FactKind.SUCCEEDED, MINOR, deposit.order.currency), "the lookup")


@case()
def unknown_id_is_never_taken_for_none(trial: Trial) -> None:
    """A lookup by our id alone says that there is none, or that it cannot say; it guesses nothing."""
    nobody = trial.new_deposit()
    try:
        fact = trial.find(nobody)
    except OutcomeUnknown:
        expect(unless_finds(trial.adapter.capabilities), "it declares that it finds payments by our id")
    else:
        expect_equal(fact, Fact(FactKind.NOT_FOUND), "the lookup")
        expect(not unless_finds(trial.adapter.capabilities), "it finds none, and declares that it cannot find")


@case()
def unknown_payment_is_not_found(trial: Trial) -> None:
    """A reference that the provider does not have, of any form, is not found."""
    nobody = trial.new_deposit()
    known = str(trial.created().reference)
    for reference in (known[:-4] + "zzzz", "nobody/../x?y=z#"):
        nobody.reference = reference
        expect_equal(trial.fetch(nobody), Fact(FactKind.NOT_FOUND), f"the lookup of {reference!r}")


@case()
def other_payment_is_not_taken_for_it(trial: Trial) -> None:
    """An answer about another payment than the one that was asked about is unusable."""
    other = trial.created()
    expect_error(
        lambda: trial.adapter.fetch(trial.account, Subject(trial.order().payment_id, other.reference)), UnexpectedAnswer
    )


@case(unless_reads_money)
def paid_payment_has_its_money(trial: Trial) -> None:
    """A paid payment's lookup says what came, in minor units."""
    deposit = trial.created()
    trial.happen(deposit, "pay")
    fact = trial.fetch(deposit)
    expect_equal(_money(fact), (FactKind.SUCCEEDED, MINOR, deposit.order.currency), "the lookup")
    expect(not fact.refunded_minor and not fact.movements, f"nothing was given back: {fact!r}")


@case()
def every_state_is_read(trial: Trial) -> None:
    """Every state that the provider publishes is the fact that it should be."""
    deposit = trial.created()
    trial.happen(deposit, "pay")
    for state, kind in trial.emulator.traits.states:
        trial.proxy.spoil(Fault(change=state))
        try:
            fact = trial.fetch(deposit)
        except ProviderCallFailed as error:
            raise ConformanceFailure(f"{state}: {error}") from error
        expect_equal(fact.kind, kind, f"{state}")
        trial.proxy.heal()


@case()
def unknown_state_is_not_guessed(trial: Trial) -> None:
    """A state that the provider does not publish is unusable, and its text is not taken for anything else."""
    deposit = trial.created()
    trial.proxy.spoil(Fault(change=trial.emulator.traits.unknown_state))
    expect_error(lambda: trial.fetch(deposit), UnexpectedAnswer)


@case()
def failed_lookup_says_nothing(trial: Trial) -> None:
    """A lookup that fails is never an answer: not that the payment is gone, nor that it is open."""
    deposit = trial.created()
    failures = [
        (Fault(False, status=500), OutcomeUnknown),
        (Fault(ending="half"), OutcomeUnknown),
        (Fault(ending="nothing"), OutcomeUnknown),
        (Fault(False, status=429), Throttled),
        (Fault(False, status=401), ProviderRefusedUs),
        (Fault(False, status=200, body=b"[]"), OutcomeUnknown),
        (Fault(False, status=200, body=b"{}"), OutcomeUnknown),
    ]
    for fault, kind in failures:
        trial.proxy.spoil(fault)
        expect_error(lambda: trial.fetch(deposit), kind)
        trial.proxy.heal()


@case()
def large_answer_is_bounded(trial: Trial) -> None:
    """An answer of more bytes than any payment has is not read to its end."""
    deposit = trial.created()
    trial.proxy.spoil(Fault(padding=8 * RESPONSE_BYTES_MAX))
    expect_error(lambda: trial.fetch(deposit), OutcomeUnknown)


@case()
def slow_answer_is_bounded(trial: Trial) -> None:
    """An answer that comes byte by byte is given up after the time that a call may take; a payment is made once."""
    known, made = trial.created(), trial.new_deposit()
    # An adapter with a transport of its own has its full time.
    limit_calls = getattr(trial.adapter, "limit_calls", None)
    longest = (TOTAL_SECONDS if limit_calls is None else _LIMIT_SECONDS) + _GRACE_SECONDS
    trial.proxy.spoil(*[Fault(ending="drip", drip_seconds=longest + _GRACE_SECONDS)] * 2)
    if limit_calls is not None:
        limit_calls(_LIMIT_SECONDS)
    started = time.monotonic()
    # Both at once: each takes its whole time.
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(trial.fetch, known), threads.submit(trial.create, made)]
        for call in calls:
            expect_error(call.result, OutcomeUnknown)
    expect(time.monotonic() - started < longest, "the call had no end")
    if limit_calls is not None:
        limit_calls(None)
    expect_equal((trial.create(made).kind, trial.count(made)), (FactKind.ACCEPTED, 1), "the next try")


@case()
def calls_share_the_adapter(trial: Trial) -> None:
    """One adapter serves many threads at once: each call gets its own answer."""
    deposits = [trial.created() for _ in range(8)]
    found: dict[TrialPayment, Fact | ProviderCallFailed] = {}

    def fetch(deposit: TrialPayment) -> None:
        try:
            found[deposit] = trial.fetch(deposit)
        except ProviderCallFailed as error:
            found[deposit] = error

    threads = [threading.Thread(target=fetch, args=(deposit,)) for deposit in deposits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for deposit in deposits:
        answer = found.get(deposit)
        expect(isinstance(answer, Fact) and answer.reference == deposit.reference, f"the lookup: {answer!r}")


def _money(fact: Fact) -> tuple[FactKind, int | None, str | None]:
    return fact.kind, fact.amount_minor, fact.currency
