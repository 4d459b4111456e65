"""Razorpay's payment links and events as facts.

A link has our payment id as its `reference_id`, and in its notes, which Razorpay copies to the payment. An event about
a refund or a dispute of a payment without them names it by the payment's own id. A refund that failed had gone back, or
never had: both steps are reported, and together they move nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.core.errors import UnexpectedAnswer, Unusable
from app.core.facts import DisputeReport, DisputeState, Fact, FactKind, Movement
from app.core.validation.provider_values import is_redirect_url, is_reference
from app.providers.amounts import AmountTable
from app.providers.calls.answer_fields import clean_message, keep_ids, read_kept_id, read_kind, read_own_id, read_units
from app.providers.calls.given_back import as_facts, as_report, list_movements
from app.providers.events import Asks, Event, Ignored, Name, Told

# Where notes of ours have the payment's id.
NOTE = "payment_id"

# https://razorpay.com/docs/payments/international-payments/#supported-currencies, but for those that ISO 4217 no longer
# lists (BGN, HRK, SLL). The digits are those of ISO 4217; the last of three is 0.
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_TWO_DIGITS = (
    "AED ALL AMD AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BZD CAD CHF CNY COP CRC CUP CVE CZK DKK DOP DZD"
    " EGP ETB EUR FJD GBP GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR JMD KES KGS KHR KYD KZT LAK LKR LRD LSL MAD"
    " MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PEN PGK PHP PKR PLN QAR RON RSD RUB SAR"
    " SCR SEK SGD SOS SVC SZL THB TRY TTD TWD TZS UAH USD UYU UZS XCD YER ZAR ZMW"
)
_THREE_DIGITS = "BHD IQD JOD KWD OMR TND"
_DIGITS = AmountTable.by_digits(_WHOLE, _TWO_DIGITS, _THREE_DIGITS, three_step=10)
# https://razorpay.com/docs/api/orders/create/: "The amount must be at least INR 1.00". The most is the account's.
AMOUNTS = replace(_DIGITS, least={"INR": 100})

KINDS = {
    "created": FactKind.PENDING,
    "partially_paid": FactKind.SUCCEEDED,
    "paid": FactKind.SUCCEEDED,
    "cancelled": FactKind.CANCELLED,
    "expired": FactKind.CANCELLED,
}
# What an event about a link says of it.
_LINKS = {f"payment_link.{status}": kind for status, kind in KINDS.items() if status != "created"}
_ATTEMPT_FAILED = "payment.failed"
_DISPUTES: dict[str, DisputeState] = {
    "payment.dispute.created": "opened",
    "payment.dispute.under_review": "opened",
    "payment.dispute.action_required": "opened",
    "payment.dispute.won": "won",
    # Nothing was taken: the payer was given the money back, or an explanation.
    "payment.dispute.closed": "won",
    "payment.dispute.lost": "lost",
}
# The state of a dispute in a list, of which events have the words, but for the first.
_LISTED_DISPUTES = {"open": "payment.dispute.created"}
# By event, whether the refund's money came again.
_REFUNDS = {"refund.processed": False, "refund.failed": True}
_MONEY_BACK = _REFUNDS.keys() | _DISPUTES.keys()


def read_link(body: Mapping[str, Any]) -> Fact:
    """Return the state of a payment link. Raise UnexpectedAnswer where it cannot be read."""
    reference, kind = read_kept_id(body), read_kind(body, KINDS, "link")
    aliases = keep_ids(body.get("order_id"), *list_payments_of(body))
    if kind is FactKind.SUCCEEDED or body.get("amount_paid"):
        amount_minor, currency = read_units(AMOUNTS, body, "amount_paid")
        kind = FactKind.SUCCEEDED
        return Fact(kind, reference, amount_minor=amount_minor, currency=currency, aliases=aliases)
    url = body.get("short_url") if kind is FactKind.PENDING else None
    return Fact(
        kind,
        reference,
        url if is_redirect_url(url) else None,
        is_expiry=body.get("status") == "expired",
        aliases=aliases,
    )


def list_payments_of(link: Mapping[str, Any]) -> list[str]:
    """Return the ids of the payments that were made with a link."""
    payments = link.get("payments")
    rows = payments if isinstance(payments, list) else []
    return [row["payment_id"] for row in rows if isinstance(row, dict) and is_reference(row.get("payment_id"))]


def name_payment(body: Any) -> Name | None:
    """Return the payment that an event's objects name: our id, or the id of Razorpay's payment. Raise nothing."""
    link, payment = _read_entity(body, "payment_link"), _read_entity(body, "payment")
    if link is not None:
        return read_own_id(link.get("reference_id"))
    if payment is None:
        # Refunds and disputes name their payment by themselves as well.
        about = _read_entity(body, "refund") or _read_entity(body, "dispute") or {}
        payment = {"id": about.get("payment_id")}
    notes, number = payment.get("notes"), payment.get("id")
    own = read_own_id(notes.get(NOTE)) if isinstance(notes, dict) else None
    return own or (number if isinstance(number, str) and is_reference(number) else None)


def translate(body: Mapping[str, Any]) -> list[Event]:
    """Return what an event says: a dispute that was lost has also taken money. Raise Unusable."""
    kind = body.get("event")
    if not isinstance(kind, str) or not isinstance(body.get("payload"), dict):
        raise Unusable("the event has no name or no payload")
    if kind not in _LINKS.keys() | _MONEY_BACK | {_ATTEMPT_FAILED}:
        return [Ignored("of no interest")]
    name = name_payment(body)
    if name is None or (isinstance(name, str) and kind not in _MONEY_BACK):
        return [Ignored("no payment of ours")]
    try:
        facts = _read_facts(body, kind)
    except UnexpectedAnswer as error:
        if isinstance(name, str):
            # Of a payment of ours a lookup shows the money; that of another shop's does not matter.
            return [Asks(name)]
        raise Unusable(str(error)) from None
    return [Told(name, fact, may_be_foreign=isinstance(name, str)) for fact in facts]


def read_refund(shown: Mapping[str, Any], *, is_undone: bool) -> tuple[Movement, ...]:
    """Return the movements of a refund. Raise UnexpectedAnswer."""
    return list_movements(read_kept_id(shown), *read_units(AMOUNTS, shown, "amount"), is_undone=is_undone)


def read_deduction(dispute: Mapping[str, Any]) -> tuple[Movement, ...]:
    """Return the movement of a dispute that has taken money. Raise UnexpectedAnswer."""
    if not dispute.get("amount_deducted"):
        return ()
    money = read_units(AMOUNTS, dispute, "amount_deducted")
    return list_movements(read_kept_id(dispute), *money, is_undone=False)


def read_reports(dispute: Mapping[str, Any]) -> tuple[DisputeReport, ...]:
    """Return the state of a dispute in a list, nothing for one that is not known. Raise UnexpectedAnswer."""
    status = str(dispute.get("status"))
    state = _DISPUTES.get(_LISTED_DISPUTES.get(status, f"payment.dispute.{status}"))
    return () if state is None else (as_report(_read_dispute(dispute, state)),)


def _read_facts(body: Mapping[str, Any], kind: str) -> list[Fact]:
    if kind in _REFUNDS:
        return as_facts(read_refund(_read_entity(body, "refund") or {}, is_undone=_REFUNDS[kind]))
    if kind in _DISPUTES:
        dispute = _read_entity(body, "dispute") or {}
        return [_read_dispute(dispute, _DISPUTES[kind]), *as_facts(read_deduction(dispute))]
    return [_read_attempt(body) if kind == _ATTEMPT_FAILED else _read_link_event(body, _LINKS[kind])]


def _read_dispute(dispute: Mapping[str, Any], state: DisputeState) -> Fact:
    until = dispute.get("respond_by")
    due_at = datetime.datetime.fromtimestamp(until, datetime.UTC) if isinstance(until, int) and until > 0 else None
    reason = clean_message(dispute.get("reason_code"))
    about: dict[str, Any] = {"dispute_id": read_kept_id(dispute), "reason": reason, "evidence_due_at": due_at}
    return Fact(FactKind.DISPUTE, dispute_state=state, **about)


def _read_link_event(body: Mapping[str, Any], kind: FactKind) -> Fact:
    link, payment = _read_entity(body, "payment_link"), _read_entity(body, "payment")
    # Events show no payments in the link, but next to it.
    shown = {**(link or {}), "payments": [{"payment_id": payment.get("id")}] if payment else None}
    fact = read_link(shown)
    if fact.kind is not kind:
        raise UnexpectedAnswer(f"the event '{body.get('event')}' shows a link that is {fact.kind}", "status")
    return fact


def _read_attempt(body: Mapping[str, Any]) -> Fact:
    payment = _read_entity(body, "payment") or {}
    message = clean_message(payment.get("error_description"))
    return Fact(FactKind.ATTEMPT_DECLINED, message=message, aliases=keep_ids(payment.get("order_id")))


def _read_entity(body: Any, name: str) -> Mapping[str, Any] | None:
    """Return an object of an event's payload, None where it has none."""
    found = body.get("payload") if isinstance(body, dict) else None
    for step in (name, "entity"):
        found = found.get(step) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None
