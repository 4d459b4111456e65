"""A fair semaphore for the database: a bounded number of queries at a time, first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from gevent.event import Event
from sqlalchemy.exc import TimeoutError as PoolTimeout


class Turns:
    """Lets `limit` greenlets run at a time, first come, first served.

    In the pool of connections a newcomer can overtake those that wait just as a connection is returned, so that in a
    crowd a few would wait until they time out.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self._free = limit
        self._seconds = seconds
        self._waiting: deque[Event] = deque()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for a turn and hold it for the length of a block. Raise PoolTimeout where none is free in time."""
        if self._free:
            self._free -= 1
        else:
            self._wait()
        try:
            yield
        finally:
            self._hand_on()

    def _wait(self) -> None:
        turn = Event()
        self._waiting.append(turn)
        try:
            turn.wait(self._seconds)
        except BaseException:
            # This greenlet is being killed; it may have been given the turn already.
            if turn.is_set():
                self._hand_on()
            else:
                self._waiting.remove(turn)
            raise
        if not turn.is_set():
            self._waiting.remove(turn)
            raise PoolTimeout("no turn at the database")

    def _hand_on(self) -> None:
        # Passed directly to the next one: a newcomer could overtake it if the turn were free for a moment.
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._free += 1
