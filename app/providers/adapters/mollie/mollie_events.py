"""Mollie's payments, refunds and chargebacks, and the signed events about them, as facts."""

from __future__ import annotations

import re
import urllib.parse
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.errors import UnexpectedAnswer, Unusable
from app.core.facts import Fact, FactKind
from app.core.money import AmountError, CurrencyError, parse_exact_amount
from app.core.redaction import redact
from app.core.validation.provider_values import is_redirect_url, is_reference
from app.providers.amounts import iso_table
from app.providers.calls.answer_fields import read_kept_id, read_own_id
from app.providers.events import Asks, Event, Ignored, Name, Told

# A SEPA direct debit settles or fails within some days; a payer's bank may take two weeks.
SETTLES_WITHIN_DAYS = 14

# https://docs.mollie.com/payments/multicurrency, with the digits of ISO 4217.
_TWO_DIGITS = "AED AUD BRL CAD CHF CZK DKK EUR GBP HKD HUF ILS MXN MYR NOK NZD PHP PLN RON SEK SGD THB TWD USD ZAR"
AMOUNTS = iso_table(dict.fromkeys(_TWO_DIGITS.split(), 2) | dict.fromkeys(("ISK", "JPY"), 0))

_OWN_ID = "payment_id"
_ZERO = re.compile(r"0+(?:\.0+)?", re.ASCII)
_PAYMENT_ID = re.compile(r"tr_[A-Za-z0-9]{1,60}", re.ASCII)
_CLASSIC_FIELD = "id"


def read_payment(body: Mapping[str, Any]) -> Fact:
    """Return the state of a payment. Raise UnexpectedAnswer where it cannot be read."""
    reference, status = read_kept_id(body), body.get("status")
    match status:
        case "open":
            url = _find(body, "_links", "checkout", "href")
            return Fact(FactKind.PENDING, reference, url if is_redirect_url(url) else None)
        case "authorized":
            # Money that is only reserved, and lapses unless it is captured.
            return Fact(FactKind.PENDING, reference)
        case "pending":
            return Fact(FactKind.COMMITTED, reference, settles_within_days=SETTLES_WITHIN_DAYS)
        case "paid":
            amount_minor, currency = read_amount(body, "amount")
            return Fact(FactKind.SUCCEEDED, reference, amount_minor=amount_minor, currency=currency)
        case "failed":
            return Fact(FactKind.DECLINED, reference)
        case "canceled" | "expired":
            return Fact(FactKind.CANCELLED, reference, is_expiry=status == "expired")
    raise UnexpectedAnswer(f"the provider's payment has an unknown status: {redact(str(status)[:40])!r}", "status")


def read_amount(body: Mapping[str, Any], field: str) -> tuple[int, str]:
    """Return `{"currency", "value"}` as (minor units, currency); the value may be zero. Raise UnexpectedAnswer."""
    shown = body.get(field)
    shown = shown if isinstance(shown, dict) else {}
    value, currency = shown.get("value"), str(shown.get("currency"))
    try:
        AMOUNTS.to_minor(0, currency)
        is_zero = isinstance(value, str) and _ZERO.fullmatch(value) is not None
        return 0 if is_zero else parse_exact_amount(value, currency), currency
    except (AmountError, CurrencyError) as error:
        raise UnexpectedAnswer(f"the provider's object has an unreadable amount: {error}", field) from error


def find_own_id(body: Mapping[str, Any]) -> uuid.UUID | None:
    """Return our payment id, which a payment has in its metadata."""
    return read_own_id(_find(body, "metadata", _OWN_ID))


def name_payment(body: Any) -> Name | None:
    """Return the payment that an event is about: our id, or Mollie's where it shows a refund. Raise nothing."""
    shown = _find(body, "_embedded", "entity")
    if not isinstance(shown, dict):
        return _keep_name(_find(body, "entityId"))
    if shown.get("resource") == "payment":
        return find_own_id(shown) or _keep_name(shown.get("id"))
    return _keep_name(shown.get("paymentId"))


def read_classic(body: bytes) -> Name | None:
    """Return the payment that a classic webhook names in its form, None where it names none. Raise nothing."""
    try:
        fields = urllib.parse.parse_qsl(body.decode("ascii"), max_num_fields=16)
    except ValueError:
        return None
    named = [value for name, value in fields if name == _CLASSIC_FIELD]
    # Two are none: which of them is meant?
    return _keep_name(named[0]) if len(named) == 1 else None


def translate(body: Mapping[str, Any]) -> Sequence[Event]:
    """Return what a signed event says. Raise Unusable."""
    kind, name = body.get("type"), name_payment(body)
    if not isinstance(kind, str):
        raise Unusable("the event has no type")
    about, _, _ = kind.partition(".")
    if about not in ("payment", "refund", "chargeback"):
        return (Ignored("of no interest"),)
    if name is None:
        return (Ignored("no payment of ours"),)
    shown = _find(body, "_embedded", "entity")
    if about != "payment" or not isinstance(shown, dict):
        # What was given back is read with the payment.
        return (Asks(name),)
    if not isinstance(name, uuid.UUID):
        return (Ignored("no payment of ours"),)
    try:
        return (Told(name, read_payment(shown), is_live=_read_mode(shown)),)
    except UnexpectedAnswer as error:
        raise Unusable(str(error)) from None


def _read_mode(shown: Mapping[str, Any]) -> bool:
    mode = shown.get("mode")
    if mode not in ("live", "test"):
        raise Unusable("the event does not say whether it is about real money")
    return bool(mode == "live")


def _keep_name(value: object) -> str | None:
    return value if isinstance(value, str) and _PAYMENT_ID.fullmatch(value) and is_reference(value) else None


def _find(body: Any, *path: str) -> Any:
    """Return what is at `path` in nested objects, None where something on the way is no object."""
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return body
