"""Adyen's notifications as facts, read by their signed fields alone (item_signatures.py)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.errors import UnexpectedAnswer, Unusable
from app.core.facts import DisputeState, Fact, FactKind
from app.providers.adapters.adyen.item_signatures import SignedItem, list_items, read_item
from app.providers.amounts import AmountTable
from app.providers.calls.answer_fields import keep_ids, read_own_id, read_units
from app.providers.events import Asks, Event, Ignored, Name, Told

# A bank transfer or a voucher is paid within this, a direct debit comes back sooner.
SETTLES_WITHIN_DAYS = 14

# https://docs.adyen.com/development-resources/currency-codes. CVE and IDR are whole at Adyen and have two digits in
# ISO 4217; CLP and ISK are the other way round.
_WHOLE = "CVE DJF GNF IDR JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_TWO_DIGITS = (
    "AED ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BWP BYN BZD CAD CHF CLP CNY COP CRC CZK DKK DOP"
    " DZD EGP ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF ILS INR ISK JMD KES KGS KHR KYD KZT LAK LBP"
    " LKR MAD MDL MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON"
    " RSD SAR SBD SCR SEK SGD SHP SLE SRD STN SZL THB TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW"
)
_THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
AMOUNTS = AmountTable.by_digits(_WHOLE, _TWO_DIGITS, _THREE_DIGITS)

_AUTHORISATION, _PENDING, _OFFER_CLOSED = "AUTHORISATION", "PENDING", "OFFER_CLOSED"
# Of these the money that was counted is not there: a person has to see it where the payment is completed.
_CANCELLED = frozenset({"CANCELLATION", "TECHNICAL_CANCEL", "CANCEL_OR_REFUND", "EXPIRE"})
_REFUND_ASKED = frozenset({"REFUND", "REFUND_WITH_DATA"})
_OF_REFUND = _REFUND_ASKED | {"REFUND_FAILED", "REFUNDED_REVERSED"}
# A reversal's id is the reference of the refund, or of the dispute, which has one for all of its events: a second
# chargeback is a reversal of its own.
_REVERSED = {"REFUND": "", "REFUND_WITH_DATA": "", "CAPTURE_FAILED": "", "CHARGEBACK": "", "SECOND_CHARGEBACK": ".2"}
_REINSTATED = {"REFUND_FAILED": "", "REFUNDED_REVERSED": "", "CHARGEBACK_REVERSED": "", "PREARBITRATION_WON": ".2"}
# What the specification says of a pre-arbitration that was accepted or declined leaves open by whom: no mark.
_DISPUTES: dict[str, DisputeState] = {
    "REQUEST_FOR_INFORMATION": "opened",
    "NOTIFICATION_OF_CHARGEBACK": "opened",
    "CHARGEBACK": "opened",
    "PREARBITRATION_OPEN": "opened",
    "SCHEME_ARBITRATION": "opened",
    "CHARGEBACK_REVERSED": "won",
    "PREARBITRATION_WON": "won",
    "PREARBITRATION_ISSUER_WITHDRAWN": "won",
    "SCHEME_ARBITRATION_WON": "won",
    "ISSUER_RESPONSE_TIMEFRAME_EXPIRED": "won",
    "DISPUTE_DEFENSE_PERIOD_ENDED": "lost",
    "PREARBITRATION_LOST": "lost",
    "SCHEME_ARBITRATION_LOST": "lost",
    "SECOND_CHARGEBACK": "lost",
}
_KNOWN = {_AUTHORISATION, _PENDING, _OFFER_CLOSED, *_CANCELLED, *_REVERSED, *_REINSTATED, *_DISPUTES}
_LIVE = {"true": True, "false": False}


def name_payment(body: Any) -> Name | None:
    """Return the payment that the first item names. Raise nothing."""
    try:
        return _name(read_item(list_items(body)[0]))
    except ValueError:
        return None


def translate(body: Mapping[str, Any]) -> Sequence[Event]:
    """Return what the items say. Raise Unusable."""
    is_live = _LIVE.get(str(body.get("live")).lower())
    if is_live is None:
        raise Unusable("the notification does not say whether it is about real money")
    try:
        items = [read_item(item) for item in list_items(body)]
        return [event for item in items for event in _read_events(item, is_live)]
    except (ValueError, UnexpectedAnswer) as error:
        raise Unusable(str(error)) from None


def _name(item: SignedItem) -> Name | None:
    """Return the payment of an item: by our id, or of a refund or dispute by Adyen's reference of its payment.

    A refund may have a reference of its own in place of the payment's.
    """
    payment_id: uuid.UUID | None = read_own_id(item.merchant_reference)
    return (item.original_reference or payment_id) if payment_id else None


def _read_events(item: SignedItem, is_live: bool) -> list[Event]:
    name, event_id = _name(item), item.event_id
    if item.event_code not in _KNOWN:
        return [Ignored("of no interest", event_id)]
    if name is None or not item.has_one_reading:
        return [Ignored("no payment of ours", event_id)]
    if item.event_code == _OFFER_CLOSED:
        # A session was left; the link itself may still be open.
        return [Asks(name, event_id)]
    if item.success != "true" and item.event_code not in {_AUTHORISATION, *_REFUND_ASKED}:
        return [Ignored(f"{item.event_code} was not successful", event_id)]
    facts = [fact for fact in (_read_money_fact(item), _read_dispute(item)) if fact is not None]
    # Two facts of one event are two events: each is settled once.
    ids = [event_id if index == 0 else f"{event_id}:{fact.kind}" for index, fact in enumerate(facts)]
    return [Told(name, fact, one, is_live) for fact, one in zip(facts, ids, strict=True)]


def _read_money_fact(item: SignedItem) -> Fact | None:
    code = item.event_code
    if code == _AUTHORISATION and item.success != "true":
        return Fact(FactKind.ATTEMPT_DECLINED)
    if code == _PENDING:
        return Fact(FactKind.COMMITTED, settles_within_days=SETTLES_WITHIN_DAYS)
    if code in _CANCELLED:
        return Fact(FactKind.CANCELLED)
    if code in _REFUND_ASKED and item.success != "true":
        named = read_own_id(item.merchant_reference)
        return Fact(FactKind.REFUND_STATE, reversal_id=item.psp_reference, refund_id=named, refund_state="failed")
    if code in _REVERSED:
        return _read_movement(item, FactKind.REVERSED, _REVERSED[code])
    if code in _REINSTATED:
        return _read_movement(item, FactKind.REINSTATED, _REINSTATED[code])
    if code == _AUTHORISATION:
        amount_minor, currency = _read_money(item)
        aliases = keep_ids(item.psp_reference)
        return Fact(FactKind.SUCCEEDED, amount_minor=amount_minor, currency=currency, aliases=aliases)
    return None


def _read_movement(item: SignedItem, kind: FactKind, cycle: str) -> Fact:
    amount_minor, currency = _read_money(item)
    reversal_id = item.psp_reference + cycle
    # The payment's own id names no refund.
    refund_id = read_own_id(item.merchant_reference) if item.event_code in _OF_REFUND else None
    return Fact(kind, amount_minor=amount_minor, currency=currency, reversal_id=reversal_id, refund_id=refund_id)


def _read_money(item: SignedItem) -> tuple[int, str]:
    return read_units(AMOUNTS, {"currency": item.currency, "value": item.value}, "value")


def _read_dispute(item: SignedItem) -> Fact | None:
    state = _DISPUTES.get(item.event_code)
    if state is None:
        return None
    return Fact(FactKind.DISPUTE, dispute_id=item.psp_reference, dispute_state=state)
