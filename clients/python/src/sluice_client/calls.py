"""One call of the API as plain values, and what follows from its outcome; nothing here does input or output."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from sluice_client.errors import ApiError, NoAnswerError, SluiceError

Answer = TypeVar("Answer")

# How long an answer may take, in addition to the wait that was asked for.
ANSWER_SECONDS = 10.0
# Six tries span about 12 seconds, longer than a restart of the server takes.
RETRIES_DEFAULT = 5
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0
# A caller waits: a later Retry-After becomes the error.
_LONGEST_RETRY_AFTER_SECONDS = 60.0
# These say that nothing was done; 502 and 504 come from proxies, which do not know.
_NOT_DONE = frozenset({429, 503})
_UNKNOWN = frozenset({500, 502, 504})


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A request and the type of its answer. `is_repeatable`: doing it twice has the effect of doing it once."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0
    is_repeatable: bool = True

    @property
    def timeout(self) -> float:
        """How many seconds the answer may take."""
        return ANSWER_SECONDS + self.wait


class NotReachedError(NoAnswerError):
    """The connection could not be made, so that surely nothing was done."""


def find_pause(call: Call[Any], error: SluiceError, tries: int, retries: int) -> float | None:
    """Return the seconds to wait before the call is sent again after `tries` tries; None where it is not to be."""
    if tries > retries or not is_passing(error):
        return None
    nothing_done = isinstance(error, NotReachedError) or (isinstance(error, ApiError) and error.status in _NOT_DONE)
    if not (call.is_repeatable or nothing_done):
        return None
    if isinstance(error, ApiError) and error.retry_after is not None:
        return error.retry_after if error.retry_after <= _LONGEST_RETRY_AFTER_SECONDS else None
    return back_off(tries)


def is_passing(error: SluiceError) -> bool:
    """Return whether the same call may succeed later."""
    return isinstance(error, NoAnswerError) or (isinstance(error, ApiError) and error.status in _NOT_DONE | _UNKNOWN)


def back_off(failures: int) -> float:
    """Return a random pause that grows with the failures; the randomness keeps clients from coming back together."""
    longest: float = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 8))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # no secret


def read_problem(status: int, content: Any, headers: Mapping[str, str], request_id: str) -> ApiError:
    """Return the error of an answer with an error status; `content` is its JSON, or None."""
    problem = content if isinstance(content, dict) else {}
    return ApiError(status, problem, request_id, _read_retry_after(headers.get("retry-after")))


def _read_retry_after(value: str | None) -> float | None:
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def new_key() -> str:
    """Return a new idempotency key."""
    return str(uuid.uuid4())


def key_header(idempotency_key: str | None) -> dict[str, str]:
    """Return the header with the given key, or a new one: every try of the call has the same."""
    return {"Idempotency-Key": new_key() if idempotency_key is None else idempotency_key}


def segment(value: str) -> str:
    """Return a value as one part of a path."""
    return quote(value, safe="")


def amount_text(amount: str | Decimal) -> str:
    """Return an amount as the API takes it. Raise TypeError for numbers that are not exact."""
    if isinstance(amount, Decimal):
        return format(amount, "f")
    if not isinstance(amount, str):
        raise TypeError("an amount is a decimal string or a Decimal, so that it stays exact")
    return amount


def without_none(**values: Any) -> dict[str, Any]:
    """Return the values that were given."""
    return {name: value for name, value in values.items() if value is not None}


def time_text(moment: datetime | str | None) -> str | None:
    """Return a time as RFC 3339 in UTC. Raise ValueError for one without a zone."""
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
