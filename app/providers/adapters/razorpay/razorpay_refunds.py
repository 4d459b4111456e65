"""Razorpay's refunds that start here. They have no key: one whose answer is lost is looked up by its receipt."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

from app.core.errors import UnexpectedAnswer
from app.core.facts import Fact, RefundState
from app.providers.adapter import RefundSubject
from app.providers.adapters.razorpay.razorpay_events import AMOUNTS, list_payments_of
from app.providers.calls.answer_fields import read_kept_id
from app.providers.calls.refund_answers import check_refund, read_refund_state

PATH = "/v1/refunds"
# The refund's field with our id of it.
OWN_ID = "receipt"
STATES: dict[str, RefundState] = {"pending": "processing", "processed": "completed", "failed": "failed"}


def build_refund(subject: RefundSubject) -> bytes:
    """Return the refund call's body. Raise AmountError and CurrencyError."""
    own = str(subject.refund_id)
    fields = {
        "amount": AMOUNTS.to_units(subject.amount_minor, subject.currency),
        "notes": {"payment_id": str(subject.payment_id), "refund_id": own},
        OWN_ID: own,
        "speed": "normal",
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def path_of(link: Mapping[str, Any]) -> str:
    """Return the path of the payment that a link was paid with. Raise UnexpectedAnswer."""
    paid = list_payments_of(link)
    if len(paid) != 1:
        # Our links take no part payments: which of several holds the money would be a guess.
        raise UnexpectedAnswer(f"the provider's link has {len(paid)} payments", "payments")
    return f"/v1/payments/{urllib.parse.quote(paid[0], safe='')}"


def read_state(shown: Mapping[str, Any], subject: RefundSubject) -> Fact:
    """Return the state of a refund, which must be `subject`. Raise UnexpectedAnswer."""
    check_refund(shown.get(OWN_ID), subject, OWN_ID)
    return read_refund_state(shown, STATES, read_kept_id(shown))
