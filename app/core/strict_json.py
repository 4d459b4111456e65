"""Strict JSON for untrusted bodies: no duplicate keys, no NaN, no lone surrogates, bounded depth."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

# Our own bodies have two levels (metadata in a body); bodies of providers have more.
DEPTH_MAX = 32

# Possessive, and it matches at every quote, also where a string has no end: linear time, no backtracking.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)


class JsonError(ValueError):
    """The body is not JSON that can be read in one way only."""


def loads(raw: bytes) -> Any:
    """Return the value in `raw` (UTF-8). Numbers with a fraction become float. Raise JsonError."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise JsonError("the body is not UTF-8") from None
    _check_depth(text)
    try:
        value = _DECODER.decode(text)
    except JsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise JsonError(f"the body is not JSON: {error}") from None
    if "\\u" in text:
        _refuse_unstorable(value)
    return value


def _check_depth(text: str) -> None:
    depth = 0
    # Brackets inside strings do not nest. Most bodies have too few brackets to need the count below.
    unquoted = _STRING.sub("", text) if text.count("[") + text.count("{") > DEPTH_MAX else ""
    for character in unquoted:
        depth += (character in "[{") - (character in "]}")
        if depth > DEPTH_MAX:
            raise JsonError(f"the body is nested deeper than {DEPTH_MAX}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise JsonError("the body has a key twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not JSON")


def _bounded_int(digits: str) -> int:
    # Python refuses to convert longer numbers anyway; this raises our error instead.
    if len(digits) > 32:
        raise JsonError("a number in the body is too long")
    return int(digits)


def _finite_float(digits: str) -> float:
    value = float(digits)
    # 1e999 is JSON, but becomes infinity, which can neither be stored nor written as JSON.
    if math.isinf(value):
        raise JsonError("a number in the body is too large")
    return value


# Made once: json.loads makes a decoder for each call that has hooks.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_int=_bounded_int, parse_float=_finite_float
)


def _refuse_unstorable(value: Any) -> None:
    """Raise JsonError for NUL and lone surrogates, which JSON can express and PostgreSQL cannot store as text."""
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise JsonError("the body has a character that is not text")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_unstorable(key)
            _refuse_unstorable(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_unstorable(item)
