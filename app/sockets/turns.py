"""Turns at the database: as many at a time as there are connections for them, in the order in which they were asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from gevent.event import Event
from sqlalchemy.exc import TimeoutError as PoolTimeout


class Turns:
    """Lets `places` greenlets through at a time, first come, first served.

    The pool of connections lets whoever comes just as one is given back overtake those that wait, so that in a crowd a
    few wait until they give up.
    """

    def __init__(self, places: int, seconds: float) -> None:
        self._free = places
        self._seconds = seconds
        self._waiting: deque[Event] = deque()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for a turn and hold it for the length of a block. Raise PoolTimeout where none comes in time."""
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
            # This greenlet is being ended; the turn may have been given to it already.
            if turn.is_set():
                self._hand_on()
            else:
                self._waiting.remove(turn)
            raise
        if not turn.is_set():
            self._waiting.remove(turn)
            raise PoolTimeout("no turn at the database")

    def _hand_on(self) -> None:
        # Straight to the next one: were the place free for a moment, one that comes just now would overtake.
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._free += 1
