"""Hints on Redis pub/sub: ids and numbers only, never content.

Anyone who can write to Redis can publish a hint. A hint therefore only causes a query: clients get data that is read
from PostgreSQL. The format is fixed text, matched by a pattern of bounded length, so that no hint can raise while it is
decoded.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator

CHANGED_CHANNEL = "sluice:payments"
NOTIFICATIONS_CHANNEL = "sluice:notifications"

# A channel and the bytes that are published there.
Hint = tuple[str, bytes]

# Ids per hint: a settled batch changes up to 500 payments, and 1,000 ids take less than 40 kB.
CHANGED_MAX = 1_000
_ID_BYTES = 32
_ID = re.compile(rb"[0-9a-f]{32}")
# Numbers are bigint in the database: at most 19 digits, of which 18 are always in range.
_NUMBERED = re.compile(rb"([0-9a-f]{32}) ([0-9]{1,18})")


def changed_hints(payment_ids: Iterable[uuid.UUID]) -> Iterator[Hint]:
    """Yield the hints for requests that wait for one of these payments."""
    ids = [payment_id.hex.encode() for payment_id in payment_ids]
    for first in range(0, len(ids), CHANGED_MAX):
        yield CHANGED_CHANNEL, b" ".join(ids[first : first + CHANGED_MAX])


def read_changed(data: object) -> list[str]:
    """Return the payments' ids as 32 hexadecimal digits; [] for anything that is not such a hint."""
    if not isinstance(data, bytes) or len(data) > CHANGED_MAX * (_ID_BYTES + 1):
        return []
    ids = data.split(b" ")
    return [one.decode("ascii") for one in ids] if all(map(_ID.fullmatch, ids)) else []


def numbered_hint(tenant_id: uuid.UUID, last_number: int) -> Hint:
    """Return the hint that the tenant's notifications have numbers up to `last_number`."""
    return NOTIFICATIONS_CHANNEL, f"{tenant_id.hex} {last_number}".encode()


def read_numbered(data: object) -> tuple[uuid.UUID, int] | None:
    """Return the tenant and the number; None for anything that is not such a hint."""
    match = _NUMBERED.fullmatch(data) if isinstance(data, bytes) else None
    return match and (uuid.UUID(hex=match[1].decode("ascii")), int(match[2]))
