"""Amounts: integers of minor units in rows, decimal strings in JSON."""

from __future__ import annotations

import re

from sandbox.values.refusal import Refusal

# ISO 4217 minor units that are not two. A payment app renders amounts with exactly these digits, and a receiver may
# refuse any other form.
_NO_DIGITS = (
    *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"),
    *("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"),
)
_THREE_DIGITS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
_FOUR_DIGITS = ("CLF", "UYW")
_DIGITS = dict.fromkeys(_NO_DIGITS, 0) | dict.fromkeys(_THREE_DIGITS, 3) | dict.fromkeys(_FOUR_DIGITS, 4)
_AMOUNT = re.compile(r"(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,4})?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
# The largest amount of CONTRACT section 3; far below SQLite's 64-bit limit.
MAX_MINOR = 10**15


def digits(currency: str) -> int:
    """Return the number of decimals of the currency."""
    return _DIGITS.get(currency, 2)


def parse_currency(value: object, field: str = "currency") -> str:
    """Check a currency code. Raise Refusal 422."""
    if isinstance(value, str) and _CURRENCY.fullmatch(value):
        return value
    raise Refusal(422, "invalid_field", f"{field} must be three upper-case letters")


def parse(value: object, currency: str, field: str = "amount") -> int:
    """Read a decimal string as minor units of the currency.

    Raise Refusal 422 unless it is above zero, at most 10^15 minor units and has no digit too many.
    """
    if isinstance(value, str) and _AMOUNT.fullmatch(value):
        whole, _, fraction = value.partition(".")
        if len(fraction) <= digits(currency):
            minor = int(whole + fraction.ljust(digits(currency), "0"))
            if 0 < minor <= MAX_MINOR:
                return minor
    raise Refusal(422, "invalid_field", f"{field} must be a decimal string in {currency}, above zero")


def rescale(value: int, digits_from: int, digits_to: int) -> int | None:
    """Return an amount in units of other digits, None where it is no whole number of them."""
    if digits_to >= digits_from:
        return int(value * 10 ** (digits_to - digits_from))
    scaled, rest = divmod(value, 10 ** (digits_from - digits_to))
    return None if rest else int(scaled)


def render(minor: int, currency: str) -> str:
    """Return minor units as a decimal string with exactly the currency's digits."""
    places = digits(currency)
    if places == 0:
        return str(minor)
    text = str(minor).rjust(places + 1, "0")
    return f"{text[:-places]}.{text[-places:]}"


def render_grouped(minor: int, currency: str) -> str:
    """Return minor units as a decimal string with thousands divided by commas."""
    whole, dot, fraction = render(minor, currency).partition(".")
    return f"{int(whole):,}{dot}{fraction}"
