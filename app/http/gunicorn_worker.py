"""gunicorn's gevent worker, started and stopped without a lost request.

It listens once the application is loaded. On SIGTERM it drains: while it still accepts connections, health checks
report the drain and long polls are answered; then it stops listening, finishes the requests in progress and exits.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType, SimpleNamespace
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer

from app.http import draining, listening
from app.http.exchanges import HttpWorker
from app.runtime.parent_death import die_with_parent

# How often the heartbeat for gunicorn's main process is sent, which kills a worker after `timeout` without one.
BEAT_SECONDS = 1.0
POLL_SECONDS = 0.02  # Used while the worker ends.
FINISH_SECONDS = 3.0  # Requests in progress may take this long: with the drain, less than the stack's ten seconds.
HANDSHAKE_SECONDS = 0.05  # For TCP handshakes in progress when new ones are refused: a round trip in a data centre.
QUEUE_SECONDS = 1.0  # Emptying the accept queue takes milliseconds; a full pool must not delay the end.
# A kept-alive connection is closed after this long without a request; a request in flight arrives sooner.
IDLE_SECONDS = 0.2
# A new worker needs 25 s to start on a slow machine; an old one ends without a successor after this time.
SUCCESSOR_SECONDS = 60.0
_END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def read_drain_seconds() -> float:
    """Return how long a draining process still accepts connections."""
    return float(os.environ.get("SLUICE_DRAIN_SECONDS") or 1)


@dataclass(eq=False)
class _Connection:
    """One accepted connection: its number of requests, and since when it has waited for the next."""

    client: Any
    requests: int = 0
    waiting_since: float | None = None
    # Ends the wait for the next request, as it does by itself after `keepalive`.
    timeout: gevent.Timeout | None = None

    def is_idle(self, now: float) -> bool:
        """Return whether it can be closed without losing a request."""
        if self.waiting_since is None or _has_bytes(self.client):
            return False
        # The first request of a new connection may be in flight.
        return now - self.waiting_since >= (IDLE_SECONDS if self.requests else BEAT_SECONDS)


class DrainingWorker(HttpWorker):
    """gunicorn's gevent worker with the start and end that the module describes."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.alive: bool = True
        self._connections: dict[Any, _Connection] = {}
        self._stopping: Event | None = None

    def run(self) -> None:
        """Serve until SIGTERM, then drain."""
        self._stopping = Event()
        servers = [self._serve(listener) for listener in self.sockets]
        listening.note_ready(self.age)
        while self.alive and not any(server.closed for server in servers):
            self.notify()
            for listener in self.sockets:
                listening.open_listener(listener, self.cfg.backlog)
            self._stopping.wait(BEAT_SECONDS)
        self.alive = False
        self._drain(servers)

    def _serve(self, listener: Any) -> StreamServer:
        listener.setblocking(1)
        try:
            listening.open_listener(listener, self.cfg.backlog)
        except OSError as error:
            # Another server took the port while this one started.
            self.log.error("Cannot listen on %s: %s", listener.getsockname(), error.strerror)
            sys.exit(1)
        # gunicorn reads the listener's address at the start of each connection, which may be after it was closed.
        address = listener.getsockname()
        handle = partial(self.handle, SimpleNamespace(getsockname=lambda: address))
        server = StreamServer(listener, handle=handle, spawn=Pool(self.worker_connections))
        if self.cfg.workers > 1:
            server.max_accept = 1
        server.start()
        return server

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a worker that does not serve yet exits at once."""
        if self._stopping is None:
            os._exit(0)
        # A signal handler must not block.
        gevent.spawn(self._request_stop)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Exit without a drain. While the application loads, no greenlet could run gunicorn's own handler."""
        if self._stopping is None:
            os._exit(0)
        super().handle_quit(sig, frame)

    def _request_stop(self) -> None:
        """Stop; after SIGHUP, once the newer worker that gunicorn has started is ready."""
        deadline = time.monotonic() + SUCCESSOR_SECONDS
        while self.age < listening.newest_started() and not self._has_successor() and time.monotonic() < deadline:
            if self.ppid != os.getppid():
                break
            gevent.sleep(POLL_SECONDS)
        self.alive = False
        if self._stopping is not None:
            self._stopping.set()

    def _has_successor(self) -> bool:
        return bool(listening.newest_ready() > self.age)

    def _drain(self, servers: list[StreamServer]) -> None:
        draining.begin()
        if not self._has_successor():
            self._pause(read_drain_seconds())
            self._empty_queues(servers)
        for server in servers:
            server.close()
        deadline = time.monotonic() + FINISH_SECONDS
        # The pools also count accepted connections that no greenlet has begun to read.
        while any(server.pool for server in servers) and time.monotonic() < deadline:
            self._close_idle()
            self._pause(POLL_SECONDS)
        if self._connections:
            self.log.warning("%d connections were cut off after %g s", len(self._connections), FINISH_SECONDS)
        for server in servers:
            server.stop(timeout=0)

    def _empty_queues(self, servers: list[StreamServer]) -> None:
        listeners = [server.socket for server in servers]
        has_filters = [listening.refuse_connections(listener) for listener in listeners]
        if not all(has_filters):
            return
        self._pause(HANDSHAKE_SECONDS)
        deadline = time.monotonic() + QUEUE_SECONDS
        while any(listening.count_queued(listener) for listener in listeners) and time.monotonic() < deadline:
            self._pause(POLL_SECONDS)

    def _pause(self, seconds: float) -> None:
        """Let other greenlets run for `seconds`, and send the heartbeat meanwhile."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.notify()
            gevent.sleep(min(left, BEAT_SECONDS))

    def _close_idle(self) -> None:
        now = time.monotonic()
        for greenlet, connection in tuple(self._connections.items()):
            if connection.is_idle(now):
                gevent.kill(greenlet, connection.timeout)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection, registered for the drain until it ends."""
        current = gevent.getcurrent()
        self._connections[current] = _Connection(client)
        try:
            super().handle(listener, client, addr)
        finally:
            del self._connections[current]

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer one request."""
        self._connections[gevent.getcurrent()].requests += 1
        super().handle_request(listener_name, req, sock, addr)

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Bound the wait for the next request's head."""
        connection = self._connections[gevent.getcurrent()]
        connection.waiting_since = time.monotonic()
        try:
            with gevent.Timeout(self.cfg.keepalive, False) as connection.timeout:
                yield
        finally:
            connection.waiting_since = connection.timeout = None


def _has_bytes(client: Any) -> bool:
    """Return whether received bytes wait to be read; True for a closed socket."""
    try:
        waiting = fcntl.ioctl(client.fileno(), termios.FIONREAD, struct.pack("i", 0))
    except OSError:
        return True
    return bool(struct.unpack("i", waiting)[0])


def prepare_listeners(server: Any) -> None:
    """Refuse connections until a worker can serve them: gunicorn's hook `on_starting`."""
    if issubclass(server.worker_class, DrainingWorker):
        listening.only_bind()


def prepare_start(server: Any, worker: Any) -> None:
    """Record that gunicorn starts `worker`: its hook `pre_fork`."""
    listening.note_started(worker.age)


_main_pid = 0


_hold_signals = partial(signal.pthread_sigmask, signal.SIG_BLOCK, _END_SIGNALS)
_release_signals = partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, _END_SIGNALS)


def _begin_child() -> None:
    die_with_parent(_main_pid)
    for number in _END_SIGNALS:
        signal.signal(number, lambda _number, _frame: os._exit(0))
    _release_signals()


def prepare_server(server: Any) -> None:
    """Prepare gunicorn's main process before it starts workers: its hook `when_ready`.

    A new worker ends on a signal until it has handlers of its own. Until then it has those of the main process, which
    queue the signal for a loop that no worker runs: the worker would be killed seconds later. Signals are blocked while
    a process forks, so that none arrives in between.
    """
    global _main_pid
    _main_pid = os.getpid()
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_begin_child)


def refuse_without_workers(server: Any) -> None:
    """Refuse connections once the last worker that served them has ended: part of gunicorn's hook `child_exit`."""
    ready = listening.newest_ready()
    served = any(worker.age <= ready for worker in server.WORKERS.values())
    if not served and issubclass(server.worker_class, DrainingWorker):
        listening.close_listeners(server.LISTENERS)
