"""Mollie's payments, refunds and chargebacks, and the signed events about them, as facts."""

from __future__ import annotations

import re
import urllib.parse
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.errors import UnexpectedAnswer, Unusable
from app.core.facts import DisputeReport, Fact, FactKind, Movement
from app.core.money import AmountError, CurrencyError, parse_exact_amount
from app.core.redaction import redact
from app.core.reversals import disputes
from app.core.validation.provider_values import is_redirect_url, is_reference
from app.providers.amounts import iso_table
from app.providers.calls.answer_fields import clean_message, read_kept_id, read_own_id
from app.providers.calls.given_back import as_facts, list_movements
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


def read_movements(body: Mapping[str, Any]) -> tuple[Movement, ...]:
    """Return the money of a payment that went back or came again, as its refunds and chargebacks in it say.

    A refund that failed had left the account and is back; one that is still under way has moved nothing. Raise
    UnexpectedAnswer.
    """
    moved: list[Movement] = []
    for refund in _rows(body, "refunds"):
        if refund.get("status") in ("refunded", "failed"):
            moved += _read_cycle(refund, has_returned=refund.get("status") == "failed")
    for chargeback in _rows(body, "chargebacks"):
        moved += _read_cycle(chargeback, has_returned=_is_reversed(chargeback))
    return tuple(moved)


def read_disputes(body: Mapping[str, Any]) -> tuple[DisputeReport, ...]:
    """Return the chargebacks of a payment as disputes: open until they are reversed. Raise UnexpectedAnswer.

    Mollie does not say that one is lost.
    """
    return tuple(
        DisputeReport(
            read_kept_id(shown),
            "won" if _is_reversed(shown) else "opened",
            clean_message(_find(shown, "reason", "description")),
        )
        for shown in _rows(body, "chargebacks")
    )


def _is_reversed(chargeback: Mapping[str, Any]) -> bool:
    return chargeback.get("reversedAt") is not None


def has_moved(body: Mapping[str, Any]) -> bool:
    """Return whether a payment may have refunds or chargebacks, by its links to them and the sums that it shows.

    The sums fall when money comes again.
    """
    if _find(body, "_links", "refunds") or _find(body, "_links", "chargebacks"):
        return True
    return any(body.get(name) and read_amount(body, name)[0] for name in ("amountRefunded", "amountChargedBack"))


def _rows(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    rows = _find(body, "_embedded") or {}
    rows = rows.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UnexpectedAnswer("the provider's payment has an unreadable list", name)
    return rows


def _read_cycle(shown: Mapping[str, Any], *, has_returned: bool) -> tuple[Movement, ...]:
    return list_movements(read_kept_id(shown), *read_amount(shown, "amount"), is_undone=has_returned)


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
    if not isinstance(shown, dict):
        # An event that only names its object.
        return (Asks(name),)
    if about == "payment" and not isinstance(name, uuid.UUID):
        return (Ignored("no payment of ours"),)
    try:
        if about == "payment":
            return (Told(name, read_payment(shown), is_live=_read_mode(shown)),)
        body = {"_embedded": {f"{about}s": [shown]}}
        facts = [*as_facts(read_movements(body)), *map(disputes.as_fact, read_disputes(body))]
        is_live = _read_mode(shown) if "mode" in shown else None
    except UnexpectedAnswer as error:
        raise Unusable(str(error)) from None
    return [Told(name, fact, is_live=is_live) for fact in facts] or (Ignored("no money has moved"),)


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
