"""Connections to providers and endpoints: to addresses that were checked, kept alive, and bounded in time and bytes.

A host is resolved once for each connection, every address is checked, and the connection goes to an address that was
checked. http.client speaks over it. Time and bytes are bounded where they are read from the socket, so that the bound
holds for whatever comes: interim answers, headers, bodies and trailers of any status.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import threading
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import certifi

from app.core.errors import NotSent, OutcomeUnknown
from app.providers.calls.addresses import AddressRefused, is_callable, resolve

# Idle connections are kept to this many origins, and this many to each.
ORIGINS_MAX = 100
CONNECTIONS_MAX = 128
# What one read takes at most; an answer about one payment comes in one piece.
PIECE_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection leads to."""

    is_secure: bool
    host: str
    port: int


class CallBounds:
    """The end of a call on the monotonic clock, and how many bytes of its answer are left."""

    __slots__ = ("_bytes_left", "_ends_at")

    def __init__(self, seconds: float, bytes_max: int) -> None:
        self._ends_at = time.monotonic() + seconds
        self._bytes_left = bytes_max

    def left(self) -> float:
        """Return the seconds that are left. Raise TimeoutError where there are none."""
        seconds = self._ends_at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the call took too long")
        return seconds

    def receive(self, connection: socket.socket, buffer: memoryview) -> int:
        """Read what comes next into `buffer`; return its length, 0 at the end. Raise OSError, OutcomeUnknown."""
        while True:
            # What TLS has decrypted already is not seen by the system.
            if not (isinstance(connection, ssl.SSLSocket) and connection.pending()):
                self._wait(connection, select.POLLIN)
            try:
                received = connection.recv_into(buffer)
                break
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            except ssl.SSLWantWriteError:
                self._wait(connection, select.POLLOUT)
        self._bytes_left -= received
        if self._bytes_left < 0:
            raise OutcomeUnknown("the answer is too large")
        return received

    def send(self, connection: socket.socket, content: bytes) -> None:
        """Send all of `content`. Raise OSError."""
        while content:
            try:
                content = content[connection.send(content) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(connection, select.POLLOUT)
            except ssl.SSLWantReadError:
                self._wait(connection, select.POLLIN)

    def _wait(self, connection: socket.socket, event: int) -> None:
        if not _is_ready(connection, event, self.left()):
            raise TimeoutError("the call took too long")


class BoundedSocket:
    """What http.client takes for its socket: a connection within the bounds of the call that uses it."""

    def __init__(self, connection: socket.socket, bounds: CallBounds) -> None:
        self.connection, self.bounds = connection, bounds
        self._unsent = b""

    def sendall(self, content: bytes) -> None:
        """Keep `content` until the answer is waited for: head and body go out in one piece."""
        self._unsent += content

    def makefile(self, *_: Any) -> io.BufferedReader:
        """Return what an answer is read from."""
        return io.BufferedReader(_Incoming(self), PIECE_BYTES)

    def receive(self, buffer: memoryview) -> int:
        """Send what waits, then read. Raise as CallBounds does."""
        unsent, self._unsent = self._unsent, b""
        self.bounds.send(self.connection, unsent)
        return self.bounds.receive(self.connection, buffer)

    def close(self) -> None:
        """Do nothing: http.client closes before it reads the last answer. Whoever took the connection closes it."""


class _Incoming(io.RawIOBase):
    def __init__(self, bounded: BoundedSocket) -> None:
        self._bounded = bounded

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._bounded.receive(buffer)


class GuardedConnection(http.client.HTTPConnection):
    """A connection to `origin` that was made within the guard."""

    # One that has ended is replaced by whoever uses it, not within.
    auto_open = 0
    sock: BoundedSocket

    def __init__(self, origin: Origin, connection: socket.socket, bounds: CallBounds) -> None:
        super().__init__(origin.host, origin.port)
        self.origin = origin
        self.sock = BoundedSocket(connection, bounds)
        self._bounded = self.sock
        # CallBounds waits: a time limit of the socket would be a system call more, without the interpreter's lock.
        connection.setblocking(False)

    def resume(self, bounds: CallBounds) -> bool:
        """Begin the next call; return False where the connection has ended or holds what answers no call."""
        self.sock.bounds = bounds
        return not _is_ready(self.sock.connection, select.POLLIN, 0)

    def end(self) -> None:
        """Close the connection."""
        self._bounded.connection.close()


class Connections:
    """Connections that are not in use, by origin; threads share them.

    `private_hosts` may be called although they are not public; `ca_file` replaces the authorities that are trusted.
    """

    def __init__(self, private_hosts: frozenset[str], ca_file: str | None) -> None:
        self._private_hosts = private_hosts
        self._context = ssl.create_default_context(cafile=ca_file or certifi.where())
        self._context.set_alpn_protocols(["http/1.1"])
        # The origin that was used last is the last one.
        self._idle: OrderedDict[Origin, list[GuardedConnection]] = OrderedDict()
        self._lock = threading.Lock()
        weakref.finalize(self, _end_all, self._idle)

    def take(self, origin: Origin, bounds: CallBounds, seconds: float) -> GuardedConnection:
        """Return an idle connection, or a new one within `seconds`. Raise NotSent where none can be made."""
        while (kept := self._pop(origin)) is not None:
            if kept.resume(bounds):
                return kept
            kept.end()
        ends_at = time.monotonic() + seconds
        connection = _connect(origin, ends_at, self._private_hosts)
        if origin.is_secure:
            connection = self._secure(connection, origin, ends_at)
        return GuardedConnection(origin, connection, bounds)

    def give_back(self, connection: GuardedConnection) -> None:
        """Keep a connection whose answer was read to its end for the next call."""
        ended = [connection]
        with self._lock:
            idle = self._idle.setdefault(connection.origin, [])
            self._idle.move_to_end(connection.origin)
            if len(idle) < CONNECTIONS_MAX:
                idle.append(ended.pop())
            if len(self._idle) > ORIGINS_MAX:
                ended += self._idle.popitem(last=False)[1]
        for each in ended:
            each.end()

    def _pop(self, origin: Origin) -> GuardedConnection | None:
        with self._lock:
            idle = self._idle.get(origin)
            # The one that was used last: those that are not needed any more are closed by the provider.
            return idle.pop() if idle else None

    def _secure(self, connection: socket.socket, origin: Origin, ends_at: float) -> socket.socket:
        try:
            connection.settimeout(max(ends_at - time.monotonic(), 0.01))
            return self._context.wrap_socket(connection, server_hostname=origin.host.rstrip("."))
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise NotSent("the certificate is not trusted") from error
        except (OSError, ValueError) as error:
            connection.close()
            raise NotSent(f"no secure connection: {type(error).__name__}") from error


def _end_all(idle: OrderedDict[Origin, list[GuardedConnection]]) -> None:
    for connections in idle.values():
        for each in connections:
            each.end()


def _is_ready(connection: socket.socket, event: int, seconds: float) -> bool:
    """Return whether a connection is ready within `seconds`, also for reporting that it has ended."""
    poller = select.poll()
    poller.register(connection, event)
    return bool(poller.poll(seconds * 1000))


def _connect(origin: Origin, ends_at: float, private_hosts: frozenset[str]) -> socket.socket:
    host, port = origin.host, origin.port
    found = resolve(host, port, max(ends_at - time.monotonic(), 0.0))
    # Reject hosts that mix private and public addresses (DNS rebinding).
    if not found or not all(is_callable(str(address[0]), host, port, private_hosts) for _, address in found):
        raise AddressRefused(f"the host {host} has an address that may not be called")
    last: OSError | None = None
    for family, address in found:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(ends_at - time.monotonic(), 0.01))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            connection.close()
            last = error
    raise NotSent(f"the host does not take connections: {last}") from last
