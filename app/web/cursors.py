"""Cursors of lists: the position of the last row of a page, opaque to clients."""

from __future__ import annotations

import base64
import datetime
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

BIGINT_MAX = 2**63 - 1
CURSOR_LENGTH_MAX = 200
# Room for two hundred currencies.
VERSIONS_CURSOR_LENGTH_MAX = 6_400
_VERSIONS = re.compile(r"[A-Z]{3}:[0-9]{1,19}(?: [A-Z]{3}:[0-9]{1,19})*", re.ASCII)


def write_cursor(row: dict[str, Any]) -> str:
    """Return the cursor of a presented row in a list that is sorted by its time of creation and by id."""
    at = datetime.datetime.fromisoformat(row["created_at"]).astimezone(datetime.UTC)
    return _encode(f"{at.isoformat()} {row['id']}")


def read_cursor(text: str) -> tuple[datetime.datetime, uuid.UUID]:
    """Return the time and id in a cursor. Raise ValueError or OverflowError for any other text."""
    if len(text) > CURSOR_LENGTH_MAX:
        raise ValueError
    at, _, row_id = _decode(text).partition(" ")
    moment = datetime.datetime.fromisoformat(at)
    if moment.tzinfo is None:
        raise ValueError
    return moment.astimezone(datetime.UTC), uuid.UUID(row_id)


def write_versions_cursor(versions: Mapping[str, int]) -> str:
    """Return the cursor of a list of wallets' entries: by currency the version that the next page begins with."""
    return _encode(" ".join(f"{currency}:{version}" for currency, version in sorted(versions.items())))


def read_versions_cursor(text: str) -> dict[str, int]:
    """Return the versions in a cursor by currency. Raise ValueError for any other text."""
    if len(text) > VERSIONS_CURSOR_LENGTH_MAX or not _VERSIONS.fullmatch(decoded := _decode(text)):
        raise ValueError
    versions = {part[:3]: int(part[4:]) for part in decoded.split(" ")}
    if max(versions.values()) > BIGINT_MAX:
        raise ValueError
    return versions


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode("ascii").rstrip("=")


def _decode(text: str) -> str:
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode()


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
