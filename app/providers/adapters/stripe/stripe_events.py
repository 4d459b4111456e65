"""Stripe's objects and events as facts."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from app.core.errors import UnexpectedAnswer, Unusable
from app.core.facts import Fact, FactKind
from app.core.redaction import redact
from app.core.validation.provider_values import is_redirect_url, is_reference
from app.providers.amounts import AmountTable
from app.providers.calls.answer_fields import clean_message, keep_ids, read_kept_id, read_own_id, read_units
from app.providers.events import Event, Ignored, Name, Told

# A SEPA direct debit may come back after fourteen days at the latest, a voucher is paid sooner.
SETTLES_WITHIN_DAYS = 14

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
AMOUNTS = AmountTable(
    dict.fromkeys(_WHOLE.split(), 0) | dict.fromkeys(_TWO_DIGITS.split(), 2) | dict.fromkeys(_THREE_DIGITS.split(), 3),
    steps=dict.fromkeys(_THREE_DIGITS.split(), 10),
)

_COMPLETED = frozenset({"checkout.session.completed", "checkout.session.async_payment_succeeded"})
_ASYNC_FAILED = "checkout.session.async_payment_failed"
_EXPIRED = "checkout.session.expired"
_ATTEMPT_FAILED = "payment_intent.payment_failed"
_REFUNDED = "charge.refunded"
# What moves money that no fact reports yet: a person has to see it.
_UNBOOKED = frozenset({"charge.dispute.funds_withdrawn", "charge.dispute.funds_reinstated", "refund.failed"})


# What an endpoint at Stripe has to send.
EVENTS = sorted(_COMPLETED | _UNBOOKED | {_ASYNC_FAILED, _EXPIRED, _ATTEMPT_FAILED, _REFUNDED})


def read_money(body: Mapping[str, Any], field: str) -> tuple[int, str]:
    """Return an amount as (minor units, currency). Raise UnexpectedAnswer."""
    return read_units(AMOUNTS, body, field)


def read_session(body: Mapping[str, Any]) -> Fact:
    """Return the state of a Checkout Session. Raise UnexpectedAnswer where it cannot be read."""
    reference, aliases = read_kept_id(body), keep_ids(body.get("payment_intent"))
    status, is_paid = body.get("status"), body.get("payment_status") == "paid"
    if status == "open":
        url = body.get("url")
        return Fact(FactKind.PENDING, reference, url if is_redirect_url(url) else None, aliases=aliases)
    if status == "expired":
        return Fact(FactKind.CANCELLED, reference, is_expiry=True, aliases=aliases)
    if status == "complete" and is_paid:
        amount_minor, currency = read_money(body, "amount_total")
        return Fact(FactKind.SUCCEEDED, reference, amount_minor=amount_minor, currency=currency, aliases=aliases)
    if status == "complete" and body.get("payment_status") == "unpaid":
        return Fact(FactKind.COMMITTED, reference, settles_within_days=SETTLES_WITHIN_DAYS, aliases=aliases)
    raise UnexpectedAnswer(f"the provider's session has an unknown status: {redact(str(status)[:40])!r}", "status")


def name_payment(body: Any) -> Name | None:
    """Return the payment that an event's object names: our id, or a payment intent. Raise nothing."""
    data = body.get("data") if isinstance(body, dict) else None
    shown = data.get("object") if isinstance(data, dict) else None
    if not isinstance(shown, dict):
        return None
    intent = shown.get("payment_intent")
    return _read_own_id(shown) or (intent if is_reference(intent) else None)


def translate(body: Mapping[str, Any]) -> Event:
    """Return what an event says. Raise Unusable."""
    kind, data = body.get("type"), body.get("data")
    shown = data.get("object") if isinstance(data, dict) else None
    if not isinstance(kind, str) or not isinstance(shown, dict):
        raise Unusable("the event has no type or no object")
    if kind in _UNBOOKED:
        raise Unusable(f"{kind} moves money, and is not booked by itself")
    if kind not in _COMPLETED | {_ASYNC_FAILED, _EXPIRED, _ATTEMPT_FAILED, _REFUNDED}:
        return Ignored("of no interest")
    payment_id = _read_own_id(shown)
    if payment_id is None:
        return Ignored("no payment of ours")
    is_live = body.get("livemode")
    if not isinstance(is_live, bool):
        raise Unusable("the event does not say whether it is about real money")
    try:
        return Told(payment_id, _read_fact(kind, shown), is_live=is_live)
    except UnexpectedAnswer as error:
        raise Unusable(str(error)) from None


def _read_fact(kind: str, shown: Mapping[str, Any]) -> Fact:
    if kind == _ATTEMPT_FAILED:
        return Fact(FactKind.ATTEMPT_DECLINED, message=_read_message(shown), aliases=keep_ids(shown.get("id")))
    if kind == _REFUNDED:
        amount_minor, currency = read_money(shown, "amount_refunded")
        aliases = keep_ids(shown.get("payment_intent"), shown.get("id"))
        return Fact(FactKind.REFUNDED, amount_minor=amount_minor, currency=currency, aliases=aliases)
    reference, aliases = read_kept_id(shown), keep_ids(shown.get("payment_intent"))
    if kind == _ASYNC_FAILED:
        return Fact(FactKind.DECLINED, reference, aliases=aliases)
    if kind == _EXPIRED:
        return Fact(FactKind.CANCELLED, reference, is_expiry=True, aliases=aliases)
    fact = read_session(shown)
    if fact.kind not in (FactKind.SUCCEEDED, FactKind.COMMITTED):
        raise UnexpectedAnswer(f"the event '{kind}' shows a session that is {fact.kind}", "status")
    return fact


def _read_own_id(shown: Mapping[str, Any]) -> uuid.UUID | None:
    """Return our id: sessions have it in a field of their own, payment intents and charges in their metadata."""
    metadata = shown.get("metadata")
    named = metadata.get("payment_id") if isinstance(metadata, dict) else None
    return read_own_id(shown.get("client_reference_id")) if "client_reference_id" in shown else read_own_id(named)


def _read_message(shown: Mapping[str, Any]) -> str | None:
    error = shown.get("last_payment_error")
    message = error.get("message") if isinstance(error, dict) else None
    return clean_message(message)
