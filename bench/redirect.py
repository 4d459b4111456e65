"""How long a person waits for the pay page's address: a `Prefer: wait` deposit, less the provider's own time."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.figures import BenchFailed, Figure, describe_latency, latency
from bench.measured_stack import MeasuredStack
from bench.web import build_deposit

ROUNDS = 3
# The first requests of a process open its connections.
WARM_UP = 10
# Neither in step with the sweep nor with a bell's two seconds.
PAUSE_SECONDS = 0.013
# A deposit waits ten seconds at most.
ANSWER_SECONDS = 15.0
# The provider's own time for one call; what is measured is what comes on top of it.
PROVIDER_SECONDS = 0.020
Say = Callable[[str], None]


class Wire:
    """A kept-alive connection to the web process that sends prepared requests."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Send one request; return status and body."""
        self._socket.sendall(request)
        status, length = int(self._file.readline().split()[1]), 0
        while line := self._file.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, self._file.read(length)

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()


class Provider(http.server.BaseHTTPRequestHandler):
    """Speaks as much of the sandbox's API as payments that nobody pays need, and notes how long each create call took.

    After a minute payments are asked about: a provider that could not answer that would be taken for one that fails.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    seconds: dict[str, float]

    def do_POST(self) -> None:
        """Answer a create call after PROVIDER_SECONDS."""
        began = time.monotonic()
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reference = "sbx_" + asked["merchant_reference"]
        time.sleep(PROVIDER_SECONDS)
        # Before the answer goes out: who reads the time must find it there.
        self.seconds[asked["merchant_reference"]] = time.monotonic() - began
        self._answer("201 Created", reference)

    def do_GET(self) -> None:
        """Say that a payment is as it was."""
        self._answer("200 OK", self.path.rpartition("/")[2])

    def _answer(self, status: str, reference: str) -> None:
        body = {"reference": reference, "redirect_url": f"https://pay.example/{reference}", "status": "open"}
        answer = json.dumps(body).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
        self.wfile.write(head.encode() + answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line for each call would be measured too."""


@contextlib.contextmanager
def open_provider() -> Iterator[tuple[str, dict[str, float]]]:
    """Run a provider; give its URL and how long each payment's call took it."""
    seconds: dict[str, float] = {}
    handler = type("Handler", (Provider,), {"seconds": seconds})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seconds
    finally:
        server.shutdown()
        server.server_close()


def measure(stack: MeasuredStack, wire: Wire, seconds: dict[str, float], count: int) -> list[float]:
    """Make `count` deposits one after the other; return the milliseconds of each, less the provider's."""
    overheads = []
    for _ in range(count):
        request = build_deposit(stack.shop, "ann", Prefer="wait=10")
        began = time.monotonic()
        status, body = wire.send(request)
        elapsed = time.monotonic() - began
        if status != 201:
            raise BenchFailed(f"a deposit was answered {status}: {body[:300]!r}")
        overheads.append((elapsed - seconds[json.loads(body)["id"]]) * 1000)
        time.sleep(PAUSE_SECONDS)
    return overheads


def run_redirect(stack: MeasuredStack, seconds: dict[str, float], probes: int, say: Say) -> dict[str, Figure]:
    """Measure `Prefer: wait` deposits, less the provider's own time, which `seconds` has by payment."""
    rounds: list[list[float]] = []
    wire = Wire(stack.ports.web)
    measure(stack, wire, seconds, WARM_UP)
    for number in range(1, ROUNDS + 1):
        rounds.append(measure(stack, wire, seconds, probes))
        say(f"deposit to redirect, round {number}: {latency(rounds[-1])}")
    wire.close()
    figure = describe_latency(rounds, {"p50": 20.0, "p99": 80.0})
    return {"deposit_to_redirect_overhead_ms": {**figure, "provider_seconds": PROVIDER_SECONDS}}
