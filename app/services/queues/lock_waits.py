"""Bounds how long a settling transaction waits for row locks, so that one held row does not delay the whole queue."""

from __future__ import annotations

import time

from sqlalchemy import Connection

from models import buffer, prepared
from models.database import STATEMENT_TIMEOUT_MS

# One isolated webhook or call takes milliseconds. A held lock or a slow statement of one delays the others by no more
# than these.
SINGLE_LOCK_MS = 50
SINGLE_STATEMENT_MS = 5_000
# After a batch has waited two seconds for a lock in vain, the next ones wait no longer than another worker takes to
# settle a batch. After LOCK_HELD_SECONDS the full wait is tried again.
LOCK_HELD_SECONDS = 10.0
HELD_LOCK_MS = 250
_SHORT_WAITS = prepared(
    "select set_config('lock_timeout', :lock_timeout, true), set_config('statement_timeout', :statement_timeout, true)"
)

_locked_at: float | None = None


def forget_lock() -> None:
    """Forget that a lock is held; for tests."""
    global _locked_at
    _locked_at = None


def note_lock() -> None:
    """Record that a batch of this process has just waited for a lock in vain."""
    global _locked_at  # one moment per process
    # Short waits fail more often, also where no lock is held for long: they must not prolong themselves.
    if not _is_lock_held():
        _locked_at = time.monotonic()


def _is_lock_held() -> bool:
    return _locked_at is not None and time.monotonic() - _locked_at < LOCK_HELD_SECONDS


def shorten(connection: Connection, lock_ms: int, statement_ms: int | None = None) -> None:
    """Let the worker's transaction wait for locks no longer than this, and its statements run no longer."""
    timeout = STATEMENT_TIMEOUT_MS["worker"]
    limits = {"lock_timeout": lock_ms, "statement_timeout": min(statement_ms or timeout, timeout)}
    buffer(connection, _SHORT_WAITS, {name: str(value) for name, value in limits.items()})


def limit_waits(connection: Connection, *, is_single: bool) -> None:
    """Shorten the transaction's limits where it settles one item, or where a lock is known to be held."""
    if is_single:
        shorten(connection, SINGLE_LOCK_MS, SINGLE_STATEMENT_MS)
    elif _is_lock_held():
        shorten(connection, HELD_LOCK_MS)
