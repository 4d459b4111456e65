"""Long polls: requests that wait for a change, woken by a hint over Redis, reading what they wait for every second."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Collection
from typing import TypeVar

from app.http import draining
from app.http.capacity import Bounds, Slots
from app.runtime.hint_listener import HintListener
from app.runtime.hints import CHANGED_CHANNEL, NOTIFICATIONS_CHANNEL, read_changed, read_numbered
from app.runtime.metrics import HINTS_REJECTED
from app.runtime.runtime import runtime
from app.services.access.callers import Caller

Found = TypeVar("Found")

# A hint may be lost; then a waiting request is this late.
READ_SECONDS = 1.0

# Each waiting request reads its payment once a second: 150 take an eighth of a process. One tenant leaves a third
# of them to others, and one key a quarter of its tenant's to other keys and to users. One user has a few tabs on a few
# devices open, and one device leaves half of the user's share to the others; more of them is a loop.
PAYMENT_BOUNDS = Bounds(total=150, tenant=100, user=10, token=5, key=75)
# Requests for events wait longer, and a busy tenant's are woken by everything that happens to it. A backend needs one,
# and a second one while it is replaced; with bounds of their own they take no slot from those that pay.
EVENT_BOUNDS = Bounds(total=60, tenant=40, user=10, token=5, key=20)
# A request for one user's events reads at most this often, however often its tenant's other users have some.
EVENT_PAUSE_SECONDS = 0.2


class Waiters:
    """Holds as many requests of this process as `bounds` allow; one subscription serves all of them.

    `read_hint` returns the keys that a hint on `channel` wakes, none for what is no hint. `name` is the metric's label.
    A request that was woken in vain reads again after `pause_seconds` at the earliest.
    """

    def __init__(
        self,
        redis_url: str,
        channel: str,
        name: str,
        read_hint: Callable[[object], Collection[str]],
        bounds: Bounds,
        pause_seconds: float = 0.0,
    ) -> None:
        self._slots = Slots(bounds)
        self._lock = threading.Lock()
        self._events: dict[str, set[threading.Event]] = {}
        self._read_hint = read_hint
        self._listener = HintListener(redis_url, channel, name, self._wake)
        self._pause_seconds = pause_seconds
        self._released = False

    @property
    def is_deaf(self) -> bool:
        """Whether hints cannot be received; waiting requests are then answered up to a second late."""
        return self._listener.is_lost

    def release(self) -> None:
        """Answer every waiting request now, and let none wait from now on: the process is about to stop."""
        self._released = True
        with self._lock:
            for events in self._events.values():
                for event in events:
                    event.set()

    def wait(
        self,
        key: str,
        found: Found,
        read: Callable[[], Found],
        is_done: Callable[[Found], bool],
        seconds: float,
        caller: Caller,
    ) -> Found:
        """Return what `read` finds, once `is_done` holds for it or after `seconds`; hints with `key` cause a read.

        `found` was read a moment ago. Return it at once where a limit on waiting requests is reached: that of the
        process, or of the caller's tenant, user or credential.
        """
        if is_done(found) or seconds <= 0 or self._released:
            return found
        if self._slots.acquire(caller) is not None:
            return found
        event = self._register(key)
        try:
            deadline = time.monotonic() + seconds
            while True:
                # Cleared before the read: a change after it wakes this request again.
                event.clear()
                found = read()
                left = deadline - time.monotonic()
                if is_done(found) or left <= 0 or self._released:
                    return found
                if event.wait(min(left, READ_SECONDS)) and not self._released:
                    time.sleep(min(left, self._pause_seconds))
        finally:
            self._forget(key, event)
            self._slots.release(caller)

    def _register(self, key: str) -> threading.Event:
        event = threading.Event()
        with self._lock:
            self._events.setdefault(key, set()).add(event)
            self._listener.start()
        return event

    def _forget(self, key: str, event: threading.Event) -> None:
        with self._lock:
            events = self._events[key]
            events.discard(event)
            if not events:
                del self._events[key]

    def _wake(self, data: object) -> None:
        keys = self._read_hint(data)
        if not keys:
            HINTS_REJECTED.inc()
        with self._lock:
            for key in keys:
                for event in self._events.get(key, ()):
                    event.set()


@functools.cache
def payment_waiters() -> Waiters:
    """Return this process's requests that wait for payments, by their ids."""
    return _open_waiters(CHANGED_CHANNEL, "payments", read_changed, PAYMENT_BOUNDS)


@functools.cache
def event_waiters() -> Waiters:
    """Return this process's requests that wait for events, by their tenants' ids."""
    return _open_waiters(NOTIFICATIONS_CHANNEL, "events", _read_tenant, EVENT_BOUNDS, EVENT_PAUSE_SECONDS)


def are_deaf() -> bool:
    """Return whether one of the subscriptions of waiting requests is lost."""
    return payment_waiters().is_deaf or event_waiters().is_deaf


def _read_tenant(data: object) -> tuple[str, ...]:
    hint = read_numbered(data)
    return () if hint is None else (hint[0].hex,)


def _open_waiters(
    channel: str,
    name: str,
    read_hint: Callable[[object], Collection[str]],
    bounds: Bounds,
    pause_seconds: float = 0.0,
) -> Waiters:
    made = Waiters(runtime().settings.required("redis_url"), channel, name, read_hint, bounds, pause_seconds)
    draining.at_begin(made.release)
    return made
