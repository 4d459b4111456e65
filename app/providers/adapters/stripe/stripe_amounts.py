"""Stripe's amounts: which currencies it takes, and with how many digits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.providers.amounts import AmountTable
from app.providers.calls.answer_fields import read_units

# https://docs.stripe.com/currencies. Amounts in these are whole; ISO 4217 gives MGA two digits.
_WHOLE = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"
# ISK and UGX are whole, and sent with two digits all the same ("5 ISK = 500").
_TWO_DIGITS = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY COP CRC CVE CZK"
    " DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD KES KGS KHR KYD KZT"
    " LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR"
    " PLN QAR RON RSD RUB SAR SBD SCR SEK SGD SHP SLE SOS SRD SZL THB TJS TOP TRY TTD TWD TZS UAH UGX USD UYU UZS WST"
    " XCD XCG YER ZAR ZMW"
)
# The last of the three digits is 0.
_THREE_DIGITS = "BHD JOD KWD OMR TND"
_DIGITS = AmountTable.by_digits(_WHOLE, _TWO_DIGITS, _THREE_DIGITS, three_step=10)
# A card payment has at most twelve digits, and other methods have fewer. The least is that of the currency in which the
# account is paid out, after conversion, and some methods have less: it cannot be said of a currency.
AMOUNTS = replace(_DIGITS, most=dict.fromkeys(_DIGITS.digits, 999_999_999_999))


def read_money(body: Mapping[str, Any], field: str) -> tuple[int, str]:
    """Return an amount as (minor units, currency). Raise UnexpectedAnswer."""
    return read_units(AMOUNTS, body, field)
