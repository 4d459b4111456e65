"""Makes this process's provider calls; queues/dispatcher.py says how."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence

from app.runtime.runtime import Runtime
from app.services.payments.calls import breaker, set_aside
from app.services.payments.calls.call_settlement import Answer, settle_answers
from app.services.payments.calls.provider_calls import make_call
from app.services.payments.calls.provider_claims import Claim, claim_calls
from app.services.payments.calls.set_aside import ClaimedCall
from app.services.queues.dispatcher import CallDispatcher, CallQueue


def _settle(runtime: Runtime, answers: Sequence[Answer]) -> bool:
    settle_answers(runtime, answers)
    # An answer makes those calls due that waited for it: of its provider, or for the payment's next refund.
    return any(answer.claim.has_failures or answer.claim.refund for answer in answers)


_QUEUE = CallQueue("provider", claim_calls, set_aside.set_aside, make_call, _settle, breaker.postpone_calls)


class Dispatcher(CallDispatcher[ClaimedCall, Claim, Answer]):
    """The provider calls of one process; at most `calls_max` are under way at once."""

    def __init__(self, calls_max: int) -> None:
        super().__init__(_QUEUE, calls_max)


_dispatchers: weakref.WeakKeyDictionary[Runtime, Dispatcher] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def dispatcher(runtime: Runtime) -> Dispatcher:
    """Return the dispatcher of this process's runtime, made on first use."""
    with _lock:
        if runtime not in _dispatchers:
            _dispatchers[runtime] = Dispatcher(max(1, runtime.settings.provider_calls))
        return _dispatchers[runtime]


def call_due(runtime: Runtime) -> None:
    """Make provider calls until none is due or allowed; see CallDispatcher.run."""
    dispatcher(runtime).run(runtime)
