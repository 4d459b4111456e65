"""Paystack's transactions and events as facts.

A transaction is named by a reference of ours: the payment's id, with `.2` or `.3` behind it where an earlier one was
created and its page lost (see PaystackAdapter.create).
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Mapping
from typing import Any

from app.core.errors import UnexpectedAnswer, Unusable
from app.core.facts import DisputeState, Fact, FactKind
from app.providers.amounts import iso_table
from app.providers.calls.answer_fields import clean_message, keep_ids, read_kept_id, read_kind, read_own_id, read_units
from app.providers.events import Asks, Event, Ignored, Told

# The currencies of Paystack's published specification, in hundredths as ISO 4217 has them.
AMOUNTS = iso_table(dict.fromkeys(("GHS", "KES", "NGN", "USD", "ZAR"), 2))

# A transaction that nobody has opened yet is "abandoned" too. What failed may be tried again on the same page.
KINDS = {
    "success": FactKind.SUCCEEDED,
    # Given back in full: the refunds and disputes of it have the amounts.
    "reversed": FactKind.SUCCEEDED,
    "failed": FactKind.ATTEMPT_DECLINED,
    **dict.fromkeys(("abandoned", "ongoing", "pending", "processing", "queued"), FactKind.PENDING),
}
ABANDONED = "abandoned"

_PAID = "charge.success"
# They name no refund by its id, so the refunds themselves are read.
_REFUNDS = frozenset({"refund.processed", "refund.failed"})
_DISPUTES = frozenset({"charge.dispute.create", "charge.dispute.remind", "charge.dispute.resolve"})
_RESOLUTIONS: dict[str, DisputeState] = {"merchant-accepted": "lost", "declined": "won"}
_LIVE = {"live": True, "test": False}
_LATER_REFERENCE = re.compile(r"\.[23]\Z", re.ASCII)


def name_references(payment_id: uuid.UUID) -> tuple[str, ...]:
    """Return the references that a payment's transactions may have, the first one first."""
    return str(payment_id), f"{payment_id}.2", f"{payment_id}.3"


def read_payment_id(reference: object) -> uuid.UUID | None:
    """Return our payment id of a transaction's reference, None for any other reference."""
    return read_own_id(_LATER_REFERENCE.sub("", reference)) if isinstance(reference, str) else None


def read_transaction(body: Mapping[str, Any]) -> Fact:
    """Return the state of a transaction. Raise UnexpectedAnswer where it cannot be read."""
    reference, kind = read_kept_id(body, "reference"), read_kind(body, KINDS, "transaction")
    number = body.get("id")
    aliases = keep_ids(str(number)) if isinstance(number, int) else ()
    if kind is FactKind.SUCCEEDED:
        amount_minor, currency = read_units(AMOUNTS, body, "amount")
        return Fact(kind, reference, amount_minor=amount_minor, currency=currency, aliases=aliases)
    message = clean_message(body.get("gateway_response")) if kind is FactKind.ATTEMPT_DECLINED else None
    return Fact(kind, reference, message=message, aliases=aliases)


def name_payment(body: Any) -> uuid.UUID | None:
    """Return the payment that an event's object names. Raise nothing."""
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, dict):
        return None
    transaction = data.get("transaction")
    named = transaction.get("reference") if isinstance(transaction, dict) else data.get("transaction_reference")
    return read_payment_id(data.get("reference", named))


def translate(body: Mapping[str, Any]) -> list[Event]:
    """Return what an event says: a dispute that was lost has also taken money. Raise Unusable."""
    kind, data = body.get("event"), body.get("data")
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise Unusable("the event has no name or no data")
    if kind not in _REFUNDS | _DISPUTES | {_PAID}:
        return [Ignored("of no interest")]
    payment_id = name_payment(body)
    if payment_id is None:
        return [Ignored("no payment of ours")]
    if kind in _REFUNDS:
        return [Asks(payment_id)]
    is_live = _LIVE.get(str(data.get("domain")))
    if is_live is None:
        raise Unusable("the event does not say whether it is about real money")
    try:
        fact = read_dispute(data) if kind in _DISPUTES else _read_paid(data)
    except UnexpectedAnswer as error:
        raise Unusable(str(error)) from None
    told = Told(payment_id, fact, is_live=is_live)
    return [told, Asks(payment_id)] if fact.dispute_state == "lost" else [told]


def _read_paid(data: Mapping[str, Any]) -> Fact:
    fact = read_transaction(data)
    if fact.kind is not FactKind.SUCCEEDED:
        raise UnexpectedAnswer(f"an event about money shows a transaction that is {fact.kind}", "status")
    return fact


def read_dispute(data: Mapping[str, Any]) -> Fact:
    """Return the state of a dispute. Raise UnexpectedAnswer."""
    number, until = data.get("id"), data.get("dueAt")
    if not isinstance(number, int):
        raise UnexpectedAnswer("the provider's dispute has no number", "id")
    state = _RESOLUTIONS.get(str(data.get("resolution")), "opened")
    try:
        due_at = datetime.datetime.fromisoformat(until) if isinstance(until, str) else None
    except ValueError:
        due_at = None
    about: dict[str, Any] = {"dispute_id": str(number), "reason": clean_message(data.get("category"))}
    return Fact(
        FactKind.DISPUTE, dispute_state=state, **about, evidence_due_at=due_at if due_at and due_at.tzinfo else None
    )
