"""JSON as a door should read it: no duplicate keys, no NaN, no lone surrogates, bounded in depth."""

from __future__ import annotations

import json
from typing import Any, NoReturn

# Nothing that Sluice takes is nested deeper than metadata in a body; the rest is room for providers' own bodies.
DEPTH_MAX = 32


class JsonError(ValueError):
    """The body is not JSON that can be read in one way only."""


def loads(raw: bytes) -> Any:
    """Returns the value in `raw` (UTF-8). Numbers with a fraction come as float. Raises JsonError."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise JsonError("the body is not UTF-8") from None
    _check_depth(text)
    try:
        value = json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_int=_bounded_int
        )
    except JsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise JsonError(f"the body is not JSON: {error}") from None
    if "\\u" in text:
        _refuse_unstorable(value)
    return value


def _check_depth(text: str) -> None:
    depth, in_string, is_escaped = 0, False, False
    for character in text if text.count("[") + text.count("{") > DEPTH_MAX else "":
        if in_string:
            if is_escaped:
                is_escaped = False
            elif character == "\\":
                is_escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise JsonError(f"the body is nested deeper than {DEPTH_MAX}")
        elif character in "]}":
            depth -= 1


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise JsonError("the body has a key twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not JSON")


def _bounded_int(digits: str) -> int:
    # Python refuses to convert longer ones anyway; this says so in our words.
    if len(digits) > 32:
        raise JsonError("a number in the body is too long")
    return int(digits)


def _refuse_unstorable(value: Any) -> None:
    """NUL and lone surrogates can be written in JSON but not be stored as text."""
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
