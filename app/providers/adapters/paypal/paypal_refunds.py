"""PayPal's refunds that start here: of the capture that an order has, whose refunds the order shows."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

from app.core.errors import UnexpectedAnswer
from app.core.facts import Fact, FactKind, RefundState
from app.providers.adapter import Account, RefundSubject
from app.providers.adapters.paypal.paypal_events import find_paid, list_objects, read_unit, write_money
from app.providers.calls.answer_fields import check_own_id, read_kept_id
from app.providers.calls.http_adapter import HttpAdapter, read_found, read_object
from app.providers.calls.refund_answers import check_refund, read_refund_state, refuse_refund

# The refund's field with our id of it; `custom_id` is the payment's, by which events name it.
OWN_ID = "invoice_id"
STATES: dict[str, RefundState] = {
    "PENDING": "processing",
    "COMPLETED": "completed",
    "FAILED": "failed",
    "CANCELLED": "failed",
}


class PayPalRefunds(HttpAdapter):
    """The calls about refunds."""

    def build_refund(self, subject: RefundSubject) -> bytes:
        """Return the refund call's body. Raise AmountError and CurrencyError."""
        fields = {
            "amount": write_money(subject.amount_minor, subject.currency),
            "custom_id": str(subject.payment_id),
            OWN_ID: str(subject.refund_id),
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")

    def refund(self, account: Account, subject: RefundSubject, request: bytes) -> Fact:
        """Refund the order's capture; a refusal of the refund itself is a fact."""
        capture = find_paid(self._read_payments(account, subject))
        if capture is None:
            raise UnexpectedAnswer("the provider's order has not exactly one capture that was paid", "captures")
        path = f"/v2/payments/captures/{urllib.parse.quote(read_kept_id(capture), safe='')}/refund"
        keyed = {"Prefer": "return=representation", "PayPal-Request-Id": str(subject.refund_id)}
        answer = self.send(account, "POST", path, request, keyed)
        if answer.status == 422:
            return refuse_refund(answer, "details", 0, "description")
        return _read_state(read_object(answer, (200, 201)), subject)

    def fetch_refund(self, account: Account, subject: RefundSubject) -> Fact:
        """Query the refund by its id, or by ours among those that its order shows."""
        if subject.reference is not None:
            path = f"/v2/payments/refunds/{urllib.parse.quote(subject.reference, safe='')}"
            shown = read_found(self.send(account, "GET", path))
            return Fact(FactKind.NOT_FOUND) if shown is None else _read_state(shown, subject)
        rows = list_objects(self._read_payments(account, subject), "refunds")
        found = next((row for row in rows if row.get(OWN_ID) == str(subject.refund_id)), None)
        return Fact(FactKind.NOT_FOUND) if found is None else _read_state(found, subject)

    def _read_payments(self, account: Account, subject: RefundSubject) -> Any:
        """Return the captures and refunds of the order whose money is refunded."""
        path = f"/v2/checkout/orders/{urllib.parse.quote(subject.payment_reference, safe='')}"
        unit = read_unit(read_object(self.send(account, "GET", path)))
        check_own_id(unit.get("custom_id"), subject.payment_id, "custom_id")
        return unit.get("payments")


def _read_state(shown: Mapping[str, Any], subject: RefundSubject) -> Fact:
    check_refund(shown.get(OWN_ID), subject, OWN_ID)
    return read_refund_state(shown, STATES, read_kept_id(shown))
