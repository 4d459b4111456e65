"""Long polls: requests that wait for a payment to change, woken by a hint over Redis, reading it every second."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

from app.core.payment import Payment
from app.http.capacity import Bounds, Slots
from app.runtime.hint_listener import HintListener
from app.runtime.hints import CHANGED_CHANNEL, read_changed
from app.runtime.metrics import HINTS_REJECTED
from app.services.access.callers import Caller

# A hint may be lost; then a waiting request is this late.
READ_SECONDS = 1.0
WAIT_SECONDS_MAX = 10


class Waiters:
    """Holds as many requests of this process as `bounds` allow; one subscription serves all of them."""

    def __init__(self, redis_url: str, bounds: Bounds) -> None:
        self._slots = Slots(bounds)
        self._lock = threading.Lock()
        self._events: dict[str, set[threading.Event]] = {}
        self._listener = HintListener(redis_url, CHANGED_CHANNEL, "payments", self._wake)
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
        payment: Payment,
        read: Callable[[], Payment],
        is_done: Callable[[Payment], bool],
        seconds: float,
        caller: Caller,
    ) -> Payment:
        """Return the payment, newly read, once `is_done` holds for it or after `seconds`.

        `payment` is the payment as it was a moment ago. Return it at once where a limit on waiting requests is reached:
        that of the process, or of the caller's tenant, user or credential.
        """
        if is_done(payment) or seconds <= 0 or self._released:
            return payment
        if self._slots.acquire(caller) is not None:
            return payment
        event = self._register(payment.id)
        try:
            deadline = time.monotonic() + seconds
            while True:
                # Cleared before the read: a change after it wakes this request again.
                event.clear()
                payment = read()
                left = deadline - time.monotonic()
                if is_done(payment) or left <= 0 or self._released:
                    return payment
                event.wait(min(left, READ_SECONDS))
        finally:
            self._forget(payment.id, event)
            self._slots.release(caller)

    def _register(self, payment_id: uuid.UUID) -> threading.Event:
        event = threading.Event()
        with self._lock:
            self._events.setdefault(payment_id.hex, set()).add(event)
            self._listener.start()
        return event

    def _forget(self, payment_id: uuid.UUID, event: threading.Event) -> None:
        with self._lock:
            events = self._events[payment_id.hex]
            events.discard(event)
            if not events:
                del self._events[payment_id.hex]

    def _wake(self, data: object) -> None:
        payment_ids = read_changed(data)
        if not payment_ids:
            HINTS_REJECTED.inc()
        with self._lock:
            for payment_id in payment_ids:
                for event in self._events.get(payment_id, ()):
                    event.set()
