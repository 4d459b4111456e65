"""Waits for a condition with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


class StackError(RuntimeError):
    """A process of a stack ended or refused, or an awaited condition did not hold in time."""


# On a busy two-core machine; a condition that takes longer without saying so is broken.
DEADLINE_SECONDS = 20.0
# Short compared with the awaited conditions, long enough to leave them the processors.
POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], _T | None], what: str, seconds: float = DEADLINE_SECONDS) -> _T:
    """Return the condition's first true value. Raise StackError when `seconds` pass without one."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise StackError(f"not within {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)
