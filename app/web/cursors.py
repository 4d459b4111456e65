"""Cursors of lists: the position of the last row of a page, opaque to clients."""

from __future__ import annotations

import base64
import datetime
import uuid
from collections.abc import Callable
from typing import Any

BIGINT_MAX = 2**63 - 1
CURSOR_LENGTH_MAX = 200


def write_cursor(at: datetime.datetime, row_id: uuid.UUID) -> str:
    """Return the cursor of a row in a list that is sorted by time and id."""
    raw = f"{at.astimezone(datetime.UTC).isoformat()} {row_id}".encode()
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def read_cursor(text: str) -> tuple[datetime.datetime, uuid.UUID]:
    """Return the time and id in a cursor. Raise ValueError or OverflowError for any other text."""
    if len(text) > CURSOR_LENGTH_MAX:
        raise ValueError
    at, _, row_id = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode().partition(" ")
    moment = datetime.datetime.fromisoformat(at)
    if moment.tzinfo is None:
        raise ValueError
    return moment.astimezone(datetime.UTC), uuid.UUID(row_id)


def read_number_cursor(text: str) -> int:
    """Return the number in a cursor of a list that is sorted by number. Raise ValueError for any other text."""
    if len(text) > CURSOR_LENGTH_MAX or not text.isascii() or not text.isdigit() or int(text) > BIGINT_MAX:
        raise ValueError
    return int(text)


def cut_page(rows: list[Any], limit: int, cursor: Callable[[Any], str]) -> tuple[list[Any], str | None]:
    """Return the first `limit` rows, and the cursor of the next page: None unless `rows` has more than `limit`."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], cursor(rows[limit - 1])
