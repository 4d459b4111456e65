"""Validates the body of a request that creates a payment."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from sandbox.values import amounts, json_input, timestamps

_FIELDS = (
    *("amount", "currency", "merchant_reference", "success_url", "failure_url", "callback_urls", "metadata"),
    "expires_at",
)
_CALLBACKS = frozenset(("success", "failed", "callback", "provider"))
_MERCHANT_REFERENCE = re.compile(r"[!-~]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PaymentOrder:
    """The validated request for a payment; the amount in minor units."""

    amount_minor: int
    currency: str
    merchant_reference: str
    success_url: str | None
    failure_url: str | None
    callback_urls: dict[str, str]
    metadata: dict[str, str]
    expires_at: str | None
    # Fields in the provider's own words that its answers repeat.
    request: dict[str, Any] = field(default_factory=dict)


def read_order(raw: bytes) -> PaymentOrder:
    """Read the body of a create call. Raise Refusal 400 or 422 that names the field."""
    body = json_input.read_object(raw, _FIELDS)
    currency = amounts.parse_currency(body.get("currency"))
    reference = body.get("merchant_reference")
    if not isinstance(reference, str) or not _MERCHANT_REFERENCE.fullmatch(reference):
        raise json_input.invalid("merchant_reference", "must be 1 to 255 printable ASCII characters without blanks")
    expires_at = body.get("expires_at")
    return PaymentOrder(
        amount_minor=amounts.parse(body.get("amount"), currency),
        currency=currency,
        merchant_reference=reference,
        success_url=json_input.read_url(body.get("success_url"), "success_url"),
        failure_url=json_input.read_url(body.get("failure_url"), "failure_url"),
        callback_urls=_callback_urls(body.get("callback_urls")),
        metadata=json_input.read_metadata(body.get("metadata"), "metadata"),
        expires_at=None if expires_at is None else timestamps.parse(expires_at, "expires_at"),
    )


def _callback_urls(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not _CALLBACKS.issuperset(value):
        raise json_input.invalid("callback_urls", f"must be an object with the fields {', '.join(sorted(_CALLBACKS))}")
    checked = {kind: json_input.read_url(url, f"callback_urls.{kind}") for kind, url in value.items()}
    return {kind: url for kind, url in checked.items() if url is not None}
