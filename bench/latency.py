"""How long a person waits: from the provider's webhook to the browser, and from the deposit to the pay page's URL."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import simple_websocket

from app.services.access import create_client_token
from app.sockets.admission import PROTOCOL, TOKEN_PROTOCOL
from bench.figures import BenchFailed, Figure, latency, percentile, summarize, wait_until
from bench.filling import fill_payments, fill_webhooks, take_due
from bench.place import Ground, Place
from bench.settle import USERS, WORKERS
from bench.web import build_deposit, build_webhook

ROUNDS = 3
# Neither in step with the sweep nor with a bell's two seconds.
PAUSE_SECONDS = 0.013
# Under load a webhook may wait for a backlog; what waits longer than this has failed.
ANSWER_SECONDS = 30.0
# Under load webhooks become due this often: the load is a stream, not a pile.
SLICE_SECONDS = 0.05
# The provider's own time for one call; what is measured is what comes on top of it.
PROVIDER_SECONDS = 0.020
WATCHER = "watcher"
Say = Callable[[str], None]


class Wire:
    """A kept-alive connection to the web process that sends prepared requests."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Sends one request; returns status and body."""
        self._socket.sendall(request)
        status, length = int(self._file.readline().split()[1]), 0
        while line := self._file.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, self._file.read(length)

    def close(self) -> None:
        """Closes the connection."""
        self._file.close()
        self._socket.close()


class Watcher:
    """A browser's WebSocket that notes when the frame of each payment arrived."""

    def __init__(self, place: Place, user_id: str) -> None:
        token, _ = create_client_token(place.runtime, place.shop.tenant_id, place.shop.key_id, user_id)
        url = f"ws://127.0.0.1:{place.ports.sockets}/ws"
        self._socket = simple_websocket.Client(url, subprotocols=[PROTOCOL, TOKEN_PROTOCOL + token])
        hello = json.loads(self._socket.receive(timeout=ANSWER_SECONDS))
        if hello["type"] != "hello":
            raise BenchFailed(f"the socket said {hello}")
        self.arrived: dict[str, float] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(simple_websocket.ConnectionClosed):
            while True:
                message = self._socket.receive()
                now = time.monotonic()
                self.arrived[json.loads(message)["payment"]["id"]] = now

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()


def probe(place: Place, watcher: Watcher, count: int) -> list[float]:
    """Pays `count` payments one after the other; returns milliseconds from the POST to the frame of each."""
    payments = fill_payments(place, count, 1, WATCHER + "-")
    wire = Wire(place.ports.web)
    sent: dict[str, float] = {}
    for payment_id, _, reference in payments:
        request = build_webhook(place.shop, payment_id, reference)
        sent[str(payment_id)] = time.monotonic()
        status, body = wire.send(request)
        if status != 200:
            raise BenchFailed(f"a webhook was answered {status}: {body[:200]!r}")
        wait_until(lambda key=str(payment_id): key in watcher.arrived, "the frame arrived", ANSWER_SECONDS)  # type: ignore[misc]
        time.sleep(PAUSE_SECONDS)
    wire.close()
    return [(watcher.arrived[key] - at) * 1000 for key, at in sent.items()]


@contextlib.contextmanager
def open_load(place: Place, per_second: float, seconds: float) -> Iterator[None]:
    """Makes filled webhooks due at a steady rate, and rings as the web process does, for the length of a block."""
    fill_webhooks(place, int(per_second * seconds), USERS)
    ended = threading.Event()
    thread = threading.Thread(target=_feed, args=(place, max(1, int(per_second * SLICE_SECONDS)), ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _feed(place: Place, count: int, ended: threading.Event) -> None:
    began, slices = time.monotonic(), 0
    while not ended.is_set():
        with place.superuser() as cursor:
            take_due(cursor, place.shop, count)
        place.runtime.doorbells.ring("settle")
        slices += 1
        ended.wait(max(0.0, began + slices * SLICE_SECONDS - time.monotonic()))


def run_webhook_to_socket(ground: Ground, settle_rate: float, probes: int, say: Say) -> dict[str, Figure]:
    """Measures the way of a webhook to the browser on an idle stack and at half of `settle_rate`."""
    idle: list[list[float]] = []
    with ground.open_place("latency") as place:
        place.start("web", "sockets", *WORKERS)
        watcher = Watcher(place, f"{WATCHER}-0")
        probe(place, watcher, 10)
        for number in range(1, ROUNDS + 1):
            idle.append(probe(place, watcher, probes))
            say(f"webhook to socket, idle, round {number}: {latency(idle[-1])}")
        # The probes take about as long again under load as idle, several times over at worst.
        with open_load(place, settle_rate / 2, seconds=20):
            loaded = probe(place, watcher, probes // 2)
        say(f"webhook to socket, at half of the settle rate: {latency(loaded)}")
        watcher.close()
    goal = {"p50": 15.0, "p99": 60.0}
    return {"webhook_to_socket_ms": _describe(idle, goal, idle=_flat(idle), at_half_rate=loaded, load=settle_rate / 2)}


def _flat(rounds: list[list[float]]) -> list[float]:
    return [value for values in rounds for value in values]


def _describe(rounds: list[list[float]], goal: dict[str, float], load: float = 0.0, **series: list[float]) -> Figure:
    """Returns a figure of p50 by round, with p99 and all series beside it."""
    p50 = summarize([percentile(values, 0.5) for values in rounds], "ms")
    p99 = summarize([percentile(values, 0.99) for values in rounds], "ms")
    figure: Figure = {**p50, "p99": p99, "goal": goal, "load_per_second": round(load)}
    figure |= {name: latency(values) for name, values in series.items()}
    figure["met"] = p50["median"] <= goal["p50"] and p99["median"] <= goal["p99"]
    return figure


class Provider(http.server.BaseHTTPRequestHandler):
    """Speaks as much of the sandbox's API as a create call needs, always in the same time, and notes that time."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    seconds: dict[str, float]

    def do_POST(self) -> None:
        """Answers a create call after PROVIDER_SECONDS."""
        began = time.monotonic()
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reference = "sbx_" + asked["merchant_reference"]
        answer = json.dumps({"reference": reference, "redirect_url": f"https://pay.example/{reference}"}).encode()
        time.sleep(PROVIDER_SECONDS)
        head = f"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
        # Before the answer goes out: who reads the time must find it there.
        self.seconds[asked["merchant_reference"]] = time.monotonic() - began
        self.wfile.write(head.encode() + answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: a line for each call would be measured too."""


@contextlib.contextmanager
def open_provider() -> Iterator[tuple[str, dict[str, float]]]:
    """Runs a provider; gives its URL and how long each payment's call took it."""
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


def run_redirect(ground: Ground, probes: int, say: Say) -> dict[str, Figure]:
    """Measures `Prefer: wait` deposits, less the provider's own time."""
    rounds: list[list[float]] = []
    with open_provider() as (url, seconds), ground.open_place("redirect", url) as place:
        place.start("web", *WORKERS)
        wire = Wire(place.ports.web)
        for number in range(ROUNDS + 1):
            overheads = []
            for _ in range(probes if number else 10):
                request = build_deposit(place.shop, "ann", Prefer="wait=10")
                began = time.monotonic()
                status, body = wire.send(request)
                elapsed = time.monotonic() - began
                if status != 201:
                    raise BenchFailed(f"a deposit was answered {status}: {body[:300]!r}")
                overheads.append((elapsed - seconds[json.loads(body)["id"]]) * 1000)
                time.sleep(PAUSE_SECONDS)
            if number:
                rounds.append(overheads)
                say(f"deposit to redirect, round {number}: {latency(overheads)}")
        wire.close()
    figure = _describe(rounds, {"p50": 20.0, "p99": 80.0}, idle=_flat(rounds))
    return {"deposit_to_redirect_overhead_ms": {**figure, "provider_seconds": PROVIDER_SECONDS}}
