"""Rate limit counts in Redis that foreign writes cannot turn into a lasting refusal or an error."""

from __future__ import annotations

from limits.storage import RedisStorage
from redis.exceptions import ResponseError

from app.runtime.metrics import REDIS_KEYS_REPLACED


class GuardedStorage(RedisStorage):
    """Counts that are reset where a key has a wrong type, no number, or no expiry.

    The count of a window is kept for two windows at most. One that another program has written without an expiry would
    refuse every request of a tenant until it is deleted.
    """

    # A scheme of its own: the library's registry keeps its class for the usual schemes.
    STORAGE_SCHEME = ["sluice-redis"]  # noqa: RUF012  # declared by the library

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` for `key`; False where that is more than `limit` in `expiry` seconds."""
        try:
            is_acquired = super().acquire_sliding_window_entry(key, limit, expiry, amount)
        except ResponseError:
            is_acquired = False
            is_forged = True
        else:
            is_forged = not is_acquired and self._lasts_too_long(key, expiry)
        if not is_forged:
            return is_acquired
        self.clear_sliding_window(key, expiry)
        REDIS_KEYS_REPLACED.inc()
        return super().acquire_sliding_window_entry(key, limit, expiry, amount)

    def _lasts_too_long(self, key: str, expiry: int) -> bool:
        names = (self._previous_window_key(key), self._current_window_key(key))
        with self.storage.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.pttl(self.prefixed_key(name))
            return any(left == -1 or left > 2_000 * expiry for left in pipeline.execute())
