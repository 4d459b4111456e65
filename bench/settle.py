"""How fast two worker processes settle due webhooks, beside the baselines and in harder circumstances."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from app.services import settling
from bench.figures import Figure, compare, summarize, wait_until
from bench.filling import fill_history, fill_webhooks, make_due
from bench.noop import open_noop_worker
from bench.place import Ground, Place
from bench.row_at_a_time import measure_rows, open_clearing

ROUNDS = 3
USERS = 10_000
# Everything that works in a stack beside the web: settling, provider calls, the sweep, sealing.
WORKERS = ("worker-settle", "worker-provider", "beat")
# Rings that wake both processes at once, as a busy web tier does; one alone would leave the second to the sweep.
RINGS = 2
BATCH_SIZES = (1, 10, 50, 200, 500, 1_000)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How much each round does."""

    webhooks: int
    rows: int
    tasks: int
    history: tuple[int, ...]
    drained: int


SHORT = Size(webhooks=8_000, rows=3_200, tasks=1_500, history=(1_000_000,), drained=20_000)
LONG = Size(webhooks=50_000, rows=16_000, tasks=6_000, history=(1_000_000, 10_000_000), drained=100_000)


@dataclass
class Rates:
    """What each round measured, per second."""

    spread: list[float] = field(default_factory=list)
    hot: list[float] = field(default_factory=list)
    rows: list[float] = field(default_factory=list)
    noop: list[float] = field(default_factory=list)
    noop_own: list[float] = field(default_factory=list)


def measure_settle(place: Place, count: int, users: int) -> float:
    """Fills `count` webhooks, makes them due at once, rings; returns webhooks settled per second until none is left."""
    place.settle_down()
    fill_webhooks(place, count, users)
    make_due(place, count)
    started = time.monotonic()
    for _ in range(RINGS):
        place.runtime.doorbells.ring_regardless("settle")
    wait_settled(place, count)
    return count / (time.monotonic() - started)


def wait_settled(place: Place, count: int) -> None:
    """Waits until no webhook is due any more, and makes sure that none of them ended as a dead letter."""
    # As long as the slowest design measured so far would take.
    wait_until(lambda: not place.value("select exists (select from webhook_work)"), "all is settled", 30 + count / 200)
    failed = place.value("select count(*) from dead_letters")
    wait_until(lambda: failed == 0, f"{failed} webhooks ended as dead letters", 0)


def run_settle(ground: Ground, size: Size, say: Say) -> dict[str, Figure]:
    """Measures the settle rate beside both baselines and with one hot wallet, interleaved."""
    rates = Rates()
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(ground.open_place("settle"))
        rows = stack.enter_context(ground.open_place("rows"))
        noop = stack.enter_context(open_noop_worker(ground, "defaults"))
        noop_own = stack.enter_context(open_noop_worker(ground, "own"))
        place.start(*WORKERS)
        open_clearing(rows)
        measure_settle(place, size.webhooks // 10, USERS)  # The first batches of a process open its connections.
        for number in range(1, ROUNDS + 1):
            rates.noop.append(noop.measure(size.tasks))
            rates.spread.append(measure_settle(place, size.webhooks, USERS))
            rates.hot.append(measure_settle(place, size.webhooks, 1))
            place.settle_down()
            fill_webhooks(rows, size.rows, USERS)
            make_due(rows, size.rows)
            rates.rows.append(measure_rows(rows, size.rows))
            rates.noop_own.append(noop_own.measure(size.tasks))
            say(
                f"settle, round {number}: {rates.spread[-1]:,.0f}/s, hot {rates.hot[-1]:,.0f}/s, rows one by one"
                f" {rates.rows[-1]:,.0f}/s, no-op tasks {rates.noop[-1]:,.0f}/s and {rates.noop_own[-1]:,.0f}/s"
            )
    return {
        "settle_vs_celery_noop": compare(rates.spread, rates.noop, 10, ("settled", "celery_noop")),
        "settle_vs_celery_noop_own_settings": compare(rates.spread, rates.noop_own, None, ("settled", "celery_noop")),
        "settle_vs_row_at_a_time": compare(rates.spread, rates.rows, 3, ("settled", "row_at_a_time")),
        "settle_hot_wallet": compare(rates.hot, rates.spread, 0.9, ("one_wallet", "many_wallets")),
    }


def run_history(ground: Ground, size: Size, say: Say) -> dict[str, Figure]:
    """Measures the settle rate with and without history, interleaved; what grows in between is a point of the plot."""
    points: list[dict[str, float]] = []
    with ground.open_place("fresh") as fresh, ground.open_place("old") as old:
        filled, without, with_history = 0, list[float](), list[float]()
        for count in size.history:
            started = time.monotonic()
            fill_history(old, filled, count)
            filled = count
            say(f"filled {count:,} payments of history in {time.monotonic() - started:.0f} s")
            for place in (fresh, old):
                if not place.running:
                    place.start(*WORKERS)
                    measure_settle(place, size.webhooks // 10, USERS)
            rounds = ROUNDS if count == size.history[-1] else 1
            for _ in range(rounds):
                if rounds == ROUNDS:
                    without.append(measure_settle(fresh, size.webhooks, USERS))
                with_history.append(measure_settle(old, size.webhooks, USERS))
            points.append({"payments": count, "per_second": round(with_history[-1])})
        say(f"settle at {filled:,}: {with_history[-1]:,.0f}/s, without {without[-1]:,.0f}/s")
    figure = compare(with_history[-ROUNDS:], without[-ROUNDS:], 0.9, ("with_history", "without"))
    return {
        "settle_at_10m": {
            **figure,
            "history": filled,
            "points": [{"payments": 0, "per_second": round(without[0])}, *points],
        }
    }


def run_drain(ground: Ground, size: Size, say: Say, rounds: int = ROUNDS) -> dict[str, Figure]:
    """Measures what an outage of the workers leaves: all is due when they start, and nobody rings but they."""
    drained, steady, starts = list[float](), list[float](), list[float]()
    with ground.open_place("drain") as place:
        place.start(*WORKERS)
        measure_settle(place, size.webhooks // 10, USERS)
        for number in range(1, rounds + 1):
            steady.append(measure_settle(place, size.webhooks, USERS))
            place.settle_down()
            fill_webhooks(place, size.drained, USERS)
            for name in WORKERS:
                place.stop(name)
            make_due(place, size.drained)
            began = time.monotonic()
            place.start(*WORKERS)
            starts.append(time.monotonic() - began)
            wait_settled(place, size.drained)
            # By the database's clock, from the first settled batch: how long processes take to start is told beside.
            seconds = place.value(
                "select extract(epoch from max(settled_at) - min(settled_at))::float8 from (select settled_at"
                " from payment_webhooks order by settled_at desc limit %s) as d",
                size.drained,
            )
            drained.append(size.drained / seconds)
            say(f"drain, round {number}: {drained[-1]:,.0f}/s, steady {steady[-1]:,.0f}/s")
    figure = compare(drained, steady, 0.8, ("drained", "settled"))
    return {"drain_after_outage": {**figure, "due_at_once": size.drained, "start_seconds": summarize(starts, "s")}}


def run_batches(ground: Ground, size: Size, say: Say) -> dict[str, Figure]:
    """Settles batches of other sizes in this process: the plot behind the size that is built in."""
    points = []
    built_in = settling.BATCH_ROWS
    with ground.open_place("batches") as place:
        try:
            for batch in BATCH_SIZES:
                count = min(size.webhooks, max(batch * 6, 100))
                fill_webhooks(place, count, USERS)
                make_due(place, count)
                settling.BATCH_ROWS = batch
                started = time.monotonic()
                while settling.settle_batch(place.runtime):
                    pass
                points.append({"batch": batch, "per_second": round(count / (time.monotonic() - started))})
        finally:
            settling.BATCH_ROWS = built_in
    say("one process, by batch size: " + ", ".join(f"{p['batch']}: {p['per_second']:,}/s" for p in points))
    return {"settle_by_batch_size": {"points": points, "built_in": built_in, "goal": None, "unit": "1/s"}}
