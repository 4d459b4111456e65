"""Fields of a provider's answer that are stored with a payment or shown: checked, never truncated."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from app.core.errors import OutcomeUnknown, UnexpectedAnswer
from app.core.redaction import redact
from app.core.validation.provider_values import is_redirect_url, is_reference
from app.providers.adapters.common_webhook import MESSAGE_LENGTH_MAX


def check_subject(body: Mapping[str, Any], payment_id: uuid.UUID) -> None:
    """Raise UnexpectedAnswer where the answer names another payment than the one that was asked about."""
    named = body.get("merchant_reference")
    if named is not None and named != str(payment_id):
        raise UnexpectedAnswer("the provider's answer is about another payment", "merchant_reference")


def read_answer_reference(body: Mapping[str, Any]) -> str:
    """Return the provider's reference. Raise UnexpectedAnswer where it cannot be kept, OutcomeUnknown without one."""
    return _read(body, "reference", is_reference, "a reference that cannot be kept")


def read_redirect_url(body: Mapping[str, Any]) -> str:
    """Return the payment page's URL. Raise UnexpectedAnswer for an invalid one, OutcomeUnknown without one."""
    return _read(body, "redirect_url", is_redirect_url, "a redirect_url that no browser may follow")


def _read(body: Mapping[str, Any], field: str, is_usable: Callable[[object], bool], unusable: str) -> str:
    value = body.get(field)
    if value is None:
        raise OutcomeUnknown(f"the provider's answer has no {field}")
    if not is_usable(value):
        raise UnexpectedAnswer(f"the provider's answer has {unusable}", field)
    return str(value)


def read_error_message(body: Mapping[str, Any]) -> str | None:
    """Return the error message, None where it is no text: the state that comes with it counts."""
    message = body.get("error_message")
    return redact(message[:MESSAGE_LENGTH_MAX]) if isinstance(message, str) and message else None
