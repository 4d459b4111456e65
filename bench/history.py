"""Whether millions of payments of the past slow settling down, and what the size of a batch is worth."""

from __future__ import annotations

import shutil
import time
from typing import Any

from app.services.webhooks import claims, settle
from bench.figures import BenchFailed, Figure, compare
from bench.filling import fill_history, fill_webhooks, make_due
from bench.place import Ground, Place
from bench.settle import ROUNDS, USERS, WORKERS, Say, Size, measure_settle
from models.statements import watched

BATCH_SIZES = (1, 10, 50, 200, 500, 1_000)
# Enough batches of each size that the first, which opens wallets and fills caches, weighs little.
BATCHES = 4
WEBHOOKS_MIN = 60
# A payment of the past with all its rows and their indexes; the log and the sorting of indexes come on top.
BYTES_EACH = 5_500
BYTES_BESIDE = 8 * 2**30


def run_history(ground: Ground, size: Size, say: Say) -> dict[str, Figure]:
    """Measure the settle rate with and without history, interleaved; what grows in between is a point of the plot."""
    points: list[dict[str, float]] = []
    _check_disk(ground, size.history[-1])
    with ground.open_place("fresh") as fresh, ground.open_place("old") as old:
        filled, without, with_history = 0, list[float](), list[float]()
        for count in size.history:
            started = time.monotonic()
            fill_history(old, filled, count)
            filled = count
            say(f"filled {count:,} payments of history in {time.monotonic() - started:.0f} s")
            _start(fresh, old)
            for place in (fresh, old):
                measure_settle(place, size.webhooks // 10, USERS)
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


def _check_disk(ground: Ground, payments: int) -> None:
    """Raise BenchFailed where the history would not fit: a full disk would end every server on it."""
    needed, free = payments * BYTES_EACH + BYTES_BESIDE, shutil.disk_usage(ground.folder).free
    if free < needed:
        raise BenchFailed(f"{needed / 2**30:.0f} GB are needed in {ground.folder.parent}, {free / 2**30:.0f} are free")


def _start(*places: Place) -> None:
    """Start the workers of all places at once, where they do not run yet."""
    idle = [place for place in places if not place.running]
    for place in idle:
        place.launch(*WORKERS)
    for place in idle:
        place.await_working(*WORKERS)


def run_batches(ground: Ground, size: Size, say: Say) -> dict[str, Figure]:
    """Settle batches of other sizes in this process: the plot behind the size that is built in."""
    points = []
    built_in = claims.BATCH_ROWS
    with ground.open_place("batches") as place:
        try:
            for batch in BATCH_SIZES:
                points.append(_measure_batch(place, batch, min(size.webhooks, max(batch * BATCHES, WEBHOOKS_MIN))))
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


def _measure_batch(place: Place, batch: int, count: int) -> dict[str, Any]:
    """Settle `count` webhooks in batches of `batch`; return their rate and the messages that a batch took."""
    fill_webhooks(place, count, USERS)
    make_due(place, count)
    claims.BATCH_ROWS = batch
    batches, started = 0, time.monotonic()
    with watched(place.runtime.database.engine) as sent:
        queue = claims.WebhookQueue()
        while settle.settle_batch(place.runtime, queue):
            batches += 1
    seconds = time.monotonic() - started
    return {"batch": batch, "per_second": round(count / seconds), "messages": round(len(sent) / max(1, batches), 1)}
