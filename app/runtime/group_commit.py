"""Group commit: what requests bring at the same time is written in one transaction.

There is no thread of its own. A request that finds the door idle commits by itself, at once; those that come while
commits are under way wait, and the first of them commits for all of them. So groups form by themselves, as large as
the database is slow, and a request alone waits for nobody.
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
# As many as a web process has connections: nobody else could wait.
WAITING_MAX = 1_000
# As long as for a connection out of the pool: a request that waits longer is better told so than kept.
WAIT_SECONDS = 5.0
# A commit takes milliseconds and its statement is broken off after two seconds: one that takes longer than this hangs
# on a connection whose other end is gone, and the door must not hang with it.
STUCK_SECONDS = 5.0

Row = TypeVar("Row")
Receipt = TypeVar("Receipt")
Write = Callable[[Sequence[Row]], Sequence[Receipt]]


@dataclass(slots=True, eq=False)
class _Entry(Generic[Row, Receipt]):
    """One request's row; `woken` is held until somebody has something to say to the request."""

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
        # Those who commit at present, and since when.
        self._leading: dict[_Entry[Row, Receipt], float] = {}

    @property
    def waiting(self) -> int:
        """How many callers wait for their turn."""
        return len(self._waiting)

    def commit(self, row: Row, size: int, write: Write[Row, Receipt]) -> Receipt:
        """Return the receipt of `row` (`size` in bytes) once it is committed, perhaps by another caller's `write`.

        `write` takes rows in the order of their arrival, commit them in one transaction and return their receipts.
        Where it fails for several rows, each is written again alone, so that only the culprit's caller sees the error.
        Raise what `write` raises, and sqlalchemy.exc.TimeoutError where the row was not committed in time.
        """
        entry = _Entry[Row, Receipt](row, size)
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
        """Return whether the caller commits at once; else its row is in the queue. Raise where that is full."""
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
        """Return whether the caller is the next to commit; else its row is dealt with. Raise where time is up."""
        is_woken = False
        try:
            is_woken = entry.woken.acquire(timeout=WAIT_SECONDS)
        finally:
            # Also where the caller's own thread is being ended: nobody may wait for one that is gone.
            if not is_woken:
                self._leave(entry)
        if not is_woken:
            raise NoConnection("the row was not committed in time")
        return entry.leads

    def _leave(self, entry: _Entry[Row, Receipt]) -> None:
        with self._lock:
            if entry.leads:
                self._hand_on(entry)
            elif entry in self._waiting:
                self._waiting.remove(entry)

    def _hand_on(self, leader: _Entry[Row, Receipt]) -> None:
        """End the turn of `leader` and give it to the first that waits; to be called with the lock held."""
        del self._leading[leader]
        if self._waiting:
            following = self._waiting.popleft()
            following.leads = True
            self._leading[following] = time.monotonic()
            following.woken.release()

    def _lead(self, entry: _Entry[Row, Receipt], write: Write[Row, Receipt]) -> None:
        group = self._gather(entry)
        try:
            receipts = write([member.row for member in group])
            for member, receipt in zip(group, receipts, strict=True):
                member.receipt = receipt
        except Exception as error:  # it belongs to one row, and the others must not suffer for it
            for member in group:
                member.is_single = len(group) > 1 and not _is_lost(error)
                member.error = error
        finally:
            with self._lock:
                self._hand_on(entry)
            for member in group[1:]:
                member.woken.release()

    def _gather(self, first: _Entry[Row, Receipt]) -> list[_Entry[Row, Receipt]]:
        group, size = [first], first.size
        with self._lock:
            while self._waiting and len(group) < GROUP_ROWS_MAX:
                size += self._waiting[0].size
                if size > GROUP_BYTES_MAX:
                    break
                group.append(self._waiting.popleft())
        return group


def _is_lost(error: Exception) -> bool:
    """Whether there is no connection: alone no row would fare better, and nobody knows whether they are stored."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, NoConnection)
    # What the server itself says has a code, and then nothing is stored.
    was_said = getattr(error.orig, "pgcode", None) is not None
    return error.connection_invalidated or (isinstance(error, OperationalError) and not was_said)
