"""Whether millions of payments of the past slow settling down, and what the size of a batch is worth."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from typing import Any

from app.services.webhooks import claims, settle
from bench.figures import BenchFailed, Figure, at_most, compare
from bench.filling import fill_history, fill_webhooks, make_due
from bench.measured_stack import MeasuredStack, open_measured_stack
from bench.settle import ROUNDS, USERS, WORKERS, Say, Size, measure_settle, settle_filled
from models.statements import watched
from testbed.servers import Servers

BATCH_SIZES = (1, 10, 50, 200, 500, 1_000)
# Enough batches of each size that the first, which opens wallets and fills caches, weighs little.
BATCHES = 4
WEBHOOKS_MIN = 60
# What a batch of one may cost, in rows of a large one.
FIXED_COST_MAX = 4.0
# A payment of the past with all its rows and their indexes; the log and the sorting of indexes come on top.
BYTES_EACH = 5_500
BYTES_BESIDE = 8 * 2**30


def run_history(servers: Servers, size: Size, say: Say) -> dict[str, Figure]:
    """Measure the settle rate with and without history, interleaved; what grows in between is a point of the plot."""
    points: list[dict[str, float]] = []
    _check_disk(servers, size.history[-1])
    with open_measured_stack(servers) as fresh, open_measured_stack(servers) as old:
        filled, without, with_history = 0, list[float](), list[float]()
        for count in size.history:
            started = time.monotonic()
            fill_history(old, filled, count)
            filled = count
            say(f"filled {count:,} payments of history in {time.monotonic() - started:.0f} s")
            _start(fresh, old)
            for stack in (fresh, old):
                measure_settle(stack, size.webhooks // 10, USERS)
            is_last = count == size.history[-1]
            for _ in range(ROUNDS if is_last else 1):
                if is_last:
                    without.append(measure_settle(fresh, size.webhooks, USERS))
                with_history.append(measure_settle(old, size.webhooks, USERS))
            points.append({"payments": count, "per_second": round(with_history[-1])})
        say(f"settle at {filled:,}: {with_history[-1]:,.0f}/s, without {without[-1]:,.0f}/s")
    figure = compare(with_history[-ROUNDS:], without[-ROUNDS:], 0.9, ("with_history", "without"))
    points.insert(0, {"payments": 0, "per_second": round(without[0])})
    return {"settle_at_10m": {**figure, "history": filled, "points": points}}


def _check_disk(servers: Servers, payments: int) -> None:
    """Raise BenchFailed where the history would not fit: a full disk would end every server on it."""
    needed, free = payments * BYTES_EACH + BYTES_BESIDE, shutil.disk_usage(servers.folder).free
    if free < needed:
        raise BenchFailed(f"{needed / 2**30:.0f} GB are needed in {servers.folder.parent}, {free / 2**30:.0f} are free")


def _start(*stacks: MeasuredStack) -> None:
    """Start the workers of all stacks at once, where they do not run yet."""
    idle = [stack for stack in stacks if not stack.running]
    for stack in idle:
        stack.launch(*WORKERS)
    for stack in idle:
        stack.await_working(*WORKERS)


def run_batches(servers: Servers, size: Size, say: Say) -> dict[str, Figure]:
    """Settle batches of other sizes in this process: the plot behind the size that is built in."""
    points = []
    built_in = claims.BATCH_ROWS
    single, large = list[float](), list[float]()
    with open_measured_stack(servers) as stack, _batch_size_kept():
        for batch in BATCH_SIZES:
            points.append(_measure_batch(stack, batch, _count(size, batch)))
        for _ in range(ROUNDS):
            single.append(_measure_batch(stack, 1, _count(size, 1))["per_second"])
            large.append(_measure_batch(stack, built_in, _count(size, built_in))["per_second"])
    cost = at_most(compare(large, single, None, ("rows_of_a_large_batch", "batches_of_one")), FIXED_COST_MAX)
    say("one process, by batch size: " + ", ".join(f"{p['batch']}: {p['per_second']:,}/s" for p in points))
    messages = next(point["messages"] for point in points if point["batch"] == built_in)
    return {
        "settle_by_batch_size": {
            "points": points,
            "built_in": built_in,
            "messages_per_batch": messages,
            "goal": None,
            "unit": "1/s",
        },
        "batch_fixed_cost": {**cost, "large_batch": built_in},
    }


def run_sustained(servers: Servers, size: Size, say: Say) -> dict[str, Figure]:
    """Settle twice as many as `size.sustained` in a row on a fresh database: the second half over the first."""
    with open_measured_stack(servers) as stack:
        stack.start(*WORKERS)
        measure_settle(stack, size.webhooks // 10, USERS)
        fill_webhooks(stack, 2 * size.sustained, USERS)
        first, second = [settle_filled(stack, size.sustained) for _ in range(2)]
    say(f"sustained: the first {size.sustained:,} at {first:,.0f}/s, the second at {second:,.0f}/s")
    return {"sustained": {**compare([second], [first], 0.95, ("second", "first")), "webhooks_each": size.sustained}}


@contextlib.contextmanager
def _batch_size_kept() -> Iterator[None]:
    """Restore the built-in batch size after a block that changes it."""
    built_in = claims.BATCH_ROWS
    try:
        yield
    finally:
        claims.BATCH_ROWS = built_in


def _count(size: Size, batch: int) -> int:
    return min(size.webhooks, max(batch * BATCHES, WEBHOOKS_MIN))


def _measure_batch(stack: MeasuredStack, batch: int, count: int) -> dict[str, Any]:
    """Settle `count` webhooks in batches of `batch`; return their rate and the messages that a batch took."""
    fill_webhooks(stack, count, USERS)
    make_due(stack, count)
    claims.BATCH_ROWS = batch
    batches, started = 0, time.monotonic()
    with watched(stack.runtime.database.engine) as sent:
        queue = claims.WebhookQueue(batch)
        while settle.settle_batch(stack.runtime, queue):
            batches += 1
    seconds = time.monotonic() - started
    return {"batch": batch, "per_second": round(count / seconds), "messages": round(len(sent) / max(1, batches), 1)}
