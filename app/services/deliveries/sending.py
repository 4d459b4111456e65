"""Makes this process's deliveries; queues/dispatcher.py says how."""

from __future__ import annotations

import threading
import weakref

from app.runtime.runtime import Runtime
from app.services.deliveries.attempts import Attempt, attempt
from app.services.deliveries.delivery_claims import ClaimedDelivery, DueDelivery, claim_deliveries
from app.services.deliveries.delivery_settlement import set_aside, settle_attempts
from app.services.queues.dispatcher import CallDispatcher, CallQueue

_QUEUE = CallQueue("deliver", claim_deliveries, set_aside, attempt, settle_attempts)


class DeliveryDispatcher(CallDispatcher[ClaimedDelivery, DueDelivery, Attempt]):
    """The deliveries of one process; at most `calls_max` are under way at once."""

    def __init__(self, calls_max: int) -> None:
        super().__init__(_QUEUE, calls_max)


_dispatchers: weakref.WeakKeyDictionary[Runtime, DeliveryDispatcher] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def dispatcher(runtime: Runtime) -> DeliveryDispatcher:
    """Return the dispatcher of this process's runtime, made on first use."""
    with _lock:
        if runtime not in _dispatchers:
            _dispatchers[runtime] = DeliveryDispatcher(max(1, runtime.settings.delivery_calls))
        return _dispatchers[runtime]


def deliver_due(runtime: Runtime) -> None:
    """Deliver until nothing is due or allowed; see CallDispatcher.run."""
    dispatcher(runtime).run(runtime)
