"""Cases about amounts: to the provider and back, in every currency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from app.conformance.case import ConformanceFailure, case, expect, expect_equal, expect_error
from app.conformance.trial import Trial, TrialPayment
from app.core.errors import ProviderCallFailed
from app.core.facts import FactKind
from app.core.money import CURRENCY_DIGITS, AmountError, CurrencyError, currency_digits
from app.providers import Capabilities, Name, Told
from app.providers.amounts import AmountTable

# Hundreds of payments would take minutes: every currency once, with each of its digits in use.
_MAJOR = 1_230


@case()
def every_currency_arrives_as_asked(trial: Trial) -> None:
    """In every currency that the adapter takes, lookups and webhooks report the amount asked for."""
    deposits = [_create(trial, currency) for currency in sorted(_currencies(trial))]
    for deposit in deposits:
        trial.emulator.happen(str(deposit.id), "pay")
    told = _read_successes(trial, deposits)
    for deposit in deposits:
        asked = (deposit.order.amount_minor, deposit.order.currency)
        truth = trial.emulator.read_truth(str(deposit.id))
        expect_equal((truth.received_minor, truth.received_currency), asked, "what the payer was asked for")
        if trial.adapter.capabilities.reads_money:
            expect_equal(_read_money(trial, deposit), asked, "what the lookup says")
        expect(told.get(deposit.id, {asked}) == {asked}, f"a webhook says {told.get(deposit.id)}, not {asked}")


def _create(trial: Trial, currency: str) -> TrialPayment:
    try:
        return trial.created(_ask(trial.adapter.capabilities, currency), currency)
    except (ProviderCallFailed, AmountError, CurrencyError, ConformanceFailure) as error:
        raise ConformanceFailure(f"{currency}: {error}") from error


def _read_money(trial: Trial, deposit: TrialPayment) -> tuple[int | None, str | None]:
    try:
        fact = trial.fetch(deposit)
    except ProviderCallFailed as error:
        raise ConformanceFailure(f"{deposit.order.currency}: {error}") from error
    return fact.amount_minor, fact.currency


def _read_successes(trial: Trial, deposits: Sequence[TrialPayment]) -> dict[Name, set[tuple[int | None, str | None]]]:
    """Return the money of the successes that webhooks report, by the payment's id."""
    for deposit in deposits:
        trial.emulator.await_webhooks(str(deposit.id))
    ids: dict[Name | None, Name] = {each.reference: each.id for each in deposits}
    told: dict[Name, set[tuple[int | None, str | None]]] = {}
    for event in (event for arrival in trial.arrivals.take() for event in trial.read(arrival)):
        if isinstance(event, Told) and event.fact.kind is FactKind.SUCCEEDED:
            money = (event.fact.amount_minor, event.fact.currency)
            told.setdefault(ids.get(event.name, event.name), set()).add(money)
    return told


@case()
def other_currency_is_refused(trial: Trial) -> None:
    """A currency that the adapter does not take is refused before anything is sent."""
    others = sorted(CURRENCY_DIGITS.keys() - _currencies(trial))
    for currency in others:
        expect_error(partial(trial.new_deposit, 2_500, currency), CurrencyError)
    expect_error(partial(trial.new_deposit, 2_500, "QQQ"), CurrencyError)
    expect(not trial.proxy.sent, "a call was made")


@case()
def unspeakable_amount_is_refused(trial: Trial) -> None:
    """Nothing, less than nothing, and what the provider's units cannot say are refused, never rounded."""
    table = trial.adapter.capabilities.amounts
    expect_error(partial(trial.new_deposit, 0), AmountError)
    for currency, digits in table.digits.items():
        if digits < currency_digits(currency) or table.steps.get(currency, 1) > 1:
            expect_error(partial(trial.new_deposit, 1, currency), AmountError)
    for currency, within, beyond in _list_bounds(table):
        trial.new_deposit(table.to_minor(within, currency), currency)
        expect_error(partial(trial.new_deposit, table.to_minor(beyond, currency), currency), AmountError)


def _list_bounds(table: AmountTable) -> Iterator[tuple[str, int, int]]:
    """Yield a currency, an amount that its bound allows, and the next one, in units that can be asked for."""
    for currency, digits in table.digits.items():
        step = max(table.steps.get(currency, 1), 10 ** max(0, digits - currency_digits(currency)))
        if currency in table.least:
            within = -(-table.least[currency] // step) * step
            yield currency, within, within - step
        if currency in table.most:
            within = table.most[currency] // step * step
            yield currency, within, within + step


def _currencies(trial: Trial) -> frozenset[str]:
    return trial.adapter.capabilities.amounts.currencies


def _ask(capabilities: Capabilities, currency: str) -> int:
    """Return an amount with as many decimals as both the currency and the provider's units have."""
    table, digits = capabilities.amounts, currency_digits(currency)
    used = min(digits, table.digits[currency])
    # The last decimal is 0 where the provider takes multiples only.
    decimals: int = {0: 0, 1: 4, 2: 45, 3: 450, 4: 4_500}[used]
    return int(_MAJOR * 10**digits + decimals * 10 ** (digits - used))
