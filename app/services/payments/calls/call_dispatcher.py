"""Makes this process's provider calls: claims them in sets, asks in threads, settles answers in sets.

Calls wait for the network in threads of their own. One other thread claims and settles: that of the first task, the
leader, for as long as calls are due or under way. Answers that come meanwhile are settled together next: a single
answer waits for nobody, and under load sets grow with the duration of a commit. The calls that take the place of those
that were answered are claimed before these answers are settled, and are under way meanwhile.
"""

from __future__ import annotations

import threading
import time
import uuid
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import structlog

from app.runtime.runtime import Runtime
from app.services.payments.calls import breaker, set_aside
from app.services.payments.calls.call_settlement import Answer, settle_answers
from app.services.payments.calls.provider_calls import make_call
from app.services.payments.calls.provider_claims import Claim, UnderWay, claim_calls
from app.services.queues.release import pay_back

log = structlog.get_logger(__name__)

# Claims and answers of one transaction: kept plans join row by row, which grows with the square of the set.
SET_MAX = 64
# Where another worker was claiming a provider's calls: its transaction is over by then.
CONTENDED_SECONDS = 0.02
# While all threads are busy and more calls are due, other workers are rung for, no more often than this.
HELP_SECONDS = 0.1
# While other calls are made, those of paused providers are postponed, and their expired payments ended, this often.
POSTPONE_SECONDS = 1.0


class Dispatcher:
    """The provider calls of one process; at most `calls_max` are under way at once."""

    def __init__(self, calls_max: int) -> None:
        self._calls_max = calls_max
        self._threads = ThreadPoolExecutor(calls_max, "provider-call")
        # Start the first thread: with it every call that is handed over ends, even if no other can be started.
        self._threads.submit(int)
        # Guards what follows; notified when a call has ended and when calls may be due.
        self._changed = threading.Condition()
        # What is to be settled, and the calls under way, by tenant.
        self._answers: list[Answer] = []
        self._busy: Counter[uuid.UUID] = Counter()
        self._has_leader = False
        self._is_stopping = False
        # Whether calls may be due that the leader has not seen, and whether some were due beyond a limit.
        self._is_rung = False
        self._is_more_due = False
        self._is_contended = False
        self._helped_at = self._postponed_at = 0.0

    def run(self, runtime: Runtime) -> None:
        """Make calls until none is due or allowed and all are settled.

        Return at once where another thread does that, which claims once more. What goes wrong with claiming ends the
        run with its error, after the calls under way were settled.
        """
        with self._changed:
            self._is_rung = True
            self._changed.notify_all()
            if self._has_leader:
                return
            self._has_leader = True
        try:
            self._lead(runtime)
        finally:
            with self._changed:
                self._has_leader = False

    def _lead(self, runtime: Runtime) -> None:
        pay_back(runtime)
        failure: Exception | None = None
        while self._await_work(may_claim=failure is None):
            try:
                if failure is None:
                    self._claim(runtime)
            except Exception as error:  # answers of calls under way are still to be settled
                failure = error
            self._settle(runtime)
        if failure is not None:
            raise failure

    def stop(self) -> None:
        """Claim no more calls; those under way are settled."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def _await_work(self, *, may_claim: bool) -> bool:
        """Wait for something to settle or to claim; return False, and have no leader, where all is done."""
        with self._changed:
            while not self._answers:
                may_claim = may_claim and not self._is_stopping
                if may_claim and self._is_rung and self._busy.total() < self._calls_max:
                    return True
                if may_claim and self._is_contended:
                    self._is_contended = False
                    self._is_rung |= not self._changed.wait(CONTENDED_SECONDS)
                elif self._busy:
                    self._changed.wait()
                else:
                    self._has_leader = self._is_rung = False
                    return False
            return True

    def _settle(self, runtime: Runtime) -> None:
        with self._changed:
            answers, self._answers = self._answers[:SET_MAX], self._answers[SET_MAX:]
        if answers:
            settle_answers(runtime, answers)
            with self._changed:
                # An answer makes those calls due that waited for it: of its provider, or for the payment's next refund.
                self._is_rung |= any(answer.claim.has_failures or answer.claim.refund for answer in answers)

    def _claim(self, runtime: Runtime) -> None:
        with self._changed:
            # What was answered holds its claim until it is settled, but takes none of its provider's calls any more.
            answered = [answer.claim for answer in self._answers]
            under_way = UnderWay(self._calls_max, dict(self._busy), answered)
            room = min(SET_MAX, self._calls_max - self._busy.total())
            if not self._is_rung or self._is_stopping or room <= 0 or len(answered) > SET_MAX:
                return
            self._is_rung = False
        # Before the claim: a row that is committed later rings again.
        runtime.doorbells.take_down("provider")
        claims = claim_calls(runtime, room, under_way)
        with self._changed:
            self._busy.update(claim.tenant_id for claim in claims.calls)
            self._is_more_due, self._is_contended = claims.is_more_due, claims.is_contended
            # Fewer than there was room for: the others are beyond a limit, and become allowed when a call ends.
            self._is_rung |= bool(claims.unready) or (claims.is_more_due and len(claims.calls) == room)
        for claim in claims.calls:
            try:
                self._threads.submit(self._make, runtime, claim)
            except RuntimeError:  # no further thread can be started: the call waits for one that is there
                log.warning("no_thread_for_provider_call", payment_id=str(claim.payment_id))
        for call, error in claims.unready:
            set_aside.set_aside(runtime, call, error)
        if claims.is_more_due and len(claims.calls) == room:
            self._ring_for_help(runtime)
        if claims.is_more_due and len(claims.calls) < room:
            self._postpone(runtime, is_idle=not claims.calls)

    def _make(self, runtime: Runtime, claim: Claim) -> None:
        answer = None
        try:
            answer = make_call(runtime, claim)
        except Exception:  # the row is due again when its lease ends
            log.exception("provider_call_lost", payment_id=str(claim.payment_id))
        finally:
            with self._changed:
                self._busy -= Counter({claim.tenant_id: 1})
                # Calls that were beyond a limit may be allowed now.
                self._is_rung |= self._is_more_due
                if answer is not None:
                    self._answers.append(answer)
                if self._answers or self._is_rung or not self._busy:
                    self._changed.notify_all()

    def _postpone(self, runtime: Runtime, *, is_idle: bool) -> None:
        """Postpone due calls of paused providers; calls of others that never end put it off for POSTPONE_SECONDS."""
        now = time.monotonic()
        if is_idle or now - self._postponed_at >= POSTPONE_SECONDS:
            self._postponed_at = now
            breaker.postpone_calls(runtime)

    def _ring_for_help(self, runtime: Runtime) -> None:
        now = time.monotonic()
        if now - self._helped_at >= HELP_SECONDS:
            self._helped_at = now
            runtime.doorbells.ring("provider")


_dispatchers: weakref.WeakKeyDictionary[Runtime, Dispatcher] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def dispatcher(runtime: Runtime) -> Dispatcher:
    """Return the dispatcher of this process's runtime, made on first use."""
    with _lock:
        if runtime not in _dispatchers:
            _dispatchers[runtime] = Dispatcher(max(1, runtime.settings.provider_calls))
        return _dispatchers[runtime]


def call_due(runtime: Runtime) -> None:
    """Make provider calls until none is due or allowed; see Dispatcher.run."""
    dispatcher(runtime).run(runtime)
