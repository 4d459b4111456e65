"""The kinds of query and header parameters: how the text is read, and the JSON Schema that says so."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from app.web.cursors import (
    CURSOR_LENGTH_MAX,
    VERSIONS_CURSOR_LENGTH_MAX,
    read_cursor,
    read_number_cursor,
    read_versions_cursor,
)

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_UUID = re.compile(r"[0-9a-fA-F-]{32,36}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kind:
    """Metadata of a parameter's field: `read` returns the value of a text or raises ValueError or OverflowError.

    `message` is the text of the problem, `schema` the JSON Schema in the OpenAPI document.
    """

    read: Callable[[str], Any]
    schema: dict[str, Any]
    message: str = ""

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Replace the type's own validation: pydantic's takes more spellings than the schema allows."""
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, _core: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of the parameter."""
        return dict(self.schema)

    def _validate(self, text: str) -> Any:
        try:
            return self.read(text)
        except (ValueError, OverflowError):
            raise ValueError(self.message) from None


def whole(minimum: int, maximum: int) -> Kind:
    """Return the kind of a whole number from `minimum` to `maximum`."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 19 or not minimum <= int(text) <= maximum:
            raise ValueError
        return int(text)

    schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return Kind(read, schema, f"must be a whole number from {minimum} to {maximum}")


def choice(*choices: str) -> Kind:
    """Return the kind of a text that is one of `choices`."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return Kind(read, {"enum": [*map(str, choices)]}, f"must be one of {', '.join(choices)}")


def matching(pattern: str, message: str, *, length_max: int | None = None) -> Kind:
    """Return the kind of an ASCII text that `pattern` matches as a whole, with `length_max` characters at most."""
    compiled = re.compile(pattern, re.ASCII)

    def read(text: str) -> str:
        if not compiled.fullmatch(text) or (length_max is not None and len(text) > length_max):
            raise ValueError
        return text

    limits = {} if length_max is None else {"minLength": 1, "maxLength": length_max}
    return Kind(read, {"type": "string", **limits, "pattern": pattern}, message)


def _read_flag(text: str) -> bool:
    return ("false", "true").index(text) == 1


def _read_time(text: str) -> datetime.datetime:
    if not _TIME.fullmatch(text):
        raise ValueError
    return datetime.datetime.fromisoformat(text.upper()).astimezone(datetime.UTC)


def _read_uuid(text: str) -> uuid.UUID:
    if not _UUID.fullmatch(text):
        raise ValueError
    return uuid.UUID(text)


_NO_CURSOR = "is not a next_cursor of this list"
_CURSOR_SCHEMA = {"type": "string", "maxLength": CURSOR_LENGTH_MAX}

FLAG = Kind(_read_flag, {"type": "boolean"}, "must be one of true, false")
TIME = Kind(
    _read_time, {"type": "string", "format": "date-time"}, "must be an RFC 3339 time such as 2026-01-31T12:00:00Z"
)
UUID = Kind(_read_uuid, {"type": "string", "format": "uuid"}, "must be a UUID")
CURSOR = Kind(read_cursor, _CURSOR_SCHEMA, _NO_CURSOR)
VERSIONS_CURSOR = Kind(read_versions_cursor, _CURSOR_SCHEMA | {"maxLength": VERSIONS_CURSOR_LENGTH_MAX}, _NO_CURSOR)
NUMBER_CURSOR = Kind(read_number_cursor, _CURSOR_SCHEMA, _NO_CURSOR)
