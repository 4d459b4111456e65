"""Cases about creating a payment, when all goes well and when answers are lost."""

from __future__ import annotations

import datetime
from functools import partial

from app.conformance.case import case, expect, expect_equal, expect_error, unless_replays
from app.conformance.proxy import Fault
from app.conformance.trial import HOUR, Trial, TrialPayment
from app.core.errors import (
    NotSent,
    OutcomeUnknown,
    ProviderCallFailed,
    ProviderRefusedUs,
    Throttled,
    Unavailable,
    UnexpectedAnswer,
)
from app.core.facts import FactKind
from app.core.validation.provider_values import is_redirect_url

# Refusals in the forms of several providers, whose codes none of them has.
_UNKNOWN_REFUSALS = (
    *(b"{}", b"[]", b"refused", b'{"error": {"code": "melted", "message": "no"}}'),
    *(b'{"code": "melted", "message": "no"}', b'{"errorCode": "0", "message": "no"}'),
    *(b'{"name": "MELTED", "message": "no"}', b'{"detail": "no"}'),
)
# What the provider says of a mistake of ours, which no payer may read.
_INTERNAL = "return_address is not one of this account"
_RETRY_AFTER = 7
# As many as an adapter makes to create one payment.
_CALLS_MAX = 4


@case(unless_replays)
def created_once(trial: Trial) -> None:
    """The same create call twice makes one payment, and its answers agree."""
    deposit = trial.new_deposit()
    first, again = (trial.create(deposit) for _ in range(2))
    expect(first.kind is FactKind.ACCEPTED and first.reference, f"create: {first!r}, not accepted with a reference")
    expect(first.redirect_url is None or is_redirect_url(first.redirect_url), f"redirect_url: {first.redirect_url!r}")
    expect_equal((again.reference, again.redirect_url), (first.reference, first.redirect_url), "the second answer")
    expect_equal(trial.count(deposit), 1, "payments at the provider")


@case(unless_replays)
def request_has_the_same_bytes(trial: Trial) -> None:
    """The same order gives the same bytes, and every try sends the same ones."""
    order = trial.order()
    deposit = TrialPayment(order, trial.adapter.build_request(order))
    expect_equal(trial.adapter.build_request(order), deposit.request, "the request built again")
    for _ in range(2):
        trial.create(deposit)
    sent = [call.body for call in trial.proxy.sent if call.method != "GET"]
    expect_equal(sent[: len(sent) // 2], sent[len(sent) // 2 :], "the bytes of the second try")


@case()
def lost_answer_is_no_second_payment(trial: Trial) -> None:
    """A create call that took effect and was never answered has an unknown outcome; a next try makes no second one."""
    _fail_once(trial, Fault(ending="nothing"), OutcomeUnknown)


@case()
def server_error_is_asked_again(trial: Trial) -> None:
    """A server error, with or without effect, is an unknown outcome of a provider that is out of order."""
    for has_effect in (False, True):
        _fail_once(trial, Fault(has_effect, status=503), Unavailable)


@case()
def torn_answer_is_asked_again(trial: Trial) -> None:
    """Half an answer is an unknown outcome, and a gateway's page in place of one that of a provider out of order."""
    _fail_once(trial, Fault(ending="half"), OutcomeUnknown)
    _fail_once(trial, Fault(page=b"<html>Bad gateway</html>"), Unavailable)


@case()
def redirect_is_not_followed(trial: Trial) -> None:
    """A redirect is not followed: our credentials go to the configured address only."""
    target = f"http://{trial.proxy.host}/elsewhere"
    _fail_once(trial, Fault(False, status=307, headers={"Location": target}), Unavailable)
    expect(all(call.path != "/elsewhere" for call in trial.proxy.sent), "the redirect was followed")


@case()
def throttled_is_not_sent(trial: Trial) -> None:
    """Being throttled is no outcome, and the seconds of Retry-After come with it."""
    fault = Fault(False, status=429, headers={"Retry-After": str(_RETRY_AFTER)})
    error = _fail_once(trial, fault, Throttled)
    expect_equal(error.retry_after_seconds, _RETRY_AFTER, "the seconds to wait")


@case()
def nothing_is_sent_to_a_closed_port(trial: Trial) -> None:
    """A provider that cannot be reached was surely not asked."""
    deposit = trial.new_deposit()
    trial.proxy.close()
    expect_error(lambda: trial.create(deposit), NotSent)


@case()
def refused_key_is_ours_to_mend(trial: Trial) -> None:
    """Credentials that the provider does not know are refused for a person to mend, and no payment fails for it."""
    deposit = trial.new_deposit()
    expect_error(lambda: trial.adapter.create(trial.stranger, deposit.id, deposit.request), ProviderRefusedUs)
    expect_equal(trial.count(deposit), 0, "payments at the provider")
    for status in (401, 403):
        trial.proxy.spoil(Fault(False, status=status))
        expect_error(lambda: trial.create(deposit), ProviderRefusedUs)
        trial.proxy.heal()


@case()
def mistake_of_ours_is_not_the_payers(trial: Trial) -> None:
    """A refused field that the adapter made is for a person to mend: the payment does not fail for it."""
    deposit = trial.new_deposit()
    status, body = trial.emulator.traits.mistake(_INTERNAL)
    trial.proxy.spoil(Fault(False, status=status, body=body))
    error = expect_error(lambda: trial.create(deposit), ProviderRefusedUs)
    expect(_INTERNAL in str(error), f"operators do not read what was refused, but {error}")


@case()
def unknown_refusal_is_no_decline(trial: Trial) -> None:
    """A refusal that says nothing known is never the payer's: the payment does not fail for it."""
    for status in (400, 422):
        for body in _UNKNOWN_REFUSALS:
            deposit = trial.new_deposit()
            trial.proxy.spoil(*[Fault(False, status=status, body=body)] * _CALLS_MAX)
            expect_error(partial(trial.create, deposit), ProviderRefusedUs, OutcomeUnknown)
            trial.proxy.heal()


@case()
def key_in_use_is_asked_again(trial: Trial) -> None:
    """A conflict with a first call that is still under way is an unknown outcome: the next try makes the payment."""
    for body in (b"{}", trial.emulator.traits.mistake(_INTERNAL)[1]):
        _fail_once(trial, Fault(False, status=409, body=body), OutcomeUnknown)


@case()
def unusable_page_is_not_offered(trial: Trial) -> None:
    """A payment page that no browser may follow is never offered: not by the create call, and not by a lookup."""
    spoiled = [Fault(change=trial.emulator.traits.unusable_page)] * _CALLS_MAX
    deposit = trial.new_deposit()
    trial.proxy.spoil(*spoiled)
    expect_error(partial(trial.create, deposit), UnexpectedAnswer)
    trial.proxy.heal()
    fact = trial.create(deposit)
    expect(fact.kind is FactKind.ACCEPTED and is_redirect_url(fact.redirect_url), f"the next try: {fact!r}")
    expect_equal(trial.count(deposit), 1, "payments at the provider")
    trial.proxy.spoil(*spoiled)
    try:
        expect_equal(trial.fetch(deposit).redirect_url, None, "the page of the lookup")
    except UnexpectedAnswer:
        return


@case()
def any_life_is_taken(trial: Trial) -> None:
    """A payment that ends in a minute or in a year is created: the adapter asks for a life that the provider takes."""
    now = datetime.datetime.now(datetime.UTC)
    for life in (datetime.timedelta(minutes=1), 365 * 24 * HOUR):
        order = trial.order(created_at=now, expires_at=now + life)
        deposit = TrialPayment(order, trial.adapter.build_request(order))
        expect(trial.create(deposit).kind is FactKind.ACCEPTED, f"a life of {life} is refused")


@case()
def full_metadata_is_taken(trial: Trial) -> None:
    """Metadata up to the declared bounds, in any script and with any sign, does not get a payment refused."""
    bounds = trial.adapter.capabilities
    key, value = "[k]" + "x" * bounds.metadata_key_length_max, "ä€\U0001f600&=" * bounds.metadata_value_length_max
    pairs = {
        f"{number:02d}{key}"[: bounds.metadata_key_length_max]: value[: bounds.metadata_value_length_max]
        for number in range(bounds.metadata_pairs_max)
    }
    order = trial.order(metadata=pairs)
    deposit = TrialPayment(order, trial.adapter.build_request(order))
    expect(trial.create(deposit).kind is FactKind.ACCEPTED, "full metadata is refused")


def _fail_once(trial: Trial, fault: Fault, kind: type[ProviderCallFailed]) -> ProviderCallFailed:
    """Spoil one create call, which must raise `kind`; the next one makes the one payment. Return the error."""
    deposit = trial.new_deposit()
    trial.proxy.spoil(fault)
    error = expect_error(lambda: trial.create(deposit), kind)
    trial.proxy.heal()
    fact = trial.create(deposit)
    expect(fact.kind is FactKind.ACCEPTED, f"the next try: {fact!r}")
    expect_equal(trial.count(deposit), 1, "payments at the provider")
    assert isinstance(error, ProviderCallFailed)  # noqa: S101  # nosec B101  # narrows the type
    return error
