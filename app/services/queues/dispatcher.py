"""Makes the calls of one queue in this process: claims them in sets, calls in threads, settles answers in sets.

Calls wait for the network in threads of their own. One other thread claims and settles: that of the first task, the
leader, for as long as calls are due or under way. Answers that come meanwhile are settled together next: a single
answer waits for nobody, and under load sets grow with the duration of a commit. The calls that take the place of those
that were answered are claimed before these answers are settled, and are under way meanwhile.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import structlog

from app.runtime.runtime import Runtime
from app.services.queues.release import pay_back

log = structlog.get_logger(__name__)

# Claims and answers of one transaction: kept plans join row by row, which grows with the square of the set.
SET_MAX = 64
# Where another worker was claiming the same calls: its transaction is over by then.
CONTENDED_SECONDS = 0.02
# While all threads are busy and more calls are due, other workers are rung for, no more often than this.
HELP_SECONDS = 0.1
# While other calls are made, those that are paused are postponed this often.
POSTPONE_SECONDS = 1.0


class Claimed(Protocol):
    """A claimed call. A late write names its `claim_id`, and is refused where another worker has the row by then."""

    @property
    def tenant_id(self) -> uuid.UUID:
        """Whose share of this process's calls it takes."""

    @property
    def claim_id(self) -> uuid.UUID:
        """The claim that holds its row."""

    @property
    def work_id(self) -> uuid.UUID:
        """The key of its row of work."""


class Answered(Protocol):
    """What a call brought, to be settled."""

    @property
    def claim(self) -> Claimed:
        """The call."""


# A row that was claimed, one with all that its call needs, and what the call brought.
RowT = TypeVar("RowT", bound=Claimed)
CallT = TypeVar("CallT", bound=Claimed)
AnswerT = TypeVar("AnswerT", bound=Answered)


@dataclass(frozen=True, slots=True)
class UnderWay:
    """How many calls this process makes at once, how many each tenant has under way, and what was answered since."""

    calls_max: int
    busy: Mapping[uuid.UUID, int] = field(default_factory=dict)
    answered: Sequence[Claimed] = ()


@dataclass(slots=True)
class Claims(Generic[RowT, CallT]):
    """A set of claimed calls; `unready` are claimed as well, and cannot be made, each with the reason.

    `is_more_due`: other calls are due. `is_contended`: another worker was claiming such calls, and may have missed the
    newest of them.
    """

    calls: list[CallT] = field(default_factory=list)
    unready: list[tuple[RowT, Exception]] = field(default_factory=list)
    is_more_due: bool = False
    is_contended: bool = False


@dataclass(frozen=True, slots=True)
class CallQueue(Generic[RowT, CallT, AnswerT]):
    """What a dispatcher does with the calls of the queue `name`.

    `claim` claims up to so many calls; it raises where nothing can be claimed. `set_aside` lets a claimed one that
    cannot be made wait. `make` makes one and returns its answer, None where that is settled already. `settle` settles
    answers, raises nothing, and returns whether calls may have become due by it. `postpone` postpones due calls that
    are paused, where claims do not pass over them.
    """

    name: str
    claim: Callable[[Runtime, int, UnderWay], Claims[RowT, CallT]]
    set_aside: Callable[[Runtime, RowT, Exception], None]
    make: Callable[[Runtime, CallT], AnswerT | None]
    settle: Callable[[Runtime, Sequence[AnswerT]], bool]
    postpone: Callable[[Runtime], None] | None = None


class CallDispatcher(Generic[RowT, CallT, AnswerT]):
    """The calls of one queue in one process; at most `calls_max` are under way at once."""

    def __init__(self, queue: CallQueue[RowT, CallT, AnswerT], calls_max: int) -> None:
        self._queue = queue
        self._calls_max = calls_max
        self._threads = ThreadPoolExecutor(calls_max, f"{queue.name}-call")
        # Start the first thread: with it every call that is handed over ends, even if no other can be started.
        self._threads.submit(int)
        # Guards what follows; notified when a call has ended and when calls may be due.
        self._changed = threading.Condition()
        # What is to be settled, and the calls under way, by tenant.
        self._answers: list[AnswerT] = []
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
            is_more_due = self._queue.settle(runtime, answers)
            with self._changed:
                self._is_rung |= is_more_due

    def _claim(self, runtime: Runtime) -> None:
        with self._changed:
            # What was answered holds its claim until it is settled, but takes none of the allowed calls any more.
            answered = [answer.claim for answer in self._answers]
            under_way = UnderWay(self._calls_max, dict(self._busy), answered)
            room = min(SET_MAX, self._calls_max - self._busy.total())
            if not self._is_rung or self._is_stopping or room <= 0 or len(answered) > SET_MAX:
                return
            self._is_rung = False
        # Before the claim: a row that is committed later rings again.
        runtime.doorbells.take_down(self._queue.name)
        claims = self._queue.claim(runtime, room, under_way)
        with self._changed:
            self._busy.update(claim.tenant_id for claim in claims.calls)
            self._is_more_due, self._is_contended = claims.is_more_due, claims.is_contended
            # Fewer than there was room for: the others are beyond a limit, and become allowed when a call ends.
            self._is_rung |= bool(claims.unready) or (claims.is_more_due and len(claims.calls) == room)
        for claim in claims.calls:
            try:
                self._threads.submit(self._make, runtime, claim)
            except RuntimeError:  # no further thread can be started: the call waits for one that is there
                log.warning("no_thread_for_call", queue=self._queue.name, work_id=str(claim.work_id))
        for row, error in claims.unready:
            self._queue.set_aside(runtime, row, error)
        if claims.is_more_due and len(claims.calls) == room:
            self._ring_for_help(runtime)
        if claims.is_more_due and len(claims.calls) < room:
            self._postpone(runtime, is_idle=not claims.calls)

    def _make(self, runtime: Runtime, claim: CallT) -> None:
        answer = None
        try:
            answer = self._queue.make(runtime, claim)
        except Exception:  # the row is due again when its lease ends
            log.exception("call_lost", queue=self._queue.name, work_id=str(claim.work_id))
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
        """Postpone due calls that are paused; other calls that never end put it off for POSTPONE_SECONDS."""
        now = time.monotonic()
        if self._queue.postpone and (is_idle or now - self._postponed_at >= POSTPONE_SECONDS):
            self._postponed_at = now
            self._queue.postpone(runtime)

    def _ring_for_help(self, runtime: Runtime) -> None:
        now = time.monotonic()
        if now - self._helped_at >= HELP_SECONDS:
            self._helped_at = now
            runtime.doorbells.ring(self._queue.name)
