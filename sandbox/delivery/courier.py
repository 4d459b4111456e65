"""Background threads that deliver due webhooks and run due steps of scripts."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass
from queue import SimpleQueue

from sandbox.delivery import deliveries, steps
from sandbox.storage.store import Store

_log = logging.getLogger(__name__)

# Attempts wait on the network, so threads are cheap; with these a hundred webhooks to a prompt receiver take a moment.
_THREADS = 16
# One receiver that answers slowly keeps at most half of the threads, so the others stay served.
_THREADS_PER_ORIGIN = 8
# Rows per query: more than there are threads, so that rows of a busy receiver do not hide those of others.
_FETCHED_ROWS = 64
# Due times are wall-clock times; a query once a minute corrects a wait that a clock change made wrong.
_LONGEST_WAIT_SECONDS = 60.0
# Pause after a failure, mostly of the disk: it may recover, and the log stays readable.
_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Job:
    kind: str
    row_id: int
    due_at: float
    origin: str


class Courier:
    """Runs due deliveries and steps of one store, each as soon as it is due and a thread is free.

    Rows stay due until their outcome is stored, so a new process repeats what a stopped one left: at least once.
    """

    def __init__(self, store: Store, retry_seconds: tuple[float, ...], own_url: str = "") -> None:
        self._store = store
        self._retry_seconds, self._own_url = retry_seconds, own_url
        self._changed = threading.Condition()
        self._awake = True
        self._in_flight: dict[tuple[str, int], str] = {}
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        store.committed = self.wake

    def start(self) -> None:
        """Start the threads. They end with the process; unfinished rows are due again at the next start."""
        threading.Thread(target=self._dispatch, name="courier", daemon=True).start()
        for number in range(_THREADS):
            threading.Thread(target=self._work, name=f"courier-{number}", daemon=True).start()

    def wake(self) -> None:
        """Make the dispatching thread query for due work now."""
        with self._changed:
            self._awake = True
            self._changed.notify_all()

    def wait_for_attempt(self, reference: str, seconds: float) -> bool:
        """Wait until a webhook of the payment was sent once; False when the seconds passed without it."""
        statement = "SELECT 1 FROM deliveries WHERE reference = ? AND attempts > 0 LIMIT 1"
        with self._changed:
            return self._changed.wait_for(
                lambda: self._store.reading().execute(statement, (reference,)).fetchone() is not None, seconds
            )

    def _dispatch(self) -> None:
        while True:
            with self._changed:
                self._awake = False
            try:
                wait_seconds = self._hand_out()
            except Exception:
                # Without this thread nothing is ever delivered again, so no failing read may end it.
                _log.exception("query for due work failed")
                wait_seconds = _PAUSE_SECONDS
            with self._changed:
                self._changed.wait_for(lambda: self._awake, wait_seconds)

    def _hand_out(self) -> float:
        """Hand due jobs to free threads; return the seconds until the next job is due."""
        now = time.time()
        with self._changed:
            busy = Counter(self._in_flight.values())
            taken = set(self._in_flight)
        filled = False
        for job in self._find_jobs(busy):
            if (job.kind, job.row_id) in taken or busy[job.origin] >= _THREADS_PER_ORIGIN:
                continue
            if job.due_at > now:
                return min(job.due_at - now, _LONGEST_WAIT_SECONDS)
            if len(taken) >= _THREADS:
                # The thread that comes free wakes the courier.
                break
            taken.add((job.kind, job.row_id))
            busy[job.origin] += 1
            filled = filled or busy[job.origin] >= _THREADS_PER_ORIGIN
            with self._changed:
                self._in_flight[job.kind, job.row_id] = job.origin
            self._jobs.put(job)
        # A receiver that has just got its last thread may hide others behind its rows: query again without it.
        return 0.0 if filled else _LONGEST_WAIT_SECONDS

    def _find_jobs(self, busy: Counter[str]) -> list[_Job]:
        """Return the next jobs by due time, without receivers that already keep all the threads they may have."""
        full = [origin for origin, threads in busy.items() if threads >= _THREADS_PER_ORIGIN]
        connection = self._store.reading()
        statement = (
            "SELECT id, due_at, origin FROM deliveries d WHERE state = 'pending'"
            " AND (after_id IS NULL OR (SELECT attempts FROM deliveries WHERE id = d.after_id) > 0)"
            " AND origin NOT IN (SELECT value FROM json_each(?)) ORDER BY due_at, id LIMIT ?"
        )
        waiting = connection.execute(statement, (json.dumps(full), _FETCHED_ROWS)).fetchall()
        jobs = [_Job("delivery", row["id"], row["due_at"], row["origin"]) for row in waiting]
        due_steps = connection.execute(
            "SELECT id, due_at FROM steps WHERE state = 'pending' ORDER BY due_at, id LIMIT ?", (_FETCHED_ROWS,)
        ).fetchall()
        # Steps call nobody, so each has an origin of its own and none waits for another.
        jobs += [_Job("step", row["id"], row["due_at"], f"step {row['id']}") for row in due_steps]
        return sorted(jobs, key=lambda job: job.due_at)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                if job.kind == "step":
                    steps.run(self._store, job.row_id)
                else:
                    deliveries.attempt(self._store, job.row_id, self._retry_seconds, self._own_url)
            except Exception:
                # The thread must not end. The row stays due and is retried after the pause.
                _log.exception("%s %s failed", job.kind, job.row_id)
                time.sleep(_PAUSE_SECONDS)
            with self._changed:
                del self._in_flight[job.kind, job.row_id]
            self.wake()
