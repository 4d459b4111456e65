"""Mollie's refunds that start here."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

from app.core.errors import OutcomeUnknown
from app.core.facts import Fact, FactKind, RefundState
from app.core.money import format_amount
from app.providers.adapter import Account, RefundSubject
from app.providers.adapters.mollie.mollie_events import AMOUNTS
from app.providers.calls.answer_fields import read_kept_id
from app.providers.calls.http_adapter import HttpAdapter, read_found, read_list, read_object
from app.providers.calls.refund_answers import check_refund, read_refund_state, refuse_refund

STATES: dict[str, RefundState] = {
    "queued": "processing",
    "pending": "processing",
    "processing": "processing",
    "refunded": "completed",
    "failed": "failed",
    "canceled": "failed",
}
# The refunds of one payment fit into a page.
_ROWS_MAX = 250


class MollieRefunds(HttpAdapter):
    """The calls about refunds, which have our id in their metadata."""

    def build_refund(self, subject: RefundSubject) -> bytes:
        """Return the refund call's body. Raise AmountError and CurrencyError."""
        AMOUNTS.to_units(subject.amount_minor, subject.currency)
        fields = {
            "amount": {"currency": subject.currency, "value": format_amount(subject.amount_minor, subject.currency)},
            "description": f"Refund {subject.refund_id}",
            "metadata": {"payment_id": str(subject.payment_id), "refund_id": str(subject.refund_id)},
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")

    def refund(self, account: Account, subject: RefundSubject, request: bytes) -> Fact:
        """Refund the payment; a refusal of the refund itself is a fact."""
        answer = self.send(account, "POST", _path_of(subject), request, {"Idempotency-Key": str(subject.refund_id)})
        if answer.status == 422:
            return refuse_refund(answer, "detail")
        return _read_state(read_object(answer, (200, 201)), subject)

    def fetch_refund(self, account: Account, subject: RefundSubject) -> Fact:
        """Query the refund by its id, or by ours among those of its payment."""
        if subject.reference is not None:
            path = f"{_path_of(subject)}/{urllib.parse.quote(subject.reference, safe='')}"
            shown = read_found(self.send(account, "GET", path))
            return Fact(FactKind.NOT_FOUND) if shown is None else _read_state(shown, subject)
        shown = read_object(self.send(account, "GET", f"{_path_of(subject)}?limit={_ROWS_MAX}")).get("_embedded")
        if not isinstance(shown, dict):
            raise OutcomeUnknown("the provider's list cannot be read")
        found = [row for row in read_list(shown, "refunds") if _own_id(row) == str(subject.refund_id)]
        return _read_state(found[0], subject) if found else Fact(FactKind.NOT_FOUND)


def _path_of(subject: RefundSubject) -> str:
    return f"/v2/payments/{urllib.parse.quote(subject.payment_reference, safe='')}/refunds"


def _own_id(shown: Mapping[str, Any]) -> object:
    metadata = shown.get("metadata")
    return metadata.get("refund_id") if isinstance(metadata, dict) else None


def _read_state(shown: Mapping[str, Any], subject: RefundSubject) -> Fact:
    check_refund(_own_id(shown), subject, "metadata")
    return read_refund_state(shown, STATES, read_kept_id(shown))
