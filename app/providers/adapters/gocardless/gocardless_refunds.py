"""GoCardless's refunds that start here.

Each confirms what of the payment is refunded in all, so the payment's refunds are read first: one that an earlier call
has made is found among them by our id, and its key is not needed. GoCardless may check that total before the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.core.errors import UnexpectedAnswer
from app.core.facts import Fact, FactKind, RefundState
from app.core.strict_json import loads
from app.providers.adapter import Account, RefundSubject
from app.providers.adapters.gocardless.gocardless_calls import (
    REFUNDS,
    REFUSED,
    REQUESTS,
    GoCardlessCalls,
    check_own,
    encode,
    read_conflict,
    read_errors,
    read_one,
)
from app.providers.adapters.gocardless.gocardless_events import AMOUNTS, OWN_ID, read_payment_link
from app.providers.calls.answer_fields import clean_message, keep_ids, read_kept_id, read_units
from app.providers.calls.http_adapter import read_failure, refuse
from app.providers.calls.outgoing import ProviderAnswer
from app.providers.calls.refund_answers import check_refund, read_refund_state

# Where metadata of ours has the refund's id, next to the payment's.
_REFUND_ID = "refund_id"
_PAYMENT_PREFIX = "PM"
_STATES: dict[str, RefundState] = {
    **dict.fromkeys(("created", "pending_submission", "submitted"), "processing"),
    "paid": "completed",
    **dict.fromkeys(("cancelled", "failed", "bounced", "funds_returned"), "failed"),
}
# Refusals that a repeated call does not change.
_REFUSALS = frozenset(
    {"refund_payment_invalid_state", "number_of_refunds_exceeded", "available_refund_amount_insufficient"}
)
# Another refund was made since the payment's refunds were read: the next try reads them again.
_OTHER_TOTAL = "total_amount_confirmation_invalid"
_AMOUNT = "amount"


class GoCardlessRefunds(GoCardlessCalls):
    """The calls about refunds, which have our id in their metadata."""

    def build_refund(self, subject: RefundSubject) -> bytes:
        """Return what of the refund call's body is known before it. Raise AmountError and CurrencyError."""
        named = {OWN_ID: str(subject.payment_id), _REFUND_ID: str(subject.refund_id)}
        return encode({_AMOUNT: AMOUNTS.to_units(subject.amount_minor, subject.currency), "metadata": named})

    def refund(self, account: Account, subject: RefundSubject, request: bytes) -> Fact:
        """Refund the payment, unless an earlier call has; a refusal of the refund itself is a fact."""
        paid = self._read_paid(account, subject)
        made = list(self.list_rows(account, REFUNDS, {"payment": paid}))
        found = _find(made, subject)
        if found is not None:
            return _read_state(found, subject)
        asked = loads(request)
        asked |= {"links": {"payment": paid}, "total_amount_confirmation": _sum_up(made) + asked[_AMOUNT]}
        keyed = {"Idempotency-Key": str(subject.refund_id)}
        answer = self.send(account, "POST", f"/{REFUNDS}", encode({REFUNDS: asked}), keyed)
        if answer.status in REFUSED:
            conflicting = read_conflict(answer)
            if conflicting is None:
                return _refusal(answer)
            answer = self.read(account, REFUNDS, conflicting)
        return _read_state(read_one(answer, REFUNDS), subject)

    def fetch_refund(self, account: Account, subject: RefundSubject) -> Fact:
        """Query the refund by its id, or by ours among those of its payment."""
        if subject.reference is not None:
            answer = self.read(account, REFUNDS, subject.reference)
            shown: Mapping[str, Any] | None = None if answer.status == 404 else read_one(answer, REFUNDS)
        else:
            of_payment = {"payment": self._read_paid(account, subject)}
            shown = _find(self.list_rows(account, REFUNDS, of_payment), subject)
        return Fact(FactKind.NOT_FOUND) if shown is None else _read_state(shown, subject)

    def _read_paid(self, account: Account, subject: RefundSubject) -> str:
        """Return the id of the payment behind the billing request, which facts had unless there are several."""
        known = [one for one in subject.aliases if one.startswith(_PAYMENT_PREFIX)]
        if len(known) == 1:
            return known[0]
        body = read_one(self.read(account, REQUESTS, subject.payment_reference), REQUESTS)
        check_own(body, subject.payment_id)
        for paid in keep_ids(read_payment_link(body)):
            return paid
        raise UnexpectedAnswer("the provider's billing request has no payment", "links")


def _find(rows: Iterable[Mapping[str, Any]], subject: RefundSubject) -> Mapping[str, Any] | None:
    return next((row for row in rows if _own_id(row) == str(subject.refund_id)), None)


def _own_id(shown: Mapping[str, Any]) -> object:
    metadata = shown.get("metadata")
    return metadata.get(_REFUND_ID) if isinstance(metadata, dict) else None


def _sum_up(rows: Iterable[Mapping[str, Any]]) -> int:
    """Return what of a payment is refunded, or is under way to be. Raise UnexpectedAnswer."""
    kept = (row for row in rows if _STATES.get(str(row.get("status"))) != "failed")
    return sum(AMOUNTS.to_units(*read_units(AMOUNTS, row, _AMOUNT)) for row in kept)


def _read_state(shown: Mapping[str, Any], subject: RefundSubject) -> Fact:
    check_refund(_own_id(shown), subject, "metadata")
    return read_refund_state(shown, _STATES, read_kept_id(shown))


def _refusal(answer: ProviderAnswer) -> Fact:
    """Return the fact of a refused refund. Raise ProviderCallFailed where it is not about the refund itself."""
    error, errors = read_errors(answer)
    reasons, fields = {str(one.get("reason")) for one in errors}, {one.get("field") for one in errors}
    if answer.status == 409:
        raise read_failure(answer)
    if _OTHER_TOTAL in reasons:
        raise UnexpectedAnswer("other refunds of the payment were made meanwhile", "total_amount_confirmation")
    said = "; ".join(str(one.get("message")) for one in errors) or error.get("message")
    if reasons & _REFUSALS or fields == {_AMOUNT}:
        return Fact(FactKind.REFUND_STATE, refund_state="failed", message=clean_message(said))
    return refuse(f"{said} ({', '.join(sorted(reasons)) or error.get('type')})", is_about_payment=False)
