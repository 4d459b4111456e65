"""Amounts: decimal strings outside, integers in minor units inside, converted by the digits of ISO 4217."""

from __future__ import annotations

import re

# Minor-unit digits of ISO 4217 list one. Codes that are missing have none (XAU) or are no money (XXX, XTS).
_DIGITS_BY_COUNT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW"
        " CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF"
        " IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK"
        " MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP"
        " SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG"
        " YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
CURRENCY_DIGITS: dict[str, int] = {code: count for count, codes in _DIGITS_BY_COUNT.items() for code in codes.split()}

# CONTRACT section 3: no amount above 10^15 minor units, so that sums of thousands still fit a bigint.
AMOUNT_MINOR_MAX = 10**15

# Longer than any amount that a provider writes: 16 digits, the point and many zeros after it.
AMOUNT_CHARACTERS_MAX = 64

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,18})(?:\.([0-9]{1,4}))?", re.ASCII)


class AmountError(ValueError):
    """The amount is not a decimal string that the currency allows."""


class CurrencyError(ValueError):
    """The currency is not an ISO 4217 code with a minor unit."""


def currency_digits(currency: str) -> int:
    """Return the number of decimals of `currency`. Raise CurrencyError."""
    try:
        return CURRENCY_DIGITS[currency]
    except (KeyError, TypeError):
        raise CurrencyError("must be an upper-case ISO 4217 code with a minor unit") from None


def parse_amount(amount: object, currency: str) -> int:
    """Return the decimal string `amount` in minor units of `currency`, greater than zero, at most 10^15.

    Raise AmountError for anything but plain ASCII digits with at most the currency's decimals: numbers, signs,
    exponents, blanks and leading zeros are refused. Raise CurrencyError.
    """
    digits = currency_digits(currency)
    if not isinstance(amount, str):
        raise AmountError('must be a decimal string such as "25.00"')
    match = _DECIMAL.fullmatch(amount)
    if not match:
        raise AmountError('must be a decimal string such as "25.00", without sign, blank or exponent')
    whole, fraction = match.group(1), match.group(2) or ""
    if len(fraction) > digits:
        raise AmountError(f"has more than the {digits} decimals that {currency} has")
    minor = int(whole + fraction.ljust(digits, "0"))
    if minor <= 0:
        raise AmountError("must be greater than zero")
    if minor > AMOUNT_MINOR_MAX:
        raise AmountError(f"must be at most {format_amount(AMOUNT_MINOR_MAX, currency)} {currency}")
    return minor


def parse_exact_amount(amount: object, currency: str) -> int:
    """Return a provider's decimal string in minor units; zeros beyond the currency's digits are ignored.

    "1000.00" JPY is 1000 yen, exactly. All else is as parse_amount has it: any other digit beyond the
    currency's is refused. Raise AmountError and CurrencyError.
    """
    digits = currency_digits(currency)
    if isinstance(amount, str) and "." in amount and len(amount) <= AMOUNT_CHARACTERS_MAX:
        whole, _, fraction = amount.partition(".")
        if fraction[digits:].strip("0") == "" and len(fraction) > digits:
            amount = f"{whole}.{fraction[:digits]}" if digits else whole
    return parse_amount(amount, currency)


def format_money(minor: int, currency: str) -> str:
    """Return an amount as a person reads it, such as "25.00 USD"."""
    return f"{format_amount(minor, currency)} {currency}"


def format_amount(minor: int, currency: str) -> str:
    """Return `minor` units of `currency` as a decimal string with exactly the currency's digits."""
    digits = currency_digits(currency)
    sign = "-" if minor < 0 else ""
    text = str(abs(minor)).rjust(digits + 1, "0")
    return sign + (text if digits == 0 else f"{text[:-digits]}.{text[-digits:]}")
