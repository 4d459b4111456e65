"""Growing waits between the starts of something that keeps ending."""

from __future__ import annotations

import time
from dataclasses import dataclass

FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 15.0  # A broken process is tried four times a minute: its log stays readable.
STEADY_SECONDS = 30.0  # A process that ran this long is healthy: the next crash counts as the first.


@dataclass
class Backoff:
    """How long to wait before the next start."""

    seconds: float = FIRST_BACKOFF_SECONDS
    started_at: float = 0.0

    def take(self) -> float:
        """Return the wait, and double it for the next time unless the last run was a steady one."""
        if time.monotonic() - self.started_at > STEADY_SECONDS:
            self.seconds = FIRST_BACKOFF_SECONDS
        wait, self.seconds = self.seconds, min(self.seconds * 2, MAX_BACKOFF_SECONDS)
        return wait
