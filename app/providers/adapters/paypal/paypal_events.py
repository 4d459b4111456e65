"""PayPal's orders, captures, refunds and disputes, and the events about them, as facts."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.errors import UnexpectedAnswer, Unusable
from app.core.facts import Fact, FactKind, Movement
from app.core.money import AmountError, CurrencyError
from app.core.redaction import redact
from app.core.validation.provider_values import is_redirect_url, is_reference
from app.providers.amounts import AmountTable
from app.providers.calls.answer_fields import clean_message, keep_ids, read_kept_id, read_own_id
from app.providers.calls.given_back import list_movements
from app.providers.events import Event, Ignored, Name, Told

# What a payer has approved and nobody has captured is given back after this time.
CAPTURE_SECONDS = 3 * 3_600
# An electronic check clears within six bank days; a payment under review is decided sooner.
SETTLES_WITHIN_DAYS = 10

_TWO_DIGITS = "AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD ILS MXN MYR NOK NZD PHP PLN SEK SGD THB USD"
# https://developer.paypal.com/reference/currency-codes/: three are whole, two of which have decimals in ISO 4217.
AMOUNTS = AmountTable(dict.fromkeys(_TWO_DIGITS.split(), 2) | dict.fromkeys(("HUF", "JPY", "TWD"), 0))

_VALUE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,4}))?", re.ASCII)
_WAITING = frozenset({"CREATED", "SAVED", "PAYER_ACTION_REQUIRED"})
_PAID = frozenset({"COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED"})
_REFUSED = frozenset({"DECLINED", "FAILED"})
_PAGE_LINKS = ("payer-action", "approve")

_APPROVED, _APPROVAL_REVERSED = "CHECKOUT.ORDER.APPROVED", "CHECKOUT.PAYMENT-APPROVAL.REVERSED"
_CAPTURES = {
    "PAYMENT.CAPTURE.COMPLETED": FactKind.SUCCEEDED,
    "PAYMENT.CAPTURE.PENDING": FactKind.COMMITTED,
    # Of a capture that was pending: the order is over.
    "PAYMENT.CAPTURE.DENIED": FactKind.DECLINED,
    # Of one that was refused at once: the payer may approve again.
    "PAYMENT.CAPTURE.DECLINED": FactKind.ATTEMPT_DECLINED,
}
_GIVEN_BACK = frozenset({"PAYMENT.CAPTURE.REFUNDED", "PAYMENT.CAPTURE.REVERSED"})
_DISPUTE_CREATED, _DISPUTE_RESOLVED = "CUSTOMER.DISPUTE.CREATED", "CUSTOMER.DISPUTE.RESOLVED"
# What a webhook has to be for.
EVENTS = sorted({_APPROVED, _APPROVAL_REVERSED, *_CAPTURES, *_GIVEN_BACK, _DISPUTE_CREATED, _DISPUTE_RESOLVED})
# https://developer.paypal.com/docs/api/customer-disputes/v1/: who has the money in the end.
_OUTCOMES = {
    "RESOLVED_BUYER_FAVOUR": "lost",
    "ACCEPTED": "lost",
    "RESOLVED_SELLER_FAVOUR": "won",
    "RESOLVED_WITH_PAYOUT": "won",
    "CANCELED_BY_BUYER": "won",
    "DENIED": "won",
}


def read_money(body: Mapping[str, Any], field: str = "amount") -> tuple[int, str]:
    """Return `{"currency_code", "value"}` as (minor units, currency); the value may be zero. Raise UnexpectedAnswer."""
    shown = body.get(field)
    shown = shown if isinstance(shown, dict) else {}
    value, currency = shown.get("value"), str(shown.get("currency_code"))
    try:
        digits = AMOUNTS.digits.get(currency, 0)
        match = _VALUE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise AmountError("must be a decimal string")
        fraction = (match[2] or "").rstrip("0")
        if len(fraction) > digits:
            raise AmountError(f"has more decimals than {currency}")
        return AMOUNTS.to_minor(int(match[1] + fraction.ljust(digits, "0")), currency), currency
    except (AmountError, CurrencyError) as error:
        raise UnexpectedAnswer(f"the provider's object has an unreadable amount: {error}", field) from error


def write_money(minor: int, currency: str) -> dict[str, str]:
    """Return an amount to ask for. Raise AmountError and CurrencyError."""
    units, digits = AMOUNTS.to_units(minor, currency), AMOUNTS.digits[currency]
    text = str(units).rjust(digits + 1, "0")
    return {"currency_code": currency, "value": f"{text[:-digits]}.{text[-digits:]}" if digits else text}


def read_unit(order: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the one part of an order. Raise UnexpectedAnswer."""
    units = order.get("purchase_units")
    if not isinstance(units, list) or len(units) != 1 or not isinstance(units[0], dict):
        raise UnexpectedAnswer("the provider's order has not exactly one purchase unit", "purchase_units")
    return units[0]


def read_order(order: Mapping[str, Any]) -> Fact:
    """Return the state of an order, with what was given back. Raise UnexpectedAnswer where it cannot be read."""
    reference, status = read_kept_id(order), order.get("status")
    if status in _WAITING:
        return Fact(FactKind.PENDING, reference, _find_page(order))
    if status == "APPROVED":
        return Fact(FactKind.APPROVED, reference, capture_within_seconds=CAPTURE_SECONDS)
    if status == "VOIDED":
        return Fact(FactKind.CANCELLED, reference, is_expiry=True)
    if status == "COMPLETED":
        return _read_captured(reference, read_unit(order).get("payments"))
    raise UnexpectedAnswer(f"the provider's order has an unknown status: {redact(str(status)[:40])!r}", "status")


def _find_page(order: Mapping[str, Any]) -> str | None:
    links = order.get("links")
    hrefs = {link.get("rel"): link.get("href") for link in links if isinstance(link, dict)} if links else {}
    page = next((hrefs[rel] for rel in _PAGE_LINKS if rel in hrefs), None)
    return page if is_redirect_url(page) else None


def _read_captured(reference: str, payments: Any) -> Fact:
    captures = list_objects(payments, "captures")
    if not captures:
        raise UnexpectedAnswer("the provider's order has not exactly one capture", "captures")
    capture = find_paid(payments) or captures[-1]
    status, aliases = capture.get("status"), keep_ids(capture.get("id"))
    if status == "PENDING":
        return Fact(FactKind.COMMITTED, reference, settles_within_days=SETTLES_WITHIN_DAYS, aliases=aliases)
    if status in _REFUSED:
        return Fact(FactKind.DECLINED, reference, aliases=aliases)
    if status not in _PAID:
        raise UnexpectedAnswer(f"the provider's capture has an unknown status: {redact(str(status)[:40])!r}", "status")
    minor, currency = read_money(capture)
    moved = [movement for refund in list_objects(payments, "refunds") for movement in _read_refund(refund)]
    return Fact(
        FactKind.SUCCEEDED, reference, amount_minor=minor, currency=currency, aliases=aliases, movements=tuple(moved)
    )


def find_paid(payments: Any) -> Mapping[str, Any] | None:
    """Return the capture of an order that was paid, None where none was. Raise UnexpectedAnswer for several."""
    paid = [capture for capture in list_objects(payments, "captures") if capture.get("status") in _PAID]
    if len(paid) > 1:
        raise UnexpectedAnswer("the provider's order has not exactly one capture", "captures")
    return paid[0] if paid else None


def list_objects(payments: Any, name: str) -> list[Mapping[str, Any]]:
    """Return the captures or refunds of an order's payments."""
    found = payments.get(name) if isinstance(payments, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _read_refund(refund: Mapping[str, Any]) -> tuple[Movement, ...]:
    """Return the movements of a refund. One that failed may have been booked before: it went back and came again."""
    status = refund.get("status")
    if status not in ("COMPLETED", "FAILED"):
        return ()
    return list_movements(read_kept_id(refund), *read_money(refund), is_undone=status == "FAILED")


def name_payment(body: Any) -> Name | None:
    """Return the payment that an event's object names: by our id, by its order, or by its capture. Raise nothing."""
    resource = body.get("resource") if isinstance(body, dict) else None
    if not isinstance(resource, dict):
        return None
    disputed, units = (_first(resource.get(name)) for name in ("disputed_transactions", "purchase_units"))
    own = read_own_id(resource.get("custom_id") or units.get("custom_id") or disputed.get("custom"))
    others = (disputed.get("seller_transaction_id"), _find_capture(resource), resource.get("order_id"))
    return own or next((str(one) for one in others if is_reference(one)), None)


def _first(values: Any) -> Mapping[str, Any]:
    return values[0] if isinstance(values, list) and values and isinstance(values[0], dict) else {}


def _find_capture(refund: Mapping[str, Any]) -> str | None:
    """Return the capture that a refund is of, which its link `up` leads to."""
    links = refund.get("links")
    ups = [link.get("href") for link in links if isinstance(link, dict) and link.get("rel") == "up"] if links else []
    found = re.fullmatch(r".*/captures/([A-Za-z0-9_-]{1,64})", str(ups[0])) if ups else None
    return found[1] if found else None


def translate(body: Mapping[str, Any], *, is_live: bool) -> Sequence[Event]:
    """Return what an event says. Raise Unusable."""
    kind, resource = body.get("event_type"), body.get("resource")
    if not isinstance(kind, str) or not isinstance(resource, dict):
        raise Unusable("the event has no type or no resource")
    known = {_APPROVED, _APPROVAL_REVERSED, _DISPUTE_CREATED, _DISPUTE_RESOLVED} | _CAPTURES.keys() | _GIVEN_BACK
    if kind not in known:
        return (Ignored("of no interest"),)
    name = name_payment(body)
    if name is None:
        return (Ignored("no payment of ours"),)
    try:
        return (Told(name, _read_event(kind, resource), is_live=is_live),)
    except UnexpectedAnswer as error:
        raise Unusable(str(error)) from None


def _read_event(kind: str, resource: Mapping[str, Any]) -> Fact:
    if kind == _APPROVED:
        return Fact(FactKind.APPROVED, read_kept_id(resource), capture_within_seconds=CAPTURE_SECONDS)
    if kind == _APPROVAL_REVERSED:
        return Fact(FactKind.CANCELLED, read_kept_id(resource, "order_id"), is_expiry=True)
    if kind in _GIVEN_BACK:
        minor, currency = read_money(resource)
        return Fact(FactKind.REVERSED, reversal_id=read_kept_id(resource), amount_minor=minor, currency=currency)
    if kind in _CAPTURES:
        return _read_capture_event(_CAPTURES[kind], resource)
    return _read_dispute(kind, resource)


def _read_capture_event(kind: FactKind, capture: Mapping[str, Any]) -> Fact:
    related = capture.get("supplementary_data")
    related = related.get("related_ids") if isinstance(related, dict) else None
    order = related.get("order_id") if isinstance(related, dict) else None
    reference, aliases = str(order) if is_reference(order) else None, keep_ids(capture.get("id"))
    if kind is FactKind.SUCCEEDED:
        minor, currency = read_money(capture)
        return Fact(kind, reference, amount_minor=minor, currency=currency, aliases=aliases)
    if kind is FactKind.COMMITTED:
        return Fact(kind, reference, settles_within_days=SETTLES_WITHIN_DAYS, aliases=aliases)
    return Fact(kind, reference, aliases=aliases)


def _read_dispute(kind: str, dispute: Mapping[str, Any]) -> Fact:
    state = "opened"
    if kind == _DISPUTE_RESOLVED:
        outcome = dispute.get("dispute_outcome")
        code = outcome.get("outcome_code") if isinstance(outcome, dict) else None
        if code not in _OUTCOMES:
            raise UnexpectedAnswer(f"the dispute has an unknown outcome: {redact(str(code)[:40])!r}", "outcome_code")
        state = _OUTCOMES[code]
    return Fact(
        FactKind.DISPUTE,
        dispute_id=read_kept_id(dispute, "dispute_id"),
        dispute_state=state,  # type: ignore[arg-type]
        reason=clean_message(dispute.get("reason")),
        evidence_due_at=_read_time(dispute.get("seller_response_due_date")),
    )


def _read_time(value: object) -> datetime.datetime | None:
    try:
        moment = datetime.datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def read_payment_id(order: Mapping[str, Any]) -> uuid.UUID | None:
    """Return our payment id of an order."""
    return read_own_id(read_unit(order).get("custom_id"))
