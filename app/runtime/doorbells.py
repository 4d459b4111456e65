"""The one place that rings: a doorbell says "look", carries nothing, and may be lost.

Ring only after the commit. A ring is coalesced: while a bell is set, a worker has still to look, and will see the
new row as well, because it takes the bell down before it claims. The sweep rings for whatever was lost.
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

log = structlog.get_logger(__name__)

TASKS = {
    "settle": "tasks.settle",
    "provider": "tasks.call_provider",
    "notify": "tasks.notify",
}

# Long enough for a busy worker to come round, short enough that a bell whose message was lost soon rings again.
BELL_MS = 2_000

# After a failed ring the broker is left alone for this long: a dead Redis costs one request a second, not every one.
BREAK_SECONDS = 1.0

# A busy process rings this seldom: a row that comes meanwhile waits these milliseconds, and not a thousand more
# commands a second are sent. A row that comes after a quiet moment does not wait.
PAUSE_SECONDS = 0.002


class Doorbells:
    """Rings queues and tells listeners what changed. Never raises: what it carries is only a hint."""

    def __init__(self, redis: Redis, celery: Celery) -> None:
        self._redis = redis
        self._celery = celery
        self._silent_until = 0.0
        self._is_failing = False
        self._ringer: _Ringer | None = None

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt to ring failed; the sweep rings meanwhile."""
        return self._is_failing

    def ring_aside(self) -> None:
        """From now on `ring` does not keep its caller: a thread rings for all callers of this process."""
        self._ringer = _Ringer(self._ring)

    def ring(self, queue: str) -> None:
        """Ring `queue` (settle, provider or notify) unless its bell is set already."""
        if self._ringer is None:
            self._ring(queue)
        else:
            self._ringer.want(queue)

    def _ring(self, queue: str) -> None:
        if time.monotonic() < self._silent_until:
            RINGS_FAILED.labels(queue).inc()
            return
        bell = f"bell:{queue}"
        try:
            if self._redis.set(bell, 1, nx=True, px=BELL_MS):
                self._send(queue, bell)
                self._is_failing = False
        except Exception as error:  # a ring must never hurt what has been committed already
            self._failed(queue, error)

    def ring_regardless(self, queue: str) -> None:
        """Ring `queue` whether or not its bell is set: the sweep's way, which mends a lost message."""
        try:
            self._celery.send_task(TASKS[queue], queue=f"ring.{queue}", ignore_result=True)
            self._is_failing = False
        except Exception as error:  # the next sweep tries again
            self._failed(queue, error)

    def take_down(self, queue: str) -> None:
        """Take the bell down; a worker does so before it claims, so that a row committed later rings anew."""
        try:
            self._redis.delete(f"bell:{queue}")
        except Exception as error:  # the bell then goes by itself after BELL_MS
            self._failed(queue, error)

    def publish(self, messages: Sequence[Hint]) -> None:
        """Publish hints, all in one round trip."""
        if not messages or time.monotonic() < self._silent_until:
            return
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for channel, hint in messages:
                    pipeline.publish(channel, hint)
                pipeline.execute()
        except Exception as error:  # listeners look for themselves as well
            self._failed(messages[0][0], error)

    def _send(self, queue: str, bell: str) -> None:
        try:
            self._celery.send_task(TASKS[queue], queue=f"ring.{queue}", ignore_result=True)
        except Exception:
            self._redis.delete(bell)
            raise

    def _failed(self, what: str, error: Exception) -> None:
        self._silent_until = time.monotonic() + BREAK_SECONDS
        self._is_failing = True
        RINGS_FAILED.labels(what).inc()
        log.warning("ring_failed", queue=what, error=type(error).__name__)


class _Ringer:
    """Rings what is wanted, in a thread of its own; what is wanted again meanwhile is rung again.

    A bell is looked at after its mark was taken away, and a mark is set after a commit: so each commit is followed by
    a look at the bell, which is all that a row needs. What a process that ends had still to ring is left to the sweep.
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
            # Not before it is needed, and also where it is gone: a thread does not live on in a forked child.
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
