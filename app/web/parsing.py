"""Reads what requests carry: strict JSON bodies, bounded numbers, times, ids and cursors."""

from __future__ import annotations

import base64
import binascii
import datetime
import re
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel

from app.core.errors import RequestRejected
from app.core.strict_json import loads

PAGE_ROWS_DEFAULT = 20
PAGE_ROWS_MAX = 100
# A deposit with fifty full metadata pairs and two long URLs has some 325 KB where each character is an escaped pair of
# surrogates (12 bytes).
API_BODY_BYTES_MAX = 384 * 1024
BIGINT_MAX = 2**63 - 1

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)

Body = TypeVar("Body", bound=BaseModel)
Value = TypeVar("Value")


def field_error(field: str, message: str, status: int = 422) -> RequestRejected:
    """Return the error that names one field."""
    return RequestRejected(status, "The request has errors.", [{"field": field, "message": message}])


def read_body(model: type[Body]) -> Body:
    """Return the JSON body as `model`. Raise JsonError (400), RequestRejected (413, 415), ValidationError (422)."""
    if request.mimetype != "application/json":
        raise RequestRejected(415, "The body must be application/json.")
    return model.model_validate(loads(read_bounded(API_BODY_BYTES_MAX)))


def read_optional_body(model: type[Body]) -> Body:
    """Return the JSON body as `model`, all defaults where there is no body. Raise as `read_body`."""
    raw = read_bounded(API_BODY_BYTES_MAX)
    if not raw:
        return model()
    if request.mimetype != "application/json":
        raise RequestRejected(415, "The body must be application/json.")
    return model.model_validate(loads(raw))


def read_bounded(bytes_max: int) -> bytes:
    """Return the raw body. Raise RequestRejected (413) for one that is longer, whether it says so or not."""
    # One byte more than allowed is enough to know; a length that was announced is not believed.
    raw = request.stream.read(bytes_max + 1) if (request.content_length or 0) <= bytes_max else None
    if raw is None or len(raw) > bytes_max:
        raise RequestRejected(413, f"A body has at most {bytes_max} bytes here.")
    return raw


def read_integer(name: str, minimum: int, maximum: int, default: int | None = None) -> int | None:
    """Return a whole-number query parameter. Raise RequestRejected naming it."""
    raw = _single(name)
    if raw is None:
        return default
    if not raw.isascii() or not raw.isdigit() or len(raw) > 19 or not minimum <= int(raw) <= maximum:
        raise field_error(name, f"must be a whole number from {minimum} to {maximum}")
    return int(raw)


def read_limit() -> int:
    """Return the page size."""
    return read_integer("limit", 1, PAGE_ROWS_MAX, PAGE_ROWS_DEFAULT) or PAGE_ROWS_DEFAULT


def read_choice(name: str, choices: tuple[str, ...]) -> str | None:
    """Return a query parameter that is one of `choices`."""
    raw = _single(name)
    if raw is not None and raw not in choices:
        raise field_error(name, f"must be one of {', '.join(choices)}")
    return raw


def read_matching(name: str, pattern: re.Pattern[str], message: str) -> str | None:
    """Return a query parameter that `pattern` matches as a whole."""
    raw = _single(name)
    if raw is not None and not pattern.fullmatch(raw):
        raise field_error(name, message)
    return raw


def read_time(name: str) -> datetime.datetime | None:
    """Return an RFC 3339 query parameter."""
    raw = _single(name)
    if raw is None:
        return None
    try:
        if not _TIME.fullmatch(raw):
            raise ValueError
        return datetime.datetime.fromisoformat(raw.upper()).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise field_error(name, "must be an RFC 3339 time such as 2026-01-31T12:00:00Z") from None


def read_path_id(value: str) -> uuid.UUID:
    """Return an id from the path; what is no id is an object that does not exist."""
    try:
        return uuid.UUID(value)
    except ValueError:
        raise RequestRejected(404, "There is no such object.") from None


def _single(name: str) -> str | None:
    values = request.args.getlist(name)
    if len(values) > 1:
        raise field_error(name, "is given twice")
    return values[0] if values else None


def read_known(*names: str) -> None:
    """Raise RequestRejected for a query parameter that the route does not take: a typo must not widen a list."""
    for name in request.args:
        if name not in names:
            raise field_error(name, "is not a parameter of this route")


def write_cursor(at: datetime.datetime, row_id: uuid.UUID) -> str:
    """Return the opaque place of a row in a list that is sorted by time and id."""
    raw = f"{at.astimezone(datetime.UTC).isoformat()} {row_id}".encode()
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def read_cursor() -> tuple[datetime.datetime, uuid.UUID] | None:
    """Return the place that `cursor` names."""

    def decode(raw: str) -> tuple[datetime.datetime, uuid.UUID]:
        at, _, row_id = base64.b64decode(raw + "=" * (-len(raw) % 4), b"-_", validate=True).decode().partition(" ")
        moment = datetime.datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(datetime.UTC), uuid.UUID(row_id)

    return _decoded_cursor(decode)


def read_number_cursor() -> int | None:
    """Return the number that `cursor` names, where a list is sorted by number."""

    def decode(raw: str) -> int:
        if not raw.isascii() or not raw.isdigit() or int(raw) > BIGINT_MAX:
            raise ValueError
        return int(raw)

    return _decoded_cursor(decode)


def _decoded_cursor(decode: Callable[[str], Value]) -> Value | None:
    raw = _single("cursor")
    if raw is None:
        return None
    try:
        if len(raw) > 200:
            raise ValueError
        return decode(raw)
    except (ValueError, OverflowError, binascii.Error):
        raise field_error("cursor", "is not a next_cursor of this list") from None


def page(rows: list[Any], limit: int, cursor: Callable[[Any], str]) -> tuple[list[Any], str | None]:
    """Cut `rows`, of which one more than `limit` was asked for; return them and the cursor of the next page."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], cursor(rows[limit - 1])
