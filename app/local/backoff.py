"""Exponential backoff between the starts of a process that keeps ending."""

from __future__ import annotations

import time
from dataclasses import dataclass

FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 15.0  # A broken process is tried four times a minute: its log stays readable.
STEADY_SECONDS = 30.0  # A process that ran this long is healthy: the next crash counts as the first.


@dataclass
class Backoff:
    """The time of the next start; `due_at` is None while none is planned."""

    seconds: float = FIRST_BACKOFF_SECONDS
    started_at: float = 0.0
    due_at: float | None = None

    def begin(self) -> None:
        """Record a start, or an attempt at one."""
        self.started_at, self.due_at = time.monotonic(), None

    def postpone(self) -> float:
        """Plan the next start and return the wait (s): twice the last one, unless the process was steady."""
        now = time.monotonic()
        if now - self.started_at > STEADY_SECONDS:
            self.seconds = FIRST_BACKOFF_SECONDS
        wait, self.seconds = self.seconds, min(self.seconds * 2, MAX_BACKOFF_SECONDS)
        self.due_at = now + wait
        return wait
