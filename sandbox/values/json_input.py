"""Parses JSON bodies and checks the fields that several kinds of body have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from sandbox.values.refusal import Refusal

# The 2,048 characters that a client may send (CONTRACT section 3), and the payment id that is added to them.
_LONGEST_URL = 2_112
# A host that may stand in a Content-Security-Policy and in a Location header as it is: nothing there divides either.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_URL_CHARACTERS = re.compile(r"[!-~]+", re.ASCII)
# CONTRACT section 3: up to 50 pairs of 40 and 500 characters; a provider that took less would lose the merchant's id.
_MOST_METADATA = 50
_LONGEST_METADATA_KEY = 40
_LONGEST_METADATA_VALUE = 500


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
    raise invalid(field, "must be an absolute http or https URL without credentials, or null")


def read_metadata(value: object, field: str) -> dict[str, str]:
    """Check a mapping of texts to texts; None is an empty one. Raise Refusal 422."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > _MOST_METADATA:
        raise invalid(field, f"must be an object of at most {_MOST_METADATA} texts")
    for key, text in value.items():
        if not isinstance(text, str) or len(key) > _LONGEST_METADATA_KEY or len(text) > _LONGEST_METADATA_VALUE:
            raise invalid(field, "must map texts to texts of at most 40 and 500 characters")
    return value


def invalid(field: str, rule: str) -> Refusal:
    """Return the refusal of a field that breaks a rule."""
    return Refusal(422, "invalid_field", f"{field} {rule}")
