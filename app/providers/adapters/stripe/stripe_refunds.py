"""Stripe's refunds that start here: what is sent, and what the answers say of them."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Any

from app.core.errors import UnexpectedAnswer
from app.core.facts import Fact, FactKind, RefundState
from app.providers.adapter import RefundSubject
from app.providers.adapters.stripe.stripe_amounts import AMOUNTS
from app.providers.calls.answer_fields import clean_message, read_kept_id
from app.providers.calls.http_adapter import read_error, read_object, refuse
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.calls.refund_answers import read_refund_state

PATH = "/v1/refunds"
STATES: dict[str, RefundState] = {
    "succeeded": "completed",
    "pending": "processing",
    "requires_action": "processing",
    "failed": "failed",
    "canceled": "failed",
}
# Refusals that a repeated call does not change; Stripe names too large an amount by its field.
_REFUSAL_CODES = frozenset({"amount_too_small", "charge_already_refunded", "charge_disputed", "charge_not_refundable"})
_AMOUNT = "amount"


def build_refund(subject: RefundSubject) -> bytes:
    """Return the call's body, without the payment intent. Raise AmountError and CurrencyError."""
    fields = {
        _AMOUNT: str(AMOUNTS.to_units(subject.amount_minor, subject.currency)),
        "metadata[payment_id]": str(subject.payment_id),
        "metadata[refund_id]": str(subject.refund_id),
    }
    return urllib.parse.urlencode(sorted(fields.items())).encode("ascii")


def name_intent(request: bytes, intent: str) -> bytes:
    """Return the body with the payment intent, which is the same on every try."""
    return request + b"&" + urllib.parse.urlencode({"payment_intent": intent}).encode("ascii")


def is_of(shown: Mapping[str, Any], subject: RefundSubject) -> bool:
    """Return whether a refund has our id."""
    metadata = shown.get("metadata")
    return isinstance(metadata, dict) and metadata.get("refund_id") == str(subject.refund_id)


def read_state(shown: Mapping[str, Any], subject: RefundSubject) -> Fact:
    """Return the state of a refund, which must be `subject`. Raise UnexpectedAnswer."""
    if not is_of(shown, subject):
        raise UnexpectedAnswer("the provider's answer is about another refund", "metadata")
    return read_refund_state(shown, STATES, read_kept_id(shown), shown.get("failure_reason"))


def read_answer(answer: ProviderAnswer, subject: RefundSubject) -> Fact:
    """Return what the answer to the call says. Raise ProviderRefusedUs where our request or the account is wrong."""
    if answer.status not in (400, 402):
        return read_state(read_object(answer), subject)
    error = read_error(answer, "error")
    code, message, field = error.get("code"), error.get("message"), error.get("param")
    if code in _REFUSAL_CODES or field == _AMOUNT:
        return Fact(FactKind.REFUND_STATE, refund_state="failed", message=clean_message(message))
    return refuse(f"{message} ({field or code})", is_about_payment=False)
