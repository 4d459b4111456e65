"""A token bucket: how often something may happen."""

from __future__ import annotations

import threading
import time


class Allowance:
    """Lets `per_second` through, and after a quiet second as many at once; below one a second, one at a time."""

    __slots__ = ("_at", "_burst", "_left", "_lock", "_per_second")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._burst = max(per_second, 1.0)
        self._left = self._burst
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Return whether one more may pass now."""
        with self._lock:
            now = time.monotonic()
            self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True
