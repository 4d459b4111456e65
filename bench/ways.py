"""What users meet: a signed webhook until it is credited, and the whole way from the deposit to the browser's frame."""

from __future__ import annotations

import contextlib
import json
import select
import threading
import time
from collections.abc import Iterator, Sequence

from app.services.access.callers import create_client_token
from bench.baselines.plain import CALLS, WEBHOOK_FLAGS, WEBHOOKS, PlainStack, call_flags, open_plain
from bench.cpu import Costs, sum_seconds
from bench.figures import BenchFailed, Figure, compare, summarize
from bench.filling import fill_payments
from bench.load.http_load import run_load
from bench.load.prepared_requests import CALLBACK, build_deposit, build_webhook
from bench.load.provider import WebhookTarget, find_provider_port, run_in_process
from bench.load.socket_clients import Browser
from bench.measured_stack import MeasuredStack, open_measured_stack
from bench.settle import ROUNDS, USERS, WORKERS, Say, Size
from testbed.servers import Servers
from testbed.waiting import wait_until

CREDITED, WHOLE = KEYS = ("webhook_credited", "whole_way")
CALLERS = (1, 4, 16, 64)
# The number of callers at which the baseline is measured as well.
COMPARED = 16
# Ends what hangs (s): the slowest design measured so far would need less.
SECONDS_MAX = 120.0
PATIENCE_SECONDS = 60.0
CALL_THREADS = 16
# Users with one browser each.
WATCHERS = 16


def _post(port: int, requests: Sequence[bytes], callers: int, status: str) -> tuple[float, float]:
    """Send all requests, each caller its next one once the last is answered.

    Return when the first was sent, and the processor seconds of the sender.
    """
    counted = run_load(port, requests, callers, SECONDS_MAX)
    if counted["statuses"] != {status: len(requests)}:
        raise BenchFailed(f"answers were {counted['statuses']}, and {len(requests)} were to be {status}")
    return float(counted["started"]), float(counted["cpu_seconds"])


def measure_credited(stack: MeasuredStack, count: int, callers: int, costs: Costs | None = None) -> float:
    """Post `count` webhooks; return how many per second were credited, from the first POST to the last credit."""
    operation = f"webhook credited, {callers} callers"
    payments = fill_payments(stack, count, USERS)
    signed = [build_webhook(*stack.shop.sender, each, reference=ref) for each, _, ref in payments]
    with costs.of(operation, stack, count) if costs else contextlib.nullcontext():
        began, cpu_seconds = _post(stack.ports.web, signed, callers, "200")
        left = "select exists (select from webhook_work)"
        wait_until(lambda: not stack.databases.value(left), "all is credited", PATIENCE_SECONDS)
        seconds = time.monotonic() - began
        if costs:
            stack.settle_down()
    if costs:
        costs.charge(operation, "load generator", cpu_seconds)
    return count / seconds


def measure_plain_credited(plain: PlainStack, count: int, callers: int) -> float:
    """Do the same with the plain baseline."""
    before = plain.count_completed()
    ids = plain.fill_payments(count, USERS, "processing")
    began, _ = _post(plain.port, [build_webhook("plain", plain.webhook_secret, each) for each in ids], callers, "200")
    wait_until(lambda: plain.count_completed() == before + count, "all is credited", PATIENCE_SECONDS)
    return count / (time.monotonic() - began)


def run_credited(servers: Servers, size: Size, say: Say) -> dict[str, Figure]:
    """Measure signed POST to credited at each number of CALLERS, and at COMPARED the plain baseline."""
    rates: dict[int, list[float]] = {callers: [] for callers in CALLERS}
    theirs, costs = list[float](), Costs()
    with open_measured_stack(servers) as stack, open_plain(servers, stack.shop.webhook_secret) as plain:
        stack.start("web", *WORKERS)
        with plain.open_web(), plain.open_worker(WEBHOOKS, *WEBHOOK_FLAGS):
            measure_credited(stack, size.posted // 4, COMPARED)
            measure_plain_credited(plain, size.posted // 4, COMPARED)
            for number in range(1, ROUNDS + 1):
                theirs.append(measure_plain_credited(plain, size.posted, COMPARED))
                for callers in CALLERS:
                    # One caller waits for each answer: it sends a quarter of what many send at once.
                    count = max(1, size.posted // 4) if callers == 1 else size.posted
                    rates[callers].append(measure_credited(stack, count, callers, costs))
                each = ", ".join(f"{callers}: {values[-1]:,.0f}/s" for callers, values in rates.items())
                say(f"webhook credited, round {number}, by callers: {each}; plain {theirs[-1]:,.0f}/s")
            delays = stack.databases.rows(_DELAYS)[0]
    figure = compare(rates[COMPARED], theirs, 10, ("credited", "plain"))
    by_callers = {str(callers): summarize(values, "1/s") for callers, values in rates.items()}
    return {CREDITED: {**figure, "by_callers": by_callers, "stored_to_settling_ms": delays, "costs": costs.describe()}}


# By the database's clock; the settling transaction has begun at settled_at.
_DELAYS = """
select round(1000 * percentile_cont(0.5) within group (order by took))::int as p50,
       round(1000 * percentile_cont(0.99) within group (order by took))::int as p99
from (select extract(epoch from settled_at - received_at) as took from payment_webhooks) as d
"""


class Watchers:
    """Browsers of some users, read by a thread; `at` has when each payment's final frame came."""

    def __init__(self, stack: MeasuredStack, users: Sequence[str]) -> None:
        shop = stack.shop
        self.at: list[float] = []
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._browsers: dict[int, Browser] = {}
        self._poller = select.epoll()
        for user in users:
            token, _ = create_client_token(stack.runtime, shop.tenant_id, shop.key_id, user)
            browser = Browser(stack.ports.sockets, token)
            while not browser.greeted:
                browser.receive()
            self._browsers[browser.socket.fileno()] = browser
            self._poller.register(browser.socket, select.EPOLLIN)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            while not self._ended.is_set():
                for descriptor, _ in self._poller.poll(0.2):
                    for text in self._browsers[descriptor].receive():
                        if json.loads(text)["type"] == "payment.completed":
                            self.at.append(time.monotonic())
        except BenchFailed as error:
            self._failure = error

    def has_seen(self, count: int) -> bool:
        """Return whether `count` payments have had their final frame. Raise BenchFailed where a socket ended."""
        if self._failure:
            raise BenchFailed(f"a browser: {self._failure}")
        return len(self.at) >= count

    def close(self) -> None:
        """Close all."""
        self._ended.set()
        self._thread.join()
        for browser in self._browsers.values():
            browser.socket.close()


def measure_whole(stack: MeasuredStack, count: int, costs: Costs, provider: int) -> float:
    """Make `count` deposits and wait for the frame of each; return how many per second had it."""
    users = [f"watcher-{number}" for number in range(WATCHERS)]
    requests = [build_deposit(stack.shop.secret_key, users[number % WATCHERS]) for number in range(count)]
    with contextlib.closing(Watchers(stack, users)) as watchers:
        before = sum_seconds(provider)
        with costs.of(WHOLE, stack, count):
            began, cpu_seconds = _post(stack.ports.web, requests, COMPARED, "202")
            wait_until(lambda: watchers.has_seen(count), "all frames have come", PATIENCE_SECONDS + count / 10)
            seconds = max(watchers.at) - began
            stack.settle_down()
        costs.charge(WHOLE, "load generator", cpu_seconds + sum_seconds(provider) - before)
    return count / seconds


def measure_plain_whole(plain: PlainStack, count: int) -> float:
    """Do the same with the plain baseline, which sends no frames: it ends with the last credit."""
    before = plain.count_completed()
    requests = [build_deposit(plain.key, f"user-{number % WATCHERS}") for number in range(count)]
    began, _ = _post(plain.port, requests, COMPARED, "202")
    wait_until(lambda: plain.count_completed() == before + count, "all is credited", PATIENCE_SECONDS + count / 10)
    return count / (time.monotonic() - began)


@contextlib.contextmanager
def _open_both(servers: Servers) -> Iterator[tuple[MeasuredStack, PlainStack, int]]:
    """Run both with a provider each that answers at once and pays; give the id of the product's provider."""
    ours, theirs = find_provider_port(), find_provider_port()
    with contextlib.ExitStack() as opened:
        stack = opened.enter_context(open_measured_stack(servers, f"http://127.0.0.1:{ours}"))
        secret = stack.shop.webhook_secret
        plain = opened.enter_context(open_plain(servers, secret, f"http://127.0.0.1:{theirs}"))
        target = WebhookTarget(stack.ports.web, CALLBACK, str(stack.shop.provider_id), secret)
        pid = opened.enter_context(run_in_process(servers, ours, 0.0, target))
        opened.enter_context(run_in_process(servers, theirs, 0.0, WebhookTarget(plain.port, CALLBACK, "plain", secret)))
        stack.start("web", "sockets", *WORKERS)
        opened.enter_context(plain.open_web())
        opened.enter_context(plain.open_worker(CALLS, *call_flags(CALL_THREADS), pool=CALL_THREADS))
        opened.enter_context(plain.open_worker(WEBHOOKS, *WEBHOOK_FLAGS))
        yield stack, plain, pid


def run_whole(servers: Servers, size: Size, say: Say) -> dict[str, Figure]:
    """Measure the whole way of the product and of the plain baseline."""
    ours, theirs, costs = list[float](), list[float](), Costs()
    with _open_both(servers) as (stack, plain, provider):
        measure_whole(stack, max(WATCHERS, size.whole // 10), Costs(), provider)
        measure_plain_whole(plain, max(WATCHERS, size.whole // 10))
        for number in range(1, ROUNDS + 1):
            theirs.append(measure_plain_whole(plain, size.whole))
            ours.append(measure_whole(stack, size.whole, costs, provider))
            say(f"whole way, round {number}: {ours[-1]:,.0f}/s, plain {theirs[-1]:,.0f}/s")
    return {WHOLE: {**compare(ours, theirs, 5, ("whole_way", "plain")), "costs": costs.describe()}}
