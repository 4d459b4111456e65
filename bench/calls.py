"""How fast deposits are brought to their pay page, compared with one Celery task a call and with a bare loop."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import requests

from bench.baselines.plain import CALL_TASK, CALLS, PlainStack, call_flags, open_plain
from bench.baselines.task_worker import TaskWorker
from bench.cpu import Costs, sum_seconds
from bench.figures import Figure, compare, summarize
from bench.filling import AMOUNT, AMOUNT_MINOR, CURRENCY
from bench.load.provider import find_provider_port, run_in_process
from bench.measured_stack import MeasuredStack, open_measured_stack
from bench.settle import ROUNDS, Say, Size
from testbed.servers import Servers
from testbed.stack import Stack
from testbed.waiting import wait_until

KEY = "provider_calls"
OPERATION = "provider called"
WORKERS = ("worker-provider", "beat")
USERS = 1_000
# As many as a provider that answers in 50 ms is commonly asked at once.
CONNECTIONS = 64
# The provider's own time (s), and the threads with which the callers that are compared fare best.
SLOW_SECONDS = 0.05
BASELINE_THREADS = {0.0: 16, SLOW_SECONDS: CONNECTIONS}
LOOP_THREADS = {0.0: 1, SLOW_SECONDS: CONNECTIONS}
# As deposits leave them: pending, held, with a call that is due.
_DUE_CALLS = """
create temp table filled on commit drop as
    select n, uuidv7() as payment_id, 'user-' || (n %% %(users)s) as user_id from generate_series(1, %(count)s) as n;
insert into payment_transactions (id, tenant_id, user_id, amount_minor, currency, provider_id, idempotency_scope,
        idempotency_key, request_sha256, expires_at)
    select payment_id, %(tenant)s, user_id, %(amount_minor)s, %(currency)s, %(provider)s, '', payment_id::text,
           sha256(payment_id::text::bytea), now() + interval '1 hour'
    from filled order by n;
insert into wallet_temp_logs (payment_id, tenant_id, user_id, currency, amount_minor)
    select payment_id, %(tenant)s, user_id, %(currency)s, %(amount_minor)s from filled order by n;
insert into payment_work (payment_id, tenant_id, provider_id, action)
    select payment_id, %(tenant)s, %(provider)s, 'create' from filled order by n;
"""


@dataclass
class CallRates:
    """Calls per second of each round, and what one call cost."""

    one_process: list[float] = field(default_factory=list)
    two_processes: list[float] = field(default_factory=list)
    celery_tasks: list[float] = field(default_factory=list)
    bare_loop: list[float] = field(default_factory=list)
    costs: Costs = field(default_factory=Costs)


def measure_calls(stack: MeasuredStack, count: int) -> float:
    """Make `count` deposits due in one commit and ring; return how many per second got their pay page."""
    values = {"tenant": str(stack.shop.tenant_id), "provider": str(stack.shop.provider_id)}
    amount = {"amount_minor": AMOUNT_MINOR, "currency": CURRENCY}
    with stack.databases.superuser.transaction() as cursor:
        cursor.execute(_DUE_CALLS, {**values, **amount, "count": count, "users": USERS})
    started = time.monotonic()
    stack.runtime.doorbells.ring_regardless("provider")
    left = "select exists (select from payment_work where action = 'create')"
    wait_until(lambda: not stack.databases.value(left), "all have their pay page", 60 + count / 10)
    return count / (time.monotonic() - started)


def measure_loop(url: str, count: int, threads: int) -> float:
    """Call the provider `count` times with `requests` and nothing else; return calls per second."""
    local = threading.local()

    def call(payment_id: str) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.trust_env = False
        body = {"merchant_reference": payment_id, "amount": AMOUNT, "currency": CURRENCY}
        local.session.post(url + "/v1/payments", json=body, timeout=10).raise_for_status()

    with ThreadPoolExecutor(threads) as pool:
        started = time.monotonic()
        list(pool.map(call, [str(uuid.uuid4()) for _ in range(count)]))
        return count / (time.monotonic() - started)


@dataclass
class Callers:
    """The product and both baselines at one provider that takes `delay` seconds; `provider` is its process id."""

    delay: float
    url: str
    provider: int
    stack: MeasuredStack
    plain: PlainStack
    worker: TaskWorker
    rates: CallRates = field(default_factory=CallRates)

    def measure_tasks(self, count: int) -> float:
        """Return calls per second of one Celery task a call."""
        return self.worker.measure(CALL_TASK, [(str(each),) for each in self.plain.fill_payments(count, USERS)])

    def run_round(self, count: int) -> None:
        """Measure one round of each."""
        rates, before = self.rates, sum_seconds(self.provider)
        with rates.costs.of(OPERATION, self.stack, count):
            rates.one_process.append(measure_calls(self.stack, count))
            self.stack.settle_down()
        rates.costs.charge(OPERATION, "load generator", sum_seconds(self.provider) - before)
        rates.celery_tasks.append(self.measure_tasks(count))
        rates.bare_loop.append(measure_loop(self.url, count, LOOP_THREADS[self.delay]))


@contextlib.contextmanager
def _open_callers(servers: Servers, delay: float) -> Iterator[Callers]:
    port = find_provider_port()
    url, threads = f"http://127.0.0.1:{port}", BASELINE_THREADS[delay]
    with contextlib.ExitStack() as opened:
        stack = opened.enter_context(open_measured_stack(servers, url))
        stack.databases.rows("update payment_providers set calls_max = :most", most=CONNECTIONS)
        provider = opened.enter_context(run_in_process(servers, port, delay))
        plain = opened.enter_context(open_plain(servers, stack.shop.webhook_secret, url))
        worker = opened.enter_context(plain.open_worker(CALLS, *call_flags(threads), pool=threads))
        stack.start(*WORKERS)
        yield Callers(delay, url, provider, stack, plain, worker)


def run_calls(servers: Servers, size: Size, say: Say) -> dict[str, Figure]:
    """Measure provider calls at a provider that answers at once, and in turn at one that takes SLOW_SECONDS."""
    with _open_callers(servers, 0.0) as at_once, _open_callers(servers, SLOW_SECONDS) as slow:
        for each in (at_once, slow):
            measure_calls(each.stack, max(1, size.calls // 10))
            each.measure_tasks(max(1, size.calls // 10))
        for number in range(1, ROUNDS + 1):
            for each in (at_once, slow):
                each.run_round(size.calls)
                say(_tell(each, number))
        for each in (at_once, slow):
            # A second stack on the same databases for its worker alone.
            with Stack.open(each.stack.databases) as second:
                second.start("worker-provider")
                each.rates.two_processes = [measure_calls(each.stack, size.calls) for _ in range(ROUNDS)]
            say(_tell(each, ROUNDS))
    figure = _describe(at_once.rates, goal=10)
    figure["slow"] = {**_describe(slow.rates, goal=None), "provider_seconds": SLOW_SECONDS, "connections": CONNECTIONS}
    pairs = zip(slow.rates.one_process, at_once.rates.one_process, strict=True)
    lost = summarize([1 - other / one for other, one in pairs], "share")
    return {KEY: {**figure, "lost_to_slow": lost, "costs": at_once.rates.costs.describe()}}


def _tell(callers: Callers, number: int) -> str:
    last = {name: values[-1] for name, values in vars(callers.rates).items() if isinstance(values, list) and values}
    each = ", ".join(f"{name} {value:,.0f}/s" for name, value in last.items())
    return f"provider calls at {callers.delay * 1000:.0f} ms, round {number}: {each}"


def _describe(rates: CallRates, goal: float | None) -> Figure:
    figure = compare(rates.one_process, rates.celery_tasks, goal, ("one_process", "celery_task_a_call"))
    more = {"two_processes": rates.two_processes, "bare_loop": rates.bare_loop}
    return {**figure, **{name: summarize(values, "1/s") for name, values in more.items()}}
