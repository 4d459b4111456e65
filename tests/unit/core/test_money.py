"""Amounts: against the published list of currencies, and forth and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iso4217 import Currency

from app.core.money import (
    AMOUNT_MINOR_MAX,
    CURRENCY_DIGITS,
    AmountError,
    CurrencyError,
    currency_digits,
    format_amount,
    parse_amount,
    parse_exact_amount,
)

CURRENCIES = st.sampled_from(sorted(CURRENCY_DIGITS))
# Codes that the list has with a minor unit and that are no money in use: the testing code, and the absence of one.
NO_MONEY = {"XTS", "XXX"}


def test_the_digits_are_those_of_the_published_list() -> None:
    published = {entry.code: entry.exponent for entry in Currency if entry.exponent is not None}
    shared = published.keys() & CURRENCY_DIGITS.keys()
    assert {code: CURRENCY_DIGITS[code] for code in shared} == {code: published[code] for code in shared}
    # The package is of another edition than the list; both may know a code of which the other has not heard.
    assert len(shared) > 160
    assert not NO_MONEY & CURRENCY_DIGITS.keys()


@pytest.mark.parametrize(("currency", "digits"), [("JPY", 0), ("USD", 2), ("KWD", 3), ("CLF", 4)])
def test_known_digits(currency: str, digits: int) -> None:
    assert currency_digits(currency) == digits


@pytest.mark.parametrize("currency", ["XXX", "XTS", "XAU", "usd", "US", "USDD", "", " USD", "USD\n", None, 5, ["USD"]])
def test_what_is_no_currency_is_refused(currency: object) -> None:
    with pytest.raises(CurrencyError):
        parse_amount("1", currency)  # type: ignore[arg-type]


@given(minor=st.integers(1, AMOUNT_MINOR_MAX), currency=CURRENCIES)
def test_an_amount_comes_back_as_it_went_in(minor: int, currency: str) -> None:
    text = format_amount(minor, currency)
    digits = CURRENCY_DIGITS[currency]
    assert parse_amount(text, currency) == minor
    assert len(text.partition(".")[2]) == digits
    assert text.startswith("0") is (minor < 10**digits)


@given(minor=st.integers(-(10**18), 10**18), currency=CURRENCIES)
def test_balances_keep_their_sign(minor: int, currency: str) -> None:
    text = format_amount(minor, currency)
    assert int(text.replace(".", "")) == minor
    assert format_amount(-minor, currency) == (text.removeprefix("-") if minor <= 0 else "-" + text)


@pytest.mark.parametrize(
    ("amount", "minor"), [("25", 2500), ("25.5", 2550), ("25.50", 2550), ("0.01", 1), ("10000000000000", 10**15)]
)
def test_shorter_fractions_are_filled_up(amount: str, minor: int) -> None:
    assert parse_amount(amount, "USD") == minor


@pytest.mark.parametrize(
    "amount",
    [
        25,
        25.0,
        None,
        True,
        ["25.00"],
        "",
        " ",
        "25.00 ",
        " 25.00",
        "+25.00",
        "-25.00",
        "25.001",
        "2,5",
        "1e3",
        "1_000",
        "NaN",
        "Infinity",
        "0x10",
        ".5",
        "5.",
        "05.00",
        "00",
        "0",
        "0.00",
        "٢٥.٠٠",
        "25.00\n",
        "25.00\x00",
        "²",
        "10000000000000.01",
        "99999999999999999999999",
        "1" * 5000,
    ],
)
def test_what_is_no_plain_amount_is_refused(amount: object) -> None:
    with pytest.raises(AmountError):
        parse_amount(amount, "USD")


@given(st.text(max_size=12), CURRENCIES)
def test_whatever_is_accepted_is_spelled_in_digits(text: str, currency: str) -> None:
    try:
        minor = parse_amount(text, currency)
    except AmountError:
        return
    assert set(text) <= set("0123456789.")
    assert 0 < minor <= AMOUNT_MINOR_MAX


def test_decimals_beyond_the_currency_are_refused_even_as_zeros() -> None:
    for amount, currency in (("25.0", "JPY"), ("25.000", "USD"), ("25.0000", "KWD")):
        with pytest.raises(AmountError):
            parse_amount(amount, currency)


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("1000.00", "JPY", 1000),
        ("1000.", "JPY", None),
        ("25.000", "USD", 2500),
        ("25.0000000", "USD", 2500),
        ("0.5000", "KWD", 500),
        ("25", "USD", 2500),
        ("25.001", "USD", None),
        ("1000.50", "JPY", None),
        ("0.000", "USD", None),
        ("25.000 ", "USD", None),
        ("25.0e0", "USD", None),
        ("25.0.00", "USD", None),
        ("025.000", "USD", None),
        ("25." + "0" * 1_000, "USD", None),
        (25.0, "USD", None),
    ],
)
def test_a_providers_zeros_beyond_the_currencys_digits_mean_nothing(
    amount: object, currency: str, minor: int | None
) -> None:
    if minor is not None:
        assert parse_exact_amount(amount, currency) == minor
        return
    with pytest.raises(AmountError):
        parse_exact_amount(amount, currency)


def test_the_clients_own_amounts_keep_the_strict_rule() -> None:
    for amount, currency in (("1000.00", "JPY"), ("25.000", "USD")):
        with pytest.raises(AmountError):
            parse_amount(amount, currency)
