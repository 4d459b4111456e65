"""The webhook body of the three common paths (CONTRACT section 4), translated into a fact."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from app.core.errors import Unusable
from app.core.facts import Fact, FactKind
from app.core.money import AmountError, CurrencyError, parse_exact_amount
from app.core.redaction import redact
from app.core.validation.provider_values import REFERENCE_LENGTH_MAX, is_reference
from app.providers.events import Told

_KINDS = {
    "success": FactKind.SUCCEEDED,
    "failed": FactKind.DECLINED,
    "cancelled": FactKind.CANCELLED,
    "processing": FactKind.COMMITTED,
}

# Error messages of providers are shown to users; longer ones are cut.
MESSAGE_LENGTH_MAX = 500


def translate_callback(body: Mapping[str, Any], settles_within_days: int) -> Told:
    """Return the fact. Raise Unusable where the body is incomplete or contradicts itself.

    `settles_within_days`: how long the provider's slow methods take, which the body does not say.
    """
    payment_id = read_payment_id(body)
    status = body.get("status")
    kind = _KINDS.get(status) if isinstance(status, str) else None
    if kind is None:
        raise Unusable("the status is none of success, failed, cancelled and processing")
    event_type = body.get("event_type")
    if event_type != f"payment.{status}":
        raise Unusable(f"event_type {event_type!r} and status {status!r} disagree")
    reference = read_reference(body)
    if kind is FactKind.SUCCEEDED:
        amount_minor, currency = read_money(body)
        return Told(payment_id, Fact(kind, reference, amount_minor=amount_minor, currency=currency))
    # Amounts are ignored where the payment did not succeed (CONTRACT section 4).
    days = settles_within_days if kind is FactKind.COMMITTED else None
    return Told(payment_id, Fact(kind, reference, message=read_message(body), settles_within_days=days))


def read_payment_id(body: Mapping[str, Any]) -> uuid.UUID:
    """Return our payment's id. Raise Unusable."""
    value = body.get("transaction_id")
    try:
        return uuid.UUID(value if isinstance(value, str) else "")
    except ValueError:
        raise Unusable("transaction_id is not one of our payment ids") from None


def name_payment(body: Any) -> uuid.UUID | None:
    """Return the id of the payment that the parsed body names, None where it names none."""
    try:
        return read_payment_id(body) if isinstance(body, dict) else None
    except Unusable:
        return None


def read_money(body: Mapping[str, Any]) -> tuple[int, str]:
    """Return `amount` and `currency` as (minor units, currency). Raise Unusable."""
    currency = body.get("currency")
    try:
        return parse_exact_amount(body.get("amount"), currency if isinstance(currency, str) else ""), str(currency)
    except (AmountError, CurrencyError) as error:
        raise Unusable(f"amount {error}") from None


def read_message(body: Mapping[str, Any]) -> str | None:
    """Return the provider's error message, cut, without credentials and card numbers. Raise Unusable."""
    message = read_text(body, "error_message")
    return message and redact(message[:MESSAGE_LENGTH_MAX])


def read_reference(body: Mapping[str, Any]) -> str | None:
    """Return the provider's reference. Raise Unusable where it cannot be kept: cut, it would be another payment's."""
    reference = read_text(body, "provider_reference")
    if reference is not None and not is_reference(reference):
        raise Unusable(f"provider_reference has more than {REFERENCE_LENGTH_MAX} characters")
    return reference


def read_text(body: Mapping[str, Any], field: str) -> str | None:
    """Return an optional text field as it is. Raise Unusable where it is no text."""
    value = body.get(field)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Unusable(f"{field} is not text")
    return value
