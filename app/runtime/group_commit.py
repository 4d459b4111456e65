"""Group commit: the rows of concurrent requests are written in one transaction.

There is no thread of its own. Some turns to commit exist (LEADERS_MAX). A request that finds one free takes it and
commits at once; the others wait. When a turn ends, the first that waits gets it and commits for all that wait. So
groups grow with the duration of a commit, and a single request does not wait for others.

States of a row, from its request's call to its end (a test walks them and finds these steps and no others):

    new      -> leading      a turn is free: its request commits
    new      -> waiting      else: at the end of the queue
    new      -> refused      the queue is full: TimeoutError
    waiting  -> leading      it is the first in the queue, and a turn ends
    waiting  -> gathered     a leader takes it along in its group
    waiting  -> gone         WAIT_SECONDS have passed, or its thread ends: never written, TimeoutError
    leading  -> gone         the same, before its thread noticed that it leads: the turn goes to the next
    leading  -> committed    the group's transaction is committed: its receipt
    leading  -> single       the database refused the group: its request writes the row again, in isolation
    leading  -> failed       its group had no other row, or the connection was lost: the error
    leading  -> broken off   the leader's thread ends while it commits
    gathered -> committed    as for its leader
    gathered -> single       as for its leader
    gathered -> failed       the connection was lost, as for its leader: the error
    gathered -> broken off   as for its leader: unknown whether it was written, TimeoutError
    gathered -> gone         WAIT_SECONDS have passed, or its thread ends: unknown whether it was written, TimeoutError

Invariants:

- At most LEADERS_MAX turns are taken, besides those that take longer than STUCK_SECONDS.
- While a row waits, a turn is taken. Each turn that ends is handed on, unless no row waits.
- Rows become leading or gathered in the order of their arrival.
- A row is in one group at most, and is written again only after its group was rolled back.
- A request that waits is woken once: when it gets a turn, or when its group is done.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

# Commits under way at once: while one waits for the disk, the next is sent. Measured with 32 senders: a tenth more than
# with one; a third only makes the groups smaller.
LEADERS_MAX = 2
# A group is one statement and has the time limit of one; this many ordinary rows take a few milliseconds.
GROUP_ROWS_MAX = 64
# The largest bodies come eight to a group: their statement, in hex, stays at four megabytes.
GROUP_BYTES_MAX = 2 * 1024 * 1024
# A web process has as many connections: more cannot wait.
WAITING_MAX = 1_000
# As long as requests wait for a connection out of the pool; 503 is better than a longer wait.
WAIT_SECONDS = 5.0
# A commit takes milliseconds, and its statement is cancelled after two seconds: one that takes longer than this hangs
# on a connection whose other end is gone, and must not block the others.
STUCK_SECONDS = 5.0

Row = TypeVar("Row")
Receipt = TypeVar("Receipt")
Write = Callable[[Sequence[Row]], Sequence[Receipt]]


@dataclass(slots=True, eq=False)
class _Entry(Generic[Row, Receipt]):
    """One request's row of `size` bytes; `woken` is locked while the request waits."""

    row: Row
    size: int
    woken: threading.Lock = field(default_factory=threading.Lock)
    leads: bool = False
    is_single: bool = False
    receipt: Receipt | None = None
    error: Exception | None = None


class GroupCommit(Generic[Row, Receipt]):
    """Lets callers of `commit` share transactions; safe for threads and for greenlets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Entry[Row, Receipt]] = deque()
        # The rows whose requests have a turn, and the time at which each got it (time.monotonic).
        self._leading: dict[_Entry[Row, Receipt], float] = {}

    @property
    def waiting(self) -> int:
        """The number of rows that wait."""
        return len(self._waiting)

    def commit(self, row: Row, size: int, write: Write[Row, Receipt]) -> Receipt:
        """Return the receipt of `row` (`size` in bytes) once it is committed, perhaps by another caller's `write`.

        `write` takes rows in the order of their arrival, commits them in one transaction and returns their receipts.
        Where it fails for several rows, each is written again in isolation, so that only the caller of the row at fault
        sees the error. Raise what `write` raises, and sqlalchemy.exc.TimeoutError where the row was not committed in
        time or may not have been committed.
        """
        entry: _Entry[Row, Receipt] = _Entry(row, size)
        if self._enter(entry) or self._wait(entry):
            self._lead(entry, write)
        if entry.is_single:
            return write([row])[0]
        if entry.error is not None:
            raise entry.error
        if entry.receipt is None:
            raise NoConnection("the commit that this row was part of was broken off")
        return entry.receipt

    def _enter(self, entry: _Entry[Row, Receipt]) -> bool:
        """Return whether the caller has a turn; else its row waits. Raise TimeoutError where the queue is full."""
        now = time.monotonic()
        with self._lock:
            if sum(now - since < STUCK_SECONDS for since in self._leading.values()) < LEADERS_MAX:
                self._leading[entry] = now
                return True
            if len(self._waiting) >= WAITING_MAX:
                raise NoConnection("too many rows wait for their commit")
            entry.woken.acquire()
            self._waiting.append(entry)
            return False

    def _wait(self, entry: _Entry[Row, Receipt]) -> bool:
        """Return whether the caller got a turn; else its group is done. Raise TimeoutError after WAIT_SECONDS."""
        is_woken = False
        try:
            is_woken = entry.woken.acquire(timeout=WAIT_SECONDS)
        finally:
            # Also where the thread ends (a greenlet is killed): no other row may wait for this one.
            if not is_woken:
                self._leave(entry)
        if not is_woken:
            raise NoConnection("the row was not committed in time")
        return entry.leads

    def _leave(self, entry: _Entry[Row, Receipt]) -> None:
        """Stop waiting."""
        with self._lock:
            if entry.leads:
                self._hand_on(entry)
            elif entry in self._waiting:
                self._waiting.remove(entry)

    def _hand_on(self, leader: _Entry[Row, Receipt]) -> None:
        """End the turn of `leader` and give it to the first row that waits. The caller holds the lock."""
        del self._leading[leader]
        if self._waiting:
            following = self._waiting.popleft()
            following.leads = True
            self._leading[following] = time.monotonic()
            following.woken.release()

    def _lead(self, entry: _Entry[Row, Receipt], write: Write[Row, Receipt]) -> None:
        """Use the turn of `entry`: write it and the rows that wait."""
        group = [entry]
        try:
            self._gather(group)
            _settle(group, write)
        finally:
            self._finish(group)

    def _gather(self, group: list[_Entry[Row, Receipt]]) -> None:
        """Extend `group`, which has its leader, by rows that wait."""
        size = group[0].size
        with self._lock:
            while self._waiting and len(group) < GROUP_ROWS_MAX:
                size += self._waiting[0].size
                if size > GROUP_BYTES_MAX:
                    break
                group.append(self._waiting.popleft())

    def _finish(self, group: list[_Entry[Row, Receipt]]) -> None:
        with self._lock:
            self._hand_on(group[0])
        for member in group[1:]:
            member.woken.release()


def _settle(group: Sequence[_Entry[Row, Receipt]], write: Write[Row, Receipt]) -> None:
    """Write the rows of `group` and set the receipt or error of each."""
    try:
        receipts = write([member.row for member in group])
        for member, receipt in zip(group, receipts, strict=True):
            member.receipt = receipt
    except Exception as error:  # one bad row must not fail the group: its requests retry row by row
        for member in group:
            member.is_single = len(group) > 1 and not _is_lost(error)
            member.error = error


def _is_lost(error: Exception) -> bool:
    """Whether the connection failed: a retry would fail as well, and it is unknown whether the rows are stored."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, NoConnection)
    # An error that the server itself reports has a code; then no row is stored.
    is_reported = getattr(error.orig, "pgcode", None) is not None
    return error.connection_invalidated or (isinstance(error, OperationalError) and not is_reported)
