"""Amounts go to a provider's units and back without a loss, for every currency, or are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.money import AMOUNT_MINOR_MAX, CURRENCY_DIGITS, AmountError, CurrencyError
from app.providers.amounts import AmountTable, iso_table
from app.providers.registry import load_registry

# Digits as real providers have them: fewer than ISO 4217, as many, more; and amounts that must end in 0.
ODD = AmountTable(
    {"MGA": 0, "HUF": 0, "IDR": 0, "JPY": 0, "ISK": 2, "UGX": 2, "USD": 2, "KWD": 3, "BHD": 3, "CLF": 2},
    steps={"KWD": 10},
)
TABLES = {"odd": ODD} | {
    name: adapter.capabilities.amounts for name, adapter in load_registry(frozenset()).adapters.items()
}
CASES = [(name, currency) for name, table in TABLES.items() for currency in sorted(table.currencies)]
MINOR = st.integers(1, AMOUNT_MINOR_MAX) | st.integers(1, AMOUNT_MINOR_MAX // 1000).map(lambda one: one * 1000)


@pytest.mark.parametrize(("name", "currency"), CASES)
@settings(max_examples=25)
@given(minor=MINOR)
def test_what_is_sent_comes_back_the_same(name: str, currency: str, minor: int) -> None:
    table = TABLES[name]
    have, want = CURRENCY_DIGITS[currency], table.digits[currency]
    step = table.steps.get(currency, 1)
    try:
        units = table.to_units(minor, currency)
    except AmountError:
        # Only an amount that has no exact name there is refused.
        assert minor * 10**want % (10**have * step)
        return
    # The same money: units of 10^-want are minor units of 10^-have.
    assert units * 10**have == minor * 10**want
    assert units % step == 0
    assert table.to_minor(units, currency) == minor


@pytest.mark.parametrize(("name", "currency"), CASES)
@settings(max_examples=25)
@given(units=st.integers(0, AMOUNT_MINOR_MAX))
def test_what_is_told_is_read_exactly_or_refused(name: str, currency: str, units: int) -> None:
    table = TABLES[name]
    have, want = table.digits[currency], CURRENCY_DIGITS[currency]
    try:
        minor = table.to_minor(units, currency)
    except AmountError:
        assert units * 10**want % 10**have or units * 10**want > AMOUNT_MINOR_MAX * 10**have
        return
    assert minor * 10**have == units * 10**want


@pytest.mark.parametrize(
    ("currency", "minor", "units"),
    [("MGA", 500, 5), ("ISK", 5, 500), ("UGX", 5, 500), ("JPY", 500, 500), ("USD", 2550, 2550), ("KWD", 2550, 2550)],
)
def test_known_amounts(currency: str, minor: int, units: int) -> None:
    assert ODD.to_units(minor, currency) == units
    assert ODD.to_minor(units, currency) == minor


@pytest.mark.parametrize(("currency", "minor"), [("MGA", 550), ("HUF", 1), ("KWD", 2555), ("USD", 0), ("USD", -1)])
def test_an_amount_that_does_not_fit_is_refused(currency: str, minor: int) -> None:
    with pytest.raises(AmountError):
        ODD.to_units(minor, currency)


@pytest.mark.parametrize("units", [-1, 25.0, "2500", True, None, AMOUNT_MINOR_MAX + 1])
def test_what_is_no_amount_is_refused(units: object) -> None:
    with pytest.raises(AmountError):
        ODD.to_minor(units, "USD")


def test_more_digits_than_the_currency_has_are_refused_unless_they_are_zero() -> None:
    with pytest.raises(AmountError):
        ODD.to_minor(550, "UGX")
    # Money that came is read although it could not be asked for.
    assert ODD.to_minor(2555, "KWD") == 2555


def test_a_currency_that_the_table_lacks_is_refused() -> None:
    for convert in (ODD.to_units, ODD.to_minor):
        with pytest.raises(CurrencyError):
            convert(100, "EUR")


def test_a_table_has_currencies_with_a_minor_unit_only() -> None:
    with pytest.raises(CurrencyError):
        AmountTable({"XXX": 2})
    for steps in ({"EUR": 10}, {"USD": 0}):
        with pytest.raises(ValueError, match="step"):
            AmountTable({"USD": 2}, steps)
    assert iso_table(CURRENCY_DIGITS).currencies == CURRENCY_DIGITS.keys()


def test_bounds_are_of_deposits_alone() -> None:
    table = AmountTable({"USD": 2}, least={"USD": 50}, most={"USD": 999})
    assert [table.to_asked_units(minor, "USD") for minor in (50, 999)] == [50, 999]
    # What goes back, or came, may be less or more.
    assert [table.to_units(minor, "USD") for minor in (1, 1000)] == [1, 1000]
    assert table.to_minor(1000, "USD") == 1000
    with pytest.raises(CurrencyError):
        table.to_asked_units(50, "EUR")


@pytest.mark.parametrize(
    "bounds",
    [{"least": {"USD": 0}}, {"least": {"EUR": 1}}, {"most": {"EUR": 1}}, {"least": {"USD": 3}, "most": {"USD": 2}}],
)
def test_bounds_that_hold_no_amount_are_refused(bounds: dict[str, dict[str, int]]) -> None:
    with pytest.raises(ValueError, match="bound"):
        AmountTable({"USD": 2}, **bounds)
