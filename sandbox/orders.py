"""Reading what a merchant asks for when it creates a payment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from sandbox import amounts, moments
from sandbox.refusal import Refusal

_FIELDS = frozenset(
    (
        "amount",
        "currency",
        "merchant_reference",
        "success_url",
        "failure_url",
        "callback_urls",
        "metadata",
        "expires_at",
    )
)
_CALLBACKS = frozenset(("success", "failed", "callback", "provider"))
# Browsers and servers commonly agree on addresses of about this length; CONTRACT section 3 uses the same figure.
# 2,048 characters of a client (CONTRACT section 3), and a payment id that was added to them.
_LONGEST_URL = 2_112
# A host that may stand in a Content-Security-Policy and in a Location header as it is: nothing there divides either.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_URL_CHARACTERS = re.compile(r"[!-~]+", re.ASCII)
_MERCHANT_REFERENCE = re.compile(r"[!-~]{1,255}", re.ASCII)
# CONTRACT section 3: up to 50 pairs of 40 and 500 characters; a provider that took less would lose the merchant's id.
_MOST_METADATA = 50
_LONGEST_METADATA_KEY = 40
_LONGEST_METADATA_VALUE = 500


@dataclass(frozen=True, slots=True)
class Order:
    """What a merchant asked for: amount in minor units, every text checked."""

    amount_minor: int
    currency: str
    merchant_reference: str
    success_url: str | None
    failure_url: str | None
    callback_urls: dict[str, str]
    metadata: dict[str, str]
    expires_at: str | None


def read_object(raw: bytes, allowed: Iterable[str] | None = None) -> dict[str, object]:
    """Read a JSON object; an empty body is an empty object.

    Raise Refusal 400 for anything that is no JSON object, 422 for a field outside `allowed`.
    """
    try:
        value = json.loads(raw or b"{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refusal(400, "invalid_json", "the body must be a JSON object") from None
    if not isinstance(value, dict):
        raise Refusal(400, "invalid_json", "the body must be a JSON object")
    if allowed is not None and (unknown := sorted(set(value) - set(allowed))):
        raise Refusal(422, "unknown_field", f"unknown field {unknown[0]!r}")
    return value


def _refuse_constant(text: str) -> None:
    raise ValueError(text)


def read_order(raw: bytes) -> Order:
    """Read the body of a create call. Raise Refusal 400 or 422 that names the field."""
    body = read_object(raw, _FIELDS)
    currency = amounts.parse_currency(body.get("currency"))
    reference = body.get("merchant_reference")
    if not isinstance(reference, str) or not _MERCHANT_REFERENCE.fullmatch(reference):
        raise _invalid("merchant_reference", "must be 1 to 255 printable ASCII characters without blanks")
    expires_at = body.get("expires_at")
    return Order(
        amount_minor=amounts.parse(body.get("amount"), currency),
        currency=currency,
        merchant_reference=reference,
        success_url=read_url(body.get("success_url"), "success_url"),
        failure_url=read_url(body.get("failure_url"), "failure_url"),
        callback_urls=_callback_urls(body.get("callback_urls")),
        metadata=read_metadata(body.get("metadata"), "metadata"),
        expires_at=None if expires_at is None else moments.parse(expires_at, "expires_at"),
    )


def read_url(value: object, field: str) -> str | None:
    """Check an absolute http or https URL, or None. Raise Refusal 422."""
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= _LONGEST_URL and _URL_CHARACTERS.fullmatch(value):
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and _AUTHORITY.fullmatch(parts.netloc) and parts.port != 0
        except ValueError:
            usable = False
        if usable:
            return value
    raise _invalid(field, "must be an absolute http or https URL without credentials, or null")


def read_metadata(value: object, field: str) -> dict[str, str]:
    """Check a mapping of texts to texts; None is an empty one. Raise Refusal 422."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > _MOST_METADATA:
        raise _invalid(field, f"must be an object of at most {_MOST_METADATA} texts")
    for key, text in value.items():
        if not isinstance(text, str) or len(key) > _LONGEST_METADATA_KEY or len(text) > _LONGEST_METADATA_VALUE:
            raise _invalid(field, "must map texts to texts of at most 40 and 500 characters")
    return value


def _callback_urls(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not _CALLBACKS.issuperset(value):
        raise _invalid("callback_urls", f"must be an object with the fields {', '.join(sorted(_CALLBACKS))}")
    checked = {kind: read_url(url, f"callback_urls.{kind}") for kind, url in value.items()}
    return {kind: url for kind, url in checked.items() if url is not None}


def _invalid(field: str, rule: str) -> Refusal:
    return Refusal(422, "invalid_field", f"{field} {rule}")
