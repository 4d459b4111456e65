"""Whether millions of payments of the past slow settling down, and what the size of a batch is worth."""

from __future__ import annotations

import shutil
import time
from typing import Any

from app.services.webhooks import claims, settle
from bench.figures import BenchFailed, Figure, compare
from bench.filling import fill_history, fill_webhooks, make_due
from bench.measured_stack import MeasuredStack, open_measured_stack
from bench.settle import ROUNDS, USERS, WORKERS, Say, Size, measure_settle
from models.statements import watched
from testbed.servers import Servers

BATCH_SIZES = (1, 10, 50, 200, 500, 1_000)
# Enough batches of each size that the first, which opens wallets and fills caches, weighs little.
BATCHES = 4
WEBHOOKS_MIN = 60
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
    with open_measured_stack(servers) as stack:
        try:
            for batch in BATCH_SIZES:
                points.append(_measure_batch(stack, batch, min(size.webhooks, max(batch * BATCHES, WEBHOOKS_MIN))))
        finally:
            claims.BATCH_ROWS = built_in
    say("one process, by batch size: " + ", ".join(f"{p['batch']}: {p['per_second']:,}/s" for p in points))
    messages = next(point["messages"] for point in points if point["batch"] == built_in)
    return {
        "settle_by_batch_size": {
            "points": points,
            "built_in": built_in,
            "messages_per_batch": messages,
            "goal": None,
            "unit": "1/s",
        }
    }


def _measure_batch(stack: MeasuredStack, batch: int, count: int) -> dict[str, Any]:
    """Settle `count` webhooks in batches of `batch`; return their rate and the messages that a batch took."""
    fill_webhooks(stack, count, USERS)
    make_due(stack, count)
    claims.BATCH_ROWS = batch
    batches, started = 0, time.monotonic()
    with watched(stack.runtime.database.engine) as sent:
        queue = claims.WebhookQueue()
        while settle.settle_batch(stack.runtime, queue):
            batches += 1
    seconds = time.monotonic() - started
    return {"batch": batch, "per_second": round(count / seconds), "messages": round(len(sent) / max(1, batches), 1)}
