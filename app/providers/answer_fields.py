"""Fields of a provider's answer that are stored with a payment or shown: checked, never truncated."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from app.core.errors import OutcomeUnknown, UnexpectedAnswer
from app.core.redaction import redact
from app.core.validation.provider_values import is_redirect_url, is_reference
from app.providers.common_webhook import MESSAGE_LENGTH_MAX


def check_subject(body: Mapping[str, Any], payment_id: uuid.UUID) -> None:
    """Raise UnexpectedAnswer where the answer names another payment than the one that was asked about."""
    named = body.get("merchant_reference")
    if named is not None and named != str(payment_id):
        raise UnexpectedAnswer("the provider's answer is about another payment", "merchant_reference")


def read_answer_reference(body: Mapping[str, Any]) -> str:
    """Return the provider's reference. Raise UnexpectedAnswer where it cannot be kept, OutcomeUnknown without one."""
    reference = body.get("reference")
    if reference is None:
        raise OutcomeUnknown("the provider's answer has no reference")
    if not is_reference(reference):
        raise UnexpectedAnswer("the provider's answer has a reference that cannot be kept", "reference")
    return str(reference)


def read_redirect_url(body: Mapping[str, Any]) -> str:
    """Return the payment page's URL. Raise UnexpectedAnswer for an invalid one, OutcomeUnknown without one."""
    redirect_url = body.get("redirect_url")
    if redirect_url is None:
        raise OutcomeUnknown("the provider's answer has no redirect_url")
    if not is_redirect_url(redirect_url):
        raise UnexpectedAnswer("the provider's answer has a redirect_url that no browser may follow", "redirect_url")
    return str(redirect_url)


def read_error_message(body: Mapping[str, Any]) -> str | None:
    """Return the error message, None where it is no text: the state that comes with it counts."""
    message = body.get("error_message")
    return redact(message[:MESSAGE_LENGTH_MAX]) if isinstance(message, str) and message else None
