"""Fields of a provider's answer that are stored with a payment or shown: checked, never truncated."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from app.core.errors import OutcomeUnknown, UnexpectedAnswer
from app.core.money import AmountError, CurrencyError
from app.core.redaction import redact
from app.core.validation.provider_values import is_redirect_url, is_reference
from app.providers.adapters.common_webhook import MESSAGE_LENGTH_MAX
from app.providers.amounts import AmountTable

# A kind of fact, or the state of a refund.
Kind = TypeVar("Kind")


def check_subject(body: Mapping[str, Any], payment_id: uuid.UUID) -> None:
    """Raise UnexpectedAnswer where the answer names another payment than the one that was asked about."""
    named = body.get("merchant_reference")
    if named is not None and named != str(payment_id):
        raise UnexpectedAnswer("the provider's answer is about another payment", "merchant_reference")


def read_answer_reference(body: Mapping[str, Any]) -> str:
    """Return the provider's reference. Raise UnexpectedAnswer where it cannot be kept, OutcomeUnknown without one."""
    return _read(body, "reference", is_reference, "a reference that cannot be kept")


def read_redirect_url(body: Mapping[str, Any], field: str = "redirect_url") -> str:
    """Return the payment page's URL. Raise UnexpectedAnswer for an invalid one, OutcomeUnknown without one."""
    return _read(body, field, is_redirect_url, f"a {field} that no browser may follow")


def _read(body: Mapping[str, Any], field: str, is_usable: Callable[[object], bool], unusable: str) -> str:
    value = body.get(field)
    if value is None:
        raise OutcomeUnknown(f"the provider's answer has no {field}")
    if not is_usable(value):
        raise UnexpectedAnswer(f"the provider's answer has {unusable}", field)
    return str(value)


def read_error_message(body: Mapping[str, Any]) -> str | None:
    """Return the error message, None where it is no text: the state that comes with it counts."""
    return clean_message(body.get("error_message"))


def clean_message(message: object) -> str | None:
    """Return a provider's message, cut and without credentials and card numbers; None where it is no text."""
    return redact(message[:MESSAGE_LENGTH_MAX]) if isinstance(message, str) and message else None


def read_own_id(value: object) -> uuid.UUID | None:
    """Return our payment id, None for any other value."""
    try:
        return uuid.UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def read_creation(payment_id: uuid.UUID) -> datetime.datetime:
    """Return when one of our payments was made, as its id says. Raise OutcomeUnknown for an id that does not."""
    if payment_id.version != 7:
        raise OutcomeUnknown("the payment's id does not say when it was made")
    return datetime.datetime.fromtimestamp((payment_id.int >> 80) / 1000, datetime.UTC)


def check_own_id(named: object, payment_id: uuid.UUID, field: str) -> None:
    """Raise UnexpectedAnswer unless `named`, which the answer has in `field`, is the payment that was asked about."""
    if named != str(payment_id):
        raise UnexpectedAnswer("the provider's answer is about another payment", field)


def read_kept_id(body: Mapping[str, Any], field: str = "id") -> str:
    """Return the id of a provider's object. Raise UnexpectedAnswer where it cannot be kept."""
    value = body.get(field)
    if not is_reference(value):
        raise UnexpectedAnswer("the provider's object has an id that cannot be kept", field)
    return str(value)


def read_kind(body: Mapping[str, Any], kinds: Mapping[str, Kind], what: str) -> Kind:
    """Return what `kinds` has of the `status` of a provider's object, such as a payment. Raise UnexpectedAnswer."""
    status = body.get("status")
    kind = kinds.get(status) if isinstance(status, str) else None
    if kind is None:
        raise UnexpectedAnswer(f"the provider's {what} has an unknown status: {redact(str(status)[:40])!r}", "status")
    return kind


def keep_ids(*ids: object) -> tuple[str, ...]:
    """Return those of `ids` that can be kept, as aliases of a payment."""
    return tuple(str(one) for one in ids if is_reference(one))


def read_units(amounts: AmountTable, body: Mapping[str, Any], field: str) -> tuple[int, str]:
    """Return an amount in the provider's units and the `currency` next to it as (minor units, currency).

    Raise UnexpectedAnswer.
    """
    currency = str(body.get("currency")).upper()
    try:
        return amounts.to_minor(body.get(field), currency), currency
    except (AmountError, CurrencyError) as error:
        raise UnexpectedAnswer(f"the provider's object has an unreadable amount: {error}", field) from error
