"""GoCardless's billing requests, payments and events as facts.

Events have no amounts, so almost all of them are hints to ask. One delivery has up to 250 of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from app.core.errors import Unusable
from app.core.facts import Fact, FactKind
from app.core.validation.provider_values import is_reference
from app.providers.amounts import iso_table
from app.providers.calls.answer_fields import clean_message, keep_ids, read_kept_id, read_kind, read_own_id, read_units
from app.providers.events import Asks, Event, Ignored, Name, Told

# The currencies of a billing request's single payment, in hundredths as ISO 4217 has them.
AMOUNTS = iso_table(dict.fromkeys(("EUR", "GBP"), 2))
# A direct debit takes up to six bank days, and twice as long where GoCardless tries again.
SETTLES_WITHIN_DAYS = 14
# Where metadata of ours has the payment's id.
OWN_ID = "payment_id"

# A billing request that is fulfilled has a payment, whose state counts.
FULFILLED = "fulfilled"
REQUESTS = {
    **dict.fromkeys(("pending", "ready_to_fulfil", "fulfilling"), FactKind.PENDING),
    FULFILLED: FactKind.COMMITTED,
    "cancelled": FactKind.CANCELLED,
}
CHARGED_BACK = "charged_back"
PAYMENTS = {
    **dict.fromkeys(("pending_customer_approval", "pending_submission", "submitted"), FactKind.COMMITTED),
    **dict.fromkeys(("confirmed", "paid_out", CHARGED_BACK), FactKind.SUCCEEDED),
    **dict.fromkeys(("failed", "customer_approval_denied"), FactKind.DECLINED),
    "cancelled": FactKind.CANCELLED,
}

_ATTEMPT_FAILED = frozenset(f"billing_requests.bank_authorisation_{how}" for how in ("denied", "failed", "expired"))
_NEWS = frozenset(
    (
        *("billing_requests.fulfilled", "billing_requests.cancelled", "billing_requests.failed"),
        *("payments.confirmed", "payments.failed", "payments.cancelled", "payments.customer_approval_denied"),
        *("payments.charged_back", "payments.chargeback_cancelled", "payments.chargeback_settled"),
        "payments.late_failure_settled",
        *("refunds.paid", "refunds.failed", "refunds.bounced", "refunds.funds_returned"),
    )
)


def read_request(body: Mapping[str, Any]) -> Fact:
    """Return the state of a billing request by itself. Raise UnexpectedAnswer where it cannot be read."""
    kind, reference = read_kind(body, REQUESTS, "billing request"), read_kept_id(body)
    days = SETTLES_WITHIN_DAYS if kind is FactKind.COMMITTED else None
    return Fact(kind, reference, settles_within_days=days, aliases=keep_ids(read_payment_link(body)))


def read_payment(request: Fact, body: Mapping[str, Any]) -> Fact:
    """Return the state of a fulfilled request by its payment. Raise UnexpectedAnswer where it cannot be read."""
    kind, aliases = read_kind(body, PAYMENTS, "payment"), keep_ids(read_kept_id(body))
    if kind is FactKind.SUCCEEDED:
        amount_minor, currency = read_units(AMOUNTS, body, "amount")
        return Fact(kind, request.reference, amount_minor=amount_minor, currency=currency, aliases=aliases)
    days = SETTLES_WITHIN_DAYS if kind is FactKind.COMMITTED else None
    return Fact(kind, request.reference, settles_within_days=days, aliases=aliases)


def read_payment_link(body: Mapping[str, Any]) -> object:
    """Return the id of a billing request's payment, None where it has none yet."""
    links = body.get("links")
    return links.get("payment_request_payment") if isinstance(links, dict) else None


def read_metadata_id(body: Mapping[str, Any], field: str = "metadata") -> uuid.UUID | None:
    """Return our payment id in an object's metadata, None where it has none of ours."""
    metadata = body.get(field)
    return read_own_id(metadata.get(OWN_ID)) if isinstance(metadata, dict) else None


def name_payment(body: Any) -> Name | None:
    """Return the payment that a delivery's first event names. Raise nothing."""
    events = body.get("events") if isinstance(body, dict) else None
    first = events[0] if isinstance(events, list) and events else None
    return _read_name(first, {}) if isinstance(first, dict) else None


def translate(body: Mapping[str, Any]) -> list[Event]:
    """Return what a delivery says, event by event. Raise Unusable."""
    events = body.get("events")
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise Unusable("the delivery has no events")
    # What comes with its fulfilment, a payment's first events come with too.
    request_ids: dict[object, str] = {}
    for event in events:
        links = event.get("links")
        if (
            isinstance(links, dict)
            and is_reference(links.get("billing_request"))
            and "payment_request_payment" in links
        ):
            request_ids[links["payment_request_payment"]] = str(links["billing_request"])
    return [_translate(event, request_ids) for event in events]


def _translate(event: Mapping[str, Any], request_ids: Mapping[object, str]) -> Event:
    event_id, kind = event.get("id"), f"{event.get('resource_type')}.{event.get('action')}"
    if not isinstance(event_id, str) or not is_reference(event_id):
        raise Unusable("an event has no id")
    if kind not in _NEWS | _ATTEMPT_FAILED:
        return Ignored("of no interest", event_id)
    name = _read_name(event, request_ids)
    if name is None or (kind in _ATTEMPT_FAILED and not isinstance(name, uuid.UUID)):
        # A bank's refusal is only reported of payments that are surely ours.
        return Ignored("no payment of ours", event_id)
    if kind in _NEWS:
        return Asks(name, event_id)
    details = event.get("details")
    message = clean_message(details.get("description")) if isinstance(details, dict) else None
    return Told(name, Fact(FactKind.ATTEMPT_DECLINED, message=message), event_id)


def _read_name(event: Mapping[str, Any], request_ids: Mapping[object, str]) -> Name | None:
    """Return our id, or else the id of GoCardless's billing request or payment."""
    own = read_metadata_id(event, "resource_metadata")
    links = event.get("links")
    if own is not None or not isinstance(links, dict):
        return own
    payment = links.get("payment")
    name = links.get("billing_request") or request_ids.get(payment) or payment
    return name if isinstance(name, str) and is_reference(name) else None
