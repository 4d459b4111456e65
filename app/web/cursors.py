"""Cursors of lists: the position of the last row of a page, opaque to clients."""

from __future__ import annotations

import base64
import datetime
import uuid
from collections.abc import Callable, Sequence
from typing import Any

BIGINT_MAX = 2**63 - 1
CURSOR_LENGTH_MAX = 200


def write_cursor(row: dict[str, Any], time_field: str = "created_at") -> str:
    """Return the cursor of a presented row in a list that is sorted by a time and by id."""
    at = datetime.datetime.fromisoformat(row[time_field]).astimezone(datetime.UTC)
    return base64.urlsafe_b64encode(f"{at.isoformat()} {row['id']}".encode()).decode("ascii").rstrip("=")


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


def present_page(
    rows: Sequence[dict[str, Any]], limit: int, cursor: Callable[[dict[str, Any]], str] = write_cursor
) -> dict[str, Any]:
    """Return the first `limit` rows with the cursor of the next page: None unless `rows` has more than `limit`."""
    return {"data": rows[:limit], "next_cursor": cursor(rows[limit - 1]) if len(rows) > limit else None}
