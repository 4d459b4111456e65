"""How long a person waits for news: from the provider's webhook to the browser's frame."""

from __future__ import annotations

import contextlib
import json
import select
import threading
import time
from collections.abc import Callable, Iterator

from app.services.access.callers import create_client_token
from bench.figures import BenchFailed, Figure, describe_latency, latency
from bench.filling import fill_payments, fill_webhooks, take_due
from bench.hops import TracedWebhook, measure_hops, open_trace
from bench.load.http_load import LoadConnection
from bench.load.prepared_requests import build_webhook
from bench.load.socket_clients import Browser
from bench.measured_stack import MeasuredStack
from bench.settle import USERS

ROUNDS = 3
# The first requests of a process open its connections.
WARM_UP = 10
# Neither in step with the sweep nor with a bell's two seconds.
PAUSE_SECONDS = 0.013
# Under load a webhook may wait for a backlog; what waits longer than this has failed.
ANSWER_SECONDS = 30.0
# Under load webhooks become due this often: the load is a stream, not a pile.
SLICE_SECONDS = 0.05
# The load must outlast the probes: three times what each of them takes, and never less than the slowest of a few.
LOAD_SECONDS_EACH = 0.3
LOAD_SECONDS_MIN = 5.0
# Followed from hop to hop, in a round of their own: to be watched costs Valkey time.
FOLLOWED = 40
WATCHER = "watcher"
Say = Callable[[str], None]


class Prober:
    """A provider's connection and a browser's socket on one poll: no thread of the instrument delays another."""

    def __init__(self, stack: MeasuredStack, user_id: str) -> None:
        token, _ = create_client_token(stack.runtime, stack.shop.tenant_id, stack.shop.key_id, user_id)
        self._browser = Browser(stack.ports.sockets, token)
        while not (texts := self._browser.receive()):
            pass
        if json.loads(texts[0])["type"] != "hello":
            raise BenchFailed(f"the socket said {texts[0]!r}")
        self._provider = LoadConnection(("127.0.0.1", stack.ports.web))
        self._poll = select.poll()
        self._poll.register(self._browser.socket, select.POLLIN)
        self._poll.register(self._provider.socket, select.POLLIN)
        self._since_1970 = time.time() - time.monotonic()

    def pay(self, payment_id: str, request: bytes) -> TracedWebhook:
        """Post a payment's webhook; return once it is answered and the browser has its frame."""
        arrived_at, status = 0.0, 0
        sent_at = time.monotonic()
        self._provider.send(request)
        while not (status and arrived_at):
            events = self._poll.poll(ANSWER_SECONDS * 1000)
            now = time.monotonic()
            if not events:
                raise BenchFailed(f"not within {ANSWER_SECONDS:.0f} s: the frame arrived")
            for descriptor, _ in events:
                if descriptor == self._provider.socket.fileno():
                    status = self._provider.receive() or 0
                elif any(json.loads(told)["payment"]["id"] == payment_id for told in self._browser.receive()):
                    arrived_at = now
        if status != 200:
            raise BenchFailed(f"a webhook was answered {status}")
        return TracedWebhook(payment_id, self._since_1970 + sent_at, self._since_1970 + arrived_at)

    def close(self) -> None:
        """Close both."""
        self._provider.socket.close()
        self._browser.socket.close()


def probe(stack: MeasuredStack, count: int) -> list[TracedWebhook]:
    """Pay `count` payments one after the other, over connections of its own: servers end those that idle."""
    passages, payments = [], fill_payments(stack, count, 1, WATCHER + "-")
    with contextlib.closing(Prober(stack, f"{WATCHER}-0")) as prober:
        for payment_id, _, reference in payments:
            signed = build_webhook(*stack.shop.sender, payment_id, reference=reference)
            passages.append(prober.pay(str(payment_id), signed))
            time.sleep(PAUSE_SECONDS)
    return passages


def list_milliseconds(passages: list[TracedWebhook]) -> list[float]:
    """Return how long each took from the POST to the frame."""
    return [(passage.arrived_at - passage.sent_at) * 1000 for passage in passages]


@contextlib.contextmanager
def open_load(stack: MeasuredStack, per_second: float, seconds: float) -> Iterator[None]:
    """Make filled webhooks due at a steady rate, and ring as the web process does, for the length of a block.

    Raise BenchFailed where the block took longer than `seconds`: its end was not under load.
    """
    fill_webhooks(stack, int(per_second * seconds), USERS)
    ended = threading.Event()
    thread = threading.Thread(target=_feed, args=(stack, max(1, int(per_second * SLICE_SECONDS)), ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if not stack.databases.value("select exists (select from bench_due)"):
        raise BenchFailed(f"the load ended after {seconds:.0f} s, before the probes did")


def _feed(stack: MeasuredStack, count: int, ended: threading.Event) -> None:
    """Let go of the interpreter's lock for all but a thousandth of a second in each slice."""
    began, slices = time.monotonic(), 0
    with contextlib.closing(stack.databases.superuser.connect()) as connection, connection.cursor() as cursor:
        while not ended.is_set():
            take_due(cursor, stack.shop, count)
            stack.runtime.doorbells.ring("settle")
            slices += 1
            ended.wait(max(0.0, began + slices * SLICE_SECONDS - time.monotonic()))


def run_webhook_to_socket(stack: MeasuredStack, settle_rate: float, probes: int, say: Say) -> dict[str, Figure]:
    """Measure the way of a webhook to the browser on an idle stack, hop by hop, and at half of `settle_rate`."""
    idle: list[list[float]] = []
    probe(stack, WARM_UP)
    for number in range(1, ROUNDS + 1):
        idle.append(list_milliseconds(probe(stack, probes)))
        say(f"webhook to socket, idle, round {number}: {latency(idle[-1])}")
    with open_trace(stack) as trace:
        followed = probe(stack, min(probes, FOLLOWED))
    hops = measure_hops(stack, trace, followed)
    say("webhook to socket, hop by hop: " + ", ".join(f"{hop['ms']} ms {hop['hop']}" for hop in hops))
    with open_load(stack, settle_rate / 2, max(LOAD_SECONDS_MIN, probes // 2 * LOAD_SECONDS_EACH)):
        loaded = list_milliseconds(probe(stack, probes // 2))
    say(f"webhook to socket, at half of the settle rate: {latency(loaded)}")
    figure = describe_latency(idle, {"p50": 15.0, "p99": 60.0})
    more = {"at_half_rate": latency(loaded), "load_per_second": round(settle_rate / 2), "hops": hops}
    return {"webhook_to_socket_ms": {**figure, **more}}
