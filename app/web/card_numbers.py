"""Finds payment card numbers in requests, which are refused: Sluice stores none and changes no client's data."""

from __future__ import annotations

import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from app.core.validation.card_numbers import has_card
from app.runtime.runtime import Runtime
from app.services.tenants.policies import read_id_fields

MESSAGE = (
    "looks like a payment card number; a field that is an id can be named in the tenant's policy"
    " (sluice tenants policy --id-fields)"
)

# Their own validation refuses card numbers.
_BOUNDED = frozenset({"amount", "currency", "provider_id"})
_URLS = frozenset({"success_url", "failure_url"})


def card_errors(
    runtime: Runtime, tenant_id: uuid.UUID, body: Mapping[str, Any], idempotency_key: str | None = None
) -> list[dict[str, str]]:
    """Return an error for each field of a request that has a card number and is no id by the tenant's policy."""
    found = {field: name for field, name, text in _list_texts(body, idempotency_key) if has_card(text)}
    if not found:
        return []
    # Queried only now: a request without such a number costs no query.
    ids = read_id_fields(runtime, tenant_id)
    return [{"field": field, "message": MESSAGE} for field, name in found.items() if name not in ids]


def _list_texts(body: Mapping[str, Any], idempotency_key: str | None) -> Iterator[tuple[str, str | None, str]]:
    """Yield each text of a request with its field and the name by which a policy can make it an id."""
    if idempotency_key is not None:
        yield "Idempotency-Key", "Idempotency-Key", idempotency_key
    for field, value in body.items():
        if field in _BOUNDED:
            continue
        if isinstance(value, dict):
            yield from _list_pairs(field, value)
        elif isinstance(value, str):
            yield field, field, value
            if field in _URLS:
                yield field, field, urllib.parse.unquote(value)


def _list_pairs(field: str, pairs: dict[str, Any]) -> Iterator[tuple[str, str | None, str]]:
    for key, value in pairs.items():
        # An error names the pair by its key, unless the key itself is the number: it must not be repeated.
        yield field, None, key
        if isinstance(value, str):
            yield field if has_card(key) else f"{field}.{key}", key, value
