"""How long a person waits for the pay page's address: a `Prefer: wait` deposit, less the provider's own time."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

from bench.figures import BenchFailed, Figure, describe_latency, latency
from bench.load.prepared_requests import build_deposit
from bench.measured_stack import MeasuredStack

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


def measure(stack: MeasuredStack, wire: Wire, seconds: dict[str, float], count: int) -> list[float]:
    """Make `count` deposits one after the other; return the milliseconds of each, less the provider's."""
    overheads = []
    for _ in range(count):
        request = build_deposit(stack.shop.secret_key, "ann", Prefer="wait=10")
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
