"""Stripe's objects and events as facts."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.errors import UnexpectedAnswer, Unusable
from app.core.facts import Fact, FactKind
from app.core.redaction import redact
from app.core.validation.provider_values import is_redirect_url, is_reference
from app.providers.adapters.stripe.stripe_amounts import read_money
from app.providers.adapters.stripe.stripe_money_back import name_charge, read_dispute, read_funds, read_refund
from app.providers.calls.answer_fields import clean_message, keep_ids, read_kept_id, read_own_id
from app.providers.calls.given_back import as_facts
from app.providers.events import Asks, Event, Ignored, Name, Told

# A SEPA direct debit may come back after fourteen days at the latest, a voucher is paid sooner.
SETTLES_WITHIN_DAYS = 14

_COMPLETED = frozenset({"checkout.session.completed", "checkout.session.async_payment_succeeded"})
_ASYNC_FAILED = "checkout.session.async_payment_failed"
_EXPIRED = "checkout.session.expired"
_ATTEMPT_FAILED = "payment_intent.payment_failed"
_REFUNDED = "charge.refunded"
_REFUND = frozenset({"refund.created", "refund.updated", "refund.failed"})
_DISPUTE_OPENED = "charge.dispute.created"
_DISPUTE_CLOSED = "charge.dispute.closed"
_FUNDS_WITHDRAWN = "charge.dispute.funds_withdrawn"
_FUNDS_REINSTATED = "charge.dispute.funds_reinstated"
# Their objects have no metadata of ours: they name the payment by its intent.
_MONEY_BACK = _REFUND | {_DISPUTE_OPENED, _DISPUTE_CLOSED, _FUNDS_WITHDRAWN, _FUNDS_REINSTATED}
_ABOUT_PAYMENTS = _COMPLETED | {_ASYNC_FAILED, _EXPIRED, _ATTEMPT_FAILED, _REFUNDED}
# What an endpoint at Stripe has to send.
EVENTS = sorted(_ABOUT_PAYMENTS | _MONEY_BACK)


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


def translate(body: Mapping[str, Any]) -> Sequence[Event]:
    """Return what an event says. Raise Unusable."""
    kind, data = body.get("type"), body.get("data")
    shown = data.get("object") if isinstance(data, dict) else None
    if not isinstance(kind, str) or not isinstance(shown, dict):
        raise Unusable("the event has no type or no object")
    if kind not in _ABOUT_PAYMENTS | _MONEY_BACK:
        return (Ignored("of no interest"),)
    name = _read_own_id(shown) if kind in _ABOUT_PAYMENTS else name_payment(body)
    if name is None:
        return (Ignored("no payment of ours"),)
    is_live = body.get("livemode")
    if not isinstance(is_live, bool):
        raise Unusable("the event does not say whether it is about real money")
    if kind == _REFUNDED:
        # The refunds themselves are facts; where their events are lost, the answer to a lookup shows them.
        return (Asks(name),)
    try:
        facts = _read_money_back(kind, shown) if kind in _MONEY_BACK else [_read_fact(kind, shown)]
    except UnexpectedAnswer as error:
        raise Unusable(str(error)) from None
    is_foreign = isinstance(name, str)
    return [Told(name, fact, is_live=is_live, may_be_foreign=is_foreign) for fact in facts]


def _read_money_back(kind: str, shown: Mapping[str, Any]) -> list[Fact]:
    if kind in _REFUND:
        return as_facts(read_refund(shown), name_charge(shown))
    if kind in (_FUNDS_WITHDRAWN, _FUNDS_REINSTATED):
        return as_facts(read_funds(shown, is_reinstated=kind == _FUNDS_REINSTATED), name_charge(shown))
    dispute = read_dispute(shown, is_closed=kind == _DISPUTE_CLOSED)
    return [] if dispute is None else [dispute]


def _read_fact(kind: str, shown: Mapping[str, Any]) -> Fact:
    if kind == _ATTEMPT_FAILED:
        return Fact(FactKind.ATTEMPT_DECLINED, message=_read_message(shown), aliases=keep_ids(shown.get("id")))
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
