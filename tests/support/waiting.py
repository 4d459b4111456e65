"""Waits for a condition with a deadline, in place of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

# Nothing here takes longer on a busy two-core machine unless it is broken.
DEADLINE_SECONDS = 20.0
# Short against everything that is waited for, long enough to leave the processors to it.
LOOK_SECONDS = 0.02


def wait_until(condition: Callable[[], _T | None], what: str, seconds: float = DEADLINE_SECONDS) -> _T:
    """Returns the condition's first true value; fails when the seconds pass without one."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(LOOK_SECONDS)
