"""Checks fields of forms, of JSON and of queries alike; every refusal names its field."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from sandbox.values import json_input, timestamps
from sandbox.values.refusal import Refusal

_LONGEST_NUMBER = 18
_LATEST_EPOCH = 10**11


def refuse(field: str, message: str, code: str = "invalid_field") -> Refusal:
    """Return the refusal of a field."""
    return Refusal(400, code, message, field)


def text(fields: Mapping[str, Any], name: str, longest: int, *, needed: bool = False) -> str | None:
    """Return a text, None where it is absent."""
    value = fields.get(name)
    if value is None and not needed:
        return None
    if not isinstance(value, str) or not value or len(value) > longest:
        raise refuse(name, f"{name} must be a text of at most {longest} characters")
    return value


def url(fields: Mapping[str, Any], name: str, *, needed: bool = False) -> str | None:
    """Return an absolute http or https URL, None where it is absent."""
    value = fields.get(name)
    try:
        found = json_input.read_url(value, name)
    except Refusal:
        found = None
    if found is None and (needed or value is not None):
        raise refuse(name, f"{name} must be an absolute http or https URL")
    return found


def table(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a nested table, an empty one where it is absent."""
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refuse(name, f"{name} must be an object")
    return value


def texts(fields: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return a table of texts, as metadata is."""
    try:
        return json_input.read_metadata(table(fields, name), name)
    except Refusal as refusal:
        raise refuse(name, refusal.message) from None


def number(fields: Mapping[str, Any], name: str, default: int | None, highest: int) -> int:
    """Return a whole number from 1 to `highest`; without a default it is needed."""
    value = fields.get(name, default)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _LONGEST_NUMBER:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= highest:
        raise refuse(name, f"{name} must be a whole number from 1 to {highest}")
    return value


def epoch(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a time given in seconds since 1970 in the stored form, None where it is absent."""
    return timestamps.from_epoch(number(fields, name, None, _LATEST_EPOCH)) if name in fields else None


def unnamed() -> str:
    """Return a merchant's reference for a payment that the merchant gave none."""
    return "unnamed-" + secrets.token_hex(8)
