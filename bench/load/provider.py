"""A provider that answers at once or after a set time, and pays what it was asked for: one thread, one epoll.

It costs some tens of microseconds a call, so that it is not what limits those who call it. It speaks as much of the
sandbox's API as payments that nobody touches need, and takes what is sent to a tenant's webhook endpoint as well. Run
as `python -m bench.load.provider PORT SECONDS [WEBHOOKS]`; WEBHOOKS is JSON of a WebhookTarget: each payment's webhook
is then sent as soon as its create call is answered.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from app.local.spawn import reserve_ports
from bench.baselines.processes import run_program
from bench.figures import BenchFailed
from bench.load.http_load import READ_BYTES, LoadConnection
from bench.load.prepared_requests import build_webhook
from testbed.servers import Servers

# As many as a provider opens that wants its webhooks taken at once.
WEBHOOK_CONNECTIONS = 16
BACKLOG = 1_024
# How often a thread checks whether it is to end (s).
IDLE_SECONDS = 0.2


@dataclass(frozen=True)
class WebhookTarget:
    """Where webhooks go, and what they are signed with."""

    port: int
    path: str
    provider_id: str
    secret: str


@dataclass
class Provider:
    """Answers create calls `delay` seconds after they came; `seconds` has how long each payment's call took."""

    delay: float
    target: WebhookTarget | None = None
    port: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)
    _buffers: dict[int, bytes] = field(default_factory=dict)
    _sockets: dict[int, socket.socket] = field(default_factory=dict)
    # (when it came, connection, our payment's id), oldest first: all wait for the same time.
    _waiting: deque[tuple[float, int, str]] = field(default_factory=deque)
    _webhooks: deque[bytes] = field(default_factory=deque)
    _idle: dict[int, LoadConnection] = field(default_factory=dict)
    _busy: dict[int, tuple[LoadConnection, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=BACKLOG)
        self.port = self._listener.getsockname()[1]
        self._poller = select.epoll()
        self._poller.register(self._listener, select.EPOLLIN)

    @property
    def url(self) -> str:
        """Where it is called."""
        return f"http://127.0.0.1:{self.port}"

    def serve(self) -> None:
        """Answer until `ended` is set."""
        while not self.ended.is_set():
            for descriptor, _ in self._poller.poll(self._wait_seconds()):
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor in self._busy:
                    self._note_answer(descriptor)
                elif descriptor in self._idle:
                    # Servers close what idles.
                    self._close(self._idle.pop(descriptor))
                else:
                    self._read(descriptor)
            self._answer_due()
            self._send_webhooks()
        self._poller.close()
        for each in (self._listener, *self._sockets.values()):
            each.close()

    def _wait_seconds(self) -> float:
        if not self._waiting:
            return IDLE_SECONDS
        return min(IDLE_SECONDS, max(0.0, self._waiting[0][0] + self.delay - time.monotonic()))

    def _accept(self) -> None:
        accepted, _ = self._listener.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[accepted.fileno()] = accepted
        self._buffers[accepted.fileno()] = b""
        self._poller.register(accepted, select.EPOLLIN)

    def _read(self, descriptor: int) -> None:
        data = b""
        with contextlib.suppress(ConnectionError):
            data = self._sockets[descriptor].recv(READ_BYTES)
        if not data:
            self._poller.unregister(descriptor)
            self._sockets.pop(descriptor).close()
            return
        head, found, body = (self._buffers[descriptor] + data).partition(b"\r\n\r\n")
        _, has_length, rest = head.lower().partition(b"content-length:")
        if not found or (has_length and len(body) < int(rest.split(b"\r\n", 1)[0])):
            self._buffers[descriptor] += data
            return
        self._buffers[descriptor] = b""
        if head.startswith(b"POST"):
            self._waiting.append((time.monotonic(), descriptor, json.loads(body).get("merchant_reference", "")))
        else:
            self._answer(descriptor, "200 OK", head.split(b" ", 2)[1].rpartition(b"/")[2].decode())

    def _answer_due(self) -> None:
        while self._waiting and self._waiting[0][0] + self.delay <= time.monotonic():
            came, descriptor, payment_id = self._waiting.popleft()
            # Before the answer goes out: a caller who has it finds the time noted.
            self.seconds[payment_id] = time.monotonic() - came
            if descriptor in self._sockets:
                self._answer(descriptor, "201 Created", "sbx_" + payment_id)
            if self.target:
                webhook = build_webhook(self.target.provider_id, self.target.secret, payment_id, self.target.path)
                self._webhooks.append(webhook)

    def _answer(self, descriptor: int, status: str, reference: str) -> None:
        body = {"reference": reference, "redirect_url": f"https://pay.example/{reference}", "status": "open"}
        answer = json.dumps(body)
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
        with contextlib.suppress(ConnectionError):
            self._sockets[descriptor].sendall((head + answer).encode())

    def _send_webhooks(self) -> None:
        while self._webhooks and self.target and (self._idle or len(self._busy) < WEBHOOK_CONNECTIONS):
            if self._idle:
                _, connection = self._idle.popitem()
            else:
                connection = LoadConnection(("127.0.0.1", self.target.port))
                self._poller.register(connection.socket, select.EPOLLIN)
            webhook = self._webhooks.popleft()
            self._busy[connection.socket.fileno()] = connection, webhook
            with contextlib.suppress(ConnectionError):
                connection.send(webhook)

    def _note_answer(self, descriptor: int) -> None:
        connection, webhook = self._busy[descriptor]
        try:
            status = connection.receive()
        except (BenchFailed, ConnectionError):
            # Closed by the server while the webhook was on its way: sent again, as providers do.
            self._webhooks.append(webhook)
            del self._busy[descriptor]
            self._close(connection)
            return
        if status is None:
            return
        if status != 200:
            raise BenchFailed(f"a webhook was answered {status}")
        del self._busy[descriptor]
        self._idle[descriptor] = connection

    def _close(self, connection: LoadConnection) -> None:
        self._poller.unregister(connection.socket)
        connection.socket.close()


@contextlib.contextmanager
def run_in_thread(delay: float) -> Iterator[Provider]:
    """Give a provider that runs in a thread of this process."""
    provider = Provider(delay)
    thread = threading.Thread(target=provider.serve, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        provider.ended.set()
        thread.join()


@contextlib.contextmanager
def run_in_process(servers: Servers, port: int, delay: float, target: WebhookTarget | None = None) -> Iterator[int]:
    """Run a provider in a process of its own on a free port; give the process's id."""
    argv = [sys.executable, "-m", "bench.load.provider", str(port), str(delay)]
    if target:
        argv.append(json.dumps(asdict(target)))
    with run_program(servers, f"provider-{port}", argv) as process:
        yield process.pid


def find_provider_port() -> int:
    """Return a port for a provider, whose URL a shop must know before it runs."""
    return reserve_ports(1)[0]


def main() -> None:
    """Serve until killed."""
    port, delay, *webhooks = sys.argv[1:]
    target = WebhookTarget(**json.loads(webhooks[0])) if webhooks else None
    Provider(float(delay), target, int(port)).serve()


if __name__ == "__main__":
    main()
