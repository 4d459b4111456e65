"""One live connection: the last number sent, a bounded outbox, and its end."""

from __future__ import annotations

import contextlib
import datetime
import math
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, ClassVar

import gevent

from app.runtime.metrics import SOCKETS_DROPPED
from app.services.access.callers import Caller
from app.sockets.notification import Notification

# Frames that wait for a slow reader, about a kilobyte each: resuming later is cheaper than a longer outbox.
OUTBOX_FRAMES = 256
# A client that does not read for this long is gone or stuck; it resumes when it reconnects.
WRITE_SECONDS = 5.0
# After our close frame the client has this long to answer with its own, which takes one round trip.
LINGER_SECONDS = 1.0
# The kernel's buffer for one slow reader; its default limit of megabytes would be gigabytes for ten thousand sockets.
SEND_BUFFER_BYTES = 65_536
# A peer that vanished sends no acknowledgements; this is two missed keep-alives.
UNACKNOWLEDGED_MS = 60_000

TOKEN_ENDED = 4401
RESTARTING = 1012
TRY_AGAIN = 1013
POLICY = 1008
TOO_BIG = 1009


class LiveConnection(ABC):
    """Sends a client its user's notifications, or a backend all of its tenant's, in rising order, each once.

    Until `live`, new ones are held back, since older ones are still read from the database. Only the handler's greenlet
    reads; any greenlet may send: only `flush` waits.
    """

    kind: ClassVar[str]

    def __init__(self, sock: Any, caller: Caller) -> None:
        self.sock = sock
        self.caller = caller
        self.cursor = 0
        self.live = False
        self.behind = False
        self.held: list[Notification] = []
        self.closing = False
        self.closed = False
        self.cut_at = 0.0
        self.next_beat = 0.0
        self.ends_at = time.monotonic() + _seconds_until(caller.expires_at)
        self._outbox: deque[bytes] = deque()
        self._writer: Any = None
        tune(sock)

    @abstractmethod
    def frame(self, notification: Notification) -> bytes:
        """Return the notification's bytes for this kind of connection."""

    @abstractmethod
    def greet(self, hello: str) -> None:
        """Send the first message."""

    @abstractmethod
    def farewell(self, code: int) -> bytes:
        """Return the close frame, or its equivalent, with `code`."""

    @abstractmethod
    def beat(self, now: float) -> None:
        """Send the keep-alive that is due; `now` is monotonic."""

    @abstractmethod
    def read(self) -> None:
        """Read until the client is gone."""

    def deliver(self, notification: Notification) -> None:
        """Send a notification that is for this client now, or hold it back until the older ones have been read."""
        if not self.live:
            if len(self.held) < OUTBOX_FRAMES:
                self.held.append(notification)
            else:
                # More are read from the database instead.
                self.held.clear()
                self.behind = True
        elif notification.number > self.cursor:
            self.cursor = notification.number
            self.send(self.frame(notification))

    def send(self, frame: bytes) -> None:
        """Send a whole frame without waiting; close the connection where too many wait already."""
        if self.closing or self.closed:
            return
        if len(self._outbox) >= OUTBOX_FRAMES:
            self.close(TRY_AGAIN, "slow_reader")
        else:
            self._write(frame)

    def flush(self) -> bool:
        """Wait until everything was written, at most some seconds; return whether the connection is open."""
        if self._writer is not None:
            self._writer.join()
        return not (self.closing or self.closed)

    def close(self, code: int, reason: str) -> None:
        """Discard the outbox, send the close frame and stop; `reason` is the metric's label."""
        if self.closing or self.closed:
            return
        self.closing = True
        self.cut_at = time.monotonic() + LINGER_SECONDS
        SOCKETS_DROPPED.labels(reason).inc()
        self._outbox.clear()
        self._write(self.farewell(code))
        if self._writer is None:
            self._stop_writing()

    def cut(self) -> None:
        """End the connection without a close frame; the handler's read then ends too."""
        self.closed = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def check(self, now: float) -> None:
        """Close at a token's end, send a keep-alive that is due, or cut after an unanswered close frame."""
        if self.closing:
            if now >= self.cut_at:
                self.cut()
        elif now >= self.ends_at:
            self.close(TOKEN_ENDED, "token_ended")
        elif now >= self.next_beat:
            self.beat(now)

    def forget(self) -> None:
        """Stop writing; the handler calls it at its end."""
        self.closed = True
        if self._writer is not None:
            self._writer.kill(block=False)

    def _write(self, frame: bytes) -> None:
        if self._writer is not None:
            self._outbox.append(frame)
            return
        try:
            sent = self.sock.send(frame, 0, 0.0)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.cut()
            return
        if sent < len(frame):
            # A greenlet writes for as long as this reader is slow: an idle connection has none.
            self._writer = gevent.spawn(self._drain, frame[sent:])

    def _drain(self, rest: bytes) -> None:
        try:
            self._send_all(rest)
            while self._outbox:
                self._send_all(self._outbox.popleft())
        except (gevent.Timeout, OSError):
            if not self.closing:
                SOCKETS_DROPPED.labels("slow_reader").inc()
            self.cut()
        finally:
            self._writer = None
        if self.closing:
            self._stop_writing()

    def _send_all(self, frame: bytes) -> None:
        # The rest of a frame must be written before anything else.
        with gevent.Timeout(WRITE_SECONDS):
            self.sock.sendall(frame)

    def _stop_writing(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)


def tune(sock: Any) -> None:
    """Set the options of a connection's socket: a small buffer, no delay, a limit on unacknowledged data."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Only Linux has it; elsewhere the system's own limit of minutes holds.
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)


def _seconds_until(end: datetime.datetime | None) -> float:
    # The end of a secret key may be changed: the periodic check of keys notices it (app.sockets.watch).
    if end is None:
        return math.inf
    return (end - datetime.datetime.now(datetime.UTC)).total_seconds()
