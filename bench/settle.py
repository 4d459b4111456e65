"""How fast two worker processes settle due webhooks, compared with the baselines and under harder conditions."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from bench.baselines.noop import measure_noop, open_noop_workers
from bench.baselines.row_at_a_time import measure_rows, open_clearing
from bench.baselines.task_worker import TaskWorker
from bench.cpu import Costs
from bench.figures import BenchFailed, Figure, compare, summarize
from bench.filling import fill_webhooks, make_due
from bench.measured_stack import MeasuredStack, open_measured_stack
from testbed.servers import Servers
from testbed.waiting import wait_until

ROUNDS = 3
USERS = 10_000
# All processes of a stack except web: settling, provider calls, the sweep.
WORKERS = ("worker-settle", "worker-provider", "beat")
# Rings that wake both processes at once, as a busy web tier does; one alone would leave the second to the sweep.
RINGS = 2
NOOP, NOOP_OWN, ROWS, HOT, DRAIN = KEYS = (
    "settle_vs_celery_noop",
    "settle_vs_celery_noop_own_settings",
    "settle_vs_row_at_a_time",
    "settle_hot_wallet",
    "drain_after_outage",
)
# By the database's clock, from the beginning of the first batch to that of the last one, which is not counted. The
# start-up time of the processes is reported separately.
_DRAINED = """
select count(*) filter (where settled_at < newest) as settled,
       extract(epoch from newest - min(settled_at))::float8 as seconds
from (select settled_at, max(settled_at) over () as newest from payment_webhooks where settled_at is not null
      order by settled_at desc limit :count) as d
group by newest
"""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How much each round does."""

    webhooks: int
    rows: int
    tasks: int
    history: tuple[int, ...]
    drained: int
    calls: int
    posted: int
    whole: int
    deliveries: int
    sustained: int


SHORT = Size(
    webhooks=8_000,
    rows=3_200,
    tasks=1_500,
    history=(1_000_000,),
    drained=20_000,
    calls=300,
    posted=600,
    whole=200,
    deliveries=1_000,
    sustained=20_000,
)
LONG = Size(
    webhooks=50_000,
    rows=16_000,
    tasks=6_000,
    history=(1_000_000, 10_000_000),
    drained=100_000,
    calls=3_000,
    posted=6_000,
    whole=2_000,
    deliveries=10_000,
    sustained=200_000,
)


@dataclass
class Rates:
    """What each round measured, per second, and how long the workers took to start after an outage."""

    spread: list[float] = field(default_factory=list)
    hot: list[float] = field(default_factory=list)
    rows: list[float] = field(default_factory=list)
    noop: list[float] = field(default_factory=list)
    noop_own: list[float] = field(default_factory=list)
    drained: list[float] = field(default_factory=list)
    start_seconds: list[float] = field(default_factory=list)


def measure_settle(
    stack: MeasuredStack, count: int, users: int, costs: Costs | None = None, operation: str = "webhook settled"
) -> float:
    """Fill `count` webhooks, make them due at once, ring; return webhooks settled per second until none is left.

    `costs` are charged with it, and with the numbering that trails it.
    """
    stack.settle_down()
    fill_webhooks(stack, count, users)
    with costs.of(operation, stack, count) if costs else contextlib.nullcontext():
        rate = settle_filled(stack, count)
        if costs:
            stack.settle_down()
    return rate


def settle_filled(stack: MeasuredStack, count: int) -> float:
    """Make `count` filled webhooks due at once and ring; return webhooks settled per second."""
    make_due(stack, count)
    started = time.monotonic()
    for _ in range(RINGS):
        stack.runtime.doorbells.ring_regardless("settle")
    wait_settled(stack, count)
    return count / (time.monotonic() - started)


def wait_settled(stack: MeasuredStack, count: int) -> None:
    """Wait until no webhook is due any more, and make sure that none of them ended as a dead letter."""
    # As long as the slowest design measured so far would take.
    wait_until(
        lambda: not stack.databases.value("select exists (select from webhook_work)"),
        "all is settled",
        30 + count / 200,
    )
    failed = stack.databases.value("select count(*) from dead_letters")
    if failed:
        raise BenchFailed(f"{failed} webhooks ended as dead letters")


def measure_drain(stack: MeasuredStack, count: int, rates: Rates) -> None:
    """Measure what an outage of the workers leaves: all is due when they start, and nobody rings but they."""
    stack.settle_down()
    fill_webhooks(stack, count, USERS)
    stack.stop(*WORKERS)
    make_due(stack, count)
    began = time.monotonic()
    stack.start(*WORKERS)
    rates.start_seconds.append(time.monotonic() - began)
    wait_settled(stack, count)
    (drained,) = stack.databases.rows(_DRAINED, count=count)
    if not drained["seconds"]:
        raise BenchFailed(f"{count} webhooks were settled in one batch, which has no rate")
    rates.drained.append(drained["settled"] / drained["seconds"])


def run_settle(servers: Servers, size: Size, say: Say, wanted: Collection[str] = KEYS) -> dict[str, Figure]:
    """Measure the settle rate and the `wanted` ones of KEYS: both baselines, one hot wallet, an outage."""
    rates, costs = Rates(), Costs()
    with contextlib.ExitStack() as opened:
        stack = opened.enter_context(open_measured_stack(servers))
        rows = opened.enter_context(open_measured_stack(servers))
        stack.launch(*WORKERS)
        names = [name for key, name in ((NOOP, "defaults"), (NOOP_OWN, "own")) if key in wanted]
        noops = dict(zip(names, opened.enter_context(open_noop_workers(servers, *names)), strict=True))
        stack.await_working(*WORKERS)
        open_clearing(rows)
        measure_settle(stack, size.webhooks // 10, USERS)  # The first batches of a process open its connections.
        for number in range(1, ROUNDS + 1):
            _run_round(stack, rows, noops, size, wanted, rates, costs)
            last = {name: values[-1] for name, values in vars(rates).items() if values}
            say(f"settle, round {number}: " + ", ".join(f"{name} {value:,.4g}" for name, value in last.items()))
    figures = _compare(rates, size)
    return {key: {**figures[key], "costs": costs.describe()} for key in wanted}


def _run_round(
    stack: MeasuredStack,
    rows: MeasuredStack,
    noops: dict[str, TaskWorker],
    size: Size,
    wanted: Collection[str],
    rates: Rates,
    costs: Costs,
) -> None:
    if NOOP in wanted:
        rates.noop.append(measure_noop(noops["defaults"], size.tasks))
    rates.spread.append(measure_settle(stack, size.webhooks, USERS, costs))
    if HOT in wanted:
        rates.hot.append(measure_settle(stack, size.webhooks, 1))
    if ROWS in wanted:
        stack.settle_down()
        fill_webhooks(rows, size.rows, USERS)
        make_due(rows, size.rows)
        operation = "credit by pgbench, row at a time"
        with costs.of(operation, rows, size.rows), costs.of_children(operation, "load generator"):
            rates.rows.append(measure_rows(rows, size.rows))
    if NOOP_OWN in wanted:
        rates.noop_own.append(measure_noop(noops["own"], size.tasks))
    if DRAIN in wanted:
        measure_drain(stack, size.drained, rates)


def _compare(rates: Rates, size: Size) -> dict[str, Figure]:
    """Return the figures of what was measured."""
    other_references: dict[str, tuple[list[float], list[float], float | None, tuple[str, str]]] = {
        NOOP: (rates.spread, rates.noop, 10, ("settled", "celery_noop")),
        NOOP_OWN: (rates.spread, rates.noop_own, None, ("settled", "celery_noop")),
        ROWS: (rates.spread, rates.rows, 3, ("settled", "row_at_a_time")),
        HOT: (rates.hot, rates.spread, 0.9, ("one_wallet", "many_wallets")),
        DRAIN: (rates.drained, rates.spread, 0.8, ("drained", "settled")),
    }
    figures = {key: compare(*pair) for key, pair in other_references.items() if pair[0] and pair[1]}
    if rates.drained:
        figures[DRAIN] |= {"due_at_once": size.drained, "start_seconds": summarize(rates.start_seconds, "s")}
    return figures
