"""Paystack's refunds that start here. They have no key: one whose answer is lost is looked up by its note."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.core.errors import UnexpectedAnswer
from app.core.facts import Fact, RefundState
from app.providers.adapter import RefundSubject
from app.providers.adapters.paystack.paystack_events import AMOUNTS
from app.providers.calls.refund_answers import check_refund, read_refund_state

PATH = "/refund"
# The refund's field with our id of it, which the merchant's dashboard shows too.
OWN_ID = "merchant_note"
# Numbers are not unique among the kinds of money that goes back.
_PREFIX = "refund:"
STATES: dict[str, RefundState] = {
    "pending": "processing",
    "processing": "processing",
    # A person at Paystack or the merchant has to enter where the money goes.
    "needs-attention": "processing",
    "processed": "completed",
    "failed": "failed",
}


def build_refund(subject: RefundSubject) -> bytes:
    """Return the refund call's body. Raise AmountError and CurrencyError."""
    fields = {
        "transaction": subject.payment_reference,
        "amount": AMOUNTS.to_units(subject.amount_minor, subject.currency),
        "currency": subject.currency,
        OWN_ID: str(subject.refund_id),
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def name_refund(shown: Mapping[str, Any]) -> str:
    """Return the name under which a refund is booked."""
    return f"{_PREFIX}{shown.get('id')}"


def path_of(name: str) -> str:
    """Return the path of the refund with this name."""
    number = name.removeprefix(_PREFIX)
    if not number.isascii() or not number.isdigit():
        raise UnexpectedAnswer("the refund has no number of the provider's", "id")
    return f"{PATH}/{number}"


def read_state(shown: Mapping[str, Any], subject: RefundSubject) -> Fact:
    """Return the state of a refund, which must be `subject`. Raise UnexpectedAnswer."""
    check_refund(shown.get(OWN_ID), subject, OWN_ID)
    if not isinstance(shown.get("id"), int):
        raise UnexpectedAnswer("the provider's refund has no number", "id")
    return read_refund_state(shown, STATES, name_refund(shown))
