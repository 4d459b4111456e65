"""Doorbells: Celery messages without content that make a worker query for due rows. They may be lost.

Ring only after the commit. Rings are coalesced: while a bell is set, a worker has not claimed yet, and will see the
new row, because it clears the bell before it claims. The sweep rings for lost messages. A ring wakes a worker that
listens (ring_listener.py) without a message.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog
from celery import Celery
from redis import Redis

from app.runtime.hints import Hint
from app.runtime.metrics import RINGS_FAILED
from app.runtime.ring_listener import LISTEN_MS, RING, RingListener, keys_of

log = structlog.get_logger(__name__)

TASKS = {
    "settle": "tasks.settle",
    "provider": "tasks.call_provider",
    "notify": "tasks.notify",
    "deliver": "tasks.deliver",
}

# TTL of a bell: longer than a busy worker needs to answer; after a lost message the next ring comes this late.
BELL_MS = 2_000

# Pause after a failed ring: an unreachable Redis delays one request a second, not every one.
BREAK_SECONDS = 1.0

# Shortest interval between rings of one process: it saves about a thousand commands a second under load, and delays a
# row by at most this. A row after an idle interval is not delayed.
PAUSE_SECONDS = 0.002


class Doorbells:
    """Rings queues and publishes hints. Never raises: both may be lost."""

    def __init__(self, redis: Redis, celery: Celery) -> None:
        self._redis = redis
        self._celery = celery
        self._silent_until = 0.0
        self._is_failing = False
        self._ringer: _Ringer | None = None
        self._ring_script = redis.register_script(RING)

    @property
    def is_failing(self) -> bool:
        """Whether the last ring failed; the sweep rings meanwhile."""
        return self._is_failing

    def ring_aside(self) -> None:
        """Make `ring` return at once: from now on a thread rings for all callers of this process."""
        self._ringer = _Ringer(self._ring)

    def ring(self, queue: str) -> None:
        """Ring `queue` (settle, provider, notify or deliver) unless its bell is set already."""
        if self._ringer is None:
            self._ring(queue)
        else:
            self._ringer.want(queue)

    def _ring(self, queue: str) -> None:
        if time.monotonic() < self._silent_until:
            RINGS_FAILED.labels(queue).inc()
            return
        keys = keys_of(queue)
        try:
            if self._ring_script(keys=keys, args=[BELL_MS, LISTEN_MS]):
                try:
                    self._send(queue)
                except Exception:
                    self._redis.delete(keys[0])
                    raise
        except Exception as error:  # a failed ring must not fail the request, whose row is committed
            self._failed(queue, error)

    def ring_regardless(self, queue: str) -> None:
        """Ring `queue` whether or not its bell is set; the sweep uses it after lost messages."""
        try:
            self._send(queue)
        except Exception as error:  # the next sweep tries again
            self._failed(queue, error)

    def take_down(self, queue: str) -> None:
        """Clear the bell; a worker does so before it claims, so that a row committed later rings again."""
        try:
            self._redis.delete(keys_of(queue)[0])
        except Exception as error:  # the bell then expires after BELL_MS
            self._failed(queue, error)

    def listener(self, queue: str) -> RingListener:
        """Return what lets this worker listen for rings of `queue`."""
        return RingListener(self._redis, queue, self.ring_regardless, self._failed)

    def publish(self, messages: Sequence[Hint]) -> None:
        """Publish hints, all in one round trip."""
        if not messages or time.monotonic() < self._silent_until:
            return
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for channel, hint in messages:
                    pipeline.publish(channel, hint)
                pipeline.execute()
        except Exception as error:  # listeners also poll
            self._failed(messages[0][0], error)

    def _send(self, queue: str) -> None:
        self._celery.send_task(TASKS[queue], queue=f"ring.{queue}", ignore_result=True)
        self._is_failing = False

    def _failed(self, target: str, error: Exception) -> None:
        self._silent_until = time.monotonic() + BREAK_SECONDS
        self._is_failing = True
        RINGS_FAILED.labels(target).inc()
        log.warning("ring_failed", queue=target, error=type(error).__name__)


class _Ringer:
    """Rings the wanted queues in a thread of its own; a queue that is wanted again meanwhile is rung again.

    A queue is removed from `_wanted` before its bell is read, and added after a commit: so every commit is followed by
    a read of the bell. Queues that were not rung when the process ends are left to the sweep.
    """

    def __init__(self, ring: Callable[[str], None]) -> None:
        self._ring = ring
        self._lock = threading.Lock()
        self._wanted: set[str] = set()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def want(self, queue: str) -> None:
        """Mark `queue` to be rung; return at once."""
        with self._lock:
            self._wanted.add(queue)
            # Started when first needed, and again in a forked child, which has no copy of the thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="ringer", daemon=True)
                self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                wanted, self._wanted = self._wanted, set()
            for queue in wanted:
                self._ring(queue)
            time.sleep(PAUSE_SECONDS)
