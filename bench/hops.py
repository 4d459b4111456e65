"""The latency of a webhook by stage, from intake to the browser, from timestamps that the servers record anyway.

Nothing is added to the product. Valkey reports every command that it gets (MONITOR), and the webhook's row has the
moments at which its two transactions began. All clocks are the machine's own.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from app.runtime.hints import NOTIFICATIONS_CHANNEL
from bench.figures import BenchFailed, short
from bench.measured_stack import MeasuredStack

# What each command says about the webhook that is under way, in the order in which they come. A worker that listens is
# rung by its list, any other one by a message.
COMMANDS = {
    "rung": (("LPUSH", "rung:settle"), ("LPUSH", "ring.settle")),
    "published": (("PUBLISH", NOTIFICATIONS_CHANNEL),),
}
# Each hop ends at the moment that it is named by here.
HOPS = {
    "received": "web: POST to the beginning of the storing transaction",
    "rung": "web: stored, committed, rung",
    "claimed": "worker: awake, claim, committed",
    "published": "worker: decided, written, numbered, committed, published",
    "arrived": "sockets: hint to the browser's frame",
}


@dataclass
class Trace:
    """The commands of one Redis database while a block runs: (seconds since 1970, command, first argument)."""

    seen: list[tuple[float, str, str]] = field(default_factory=list)

    def find(self, name: str, after: float, before: float) -> float | None:
        """Return when the command `name` of COMMANDS first came between two moments."""
        return next((at for at, *what in self.seen if after <= at <= before and tuple(what) in COMMANDS[name]), None)


@contextlib.contextmanager
def open_trace(stack: MeasuredStack) -> Iterator[Trace]:
    """Note the commands that Valkey gets for `stack` until the block ends."""
    trace, ended = Trace(), threading.Event()
    redis = Redis.from_url(stack.databases.redis_url, decode_responses=True)
    database = int(stack.databases.redis_url.rpartition("/")[2])

    def note(monitor: Any) -> None:
        with contextlib.suppress(RedisError, OSError, ValueError):
            while not ended.is_set():
                told = monitor.next_command()
                words = told["command"].split()
                if int(told["db"]) == database and len(words) > 1:
                    trace.seen.append((float(told["time"]), words[0].upper(), words[1]))

    with redis.monitor() as monitor:  # type: ignore[no-untyped-call]
        thread = threading.Thread(target=note, args=(monitor,), daemon=True)
        thread.start()
        try:
            yield trace
        finally:
            ended.set()
            # The thread waits for a command without a timeout: send a last one.
            redis.ping()
            thread.join()
    redis.close()


@dataclass(frozen=True)
class TracedWebhook:
    """One webhook seen from outside: its payment, when it was sent and when its frame came (seconds since 1970)."""

    payment_id: str
    sent_at: float
    arrived_at: float


def measure_hops(stack: MeasuredStack, trace: Trace, passages: Sequence[TracedWebhook]) -> list[dict[str, Any]]:
    """Return the median milliseconds of each hop. Raise BenchFailed where no webhook can be followed."""
    found = [moments for passage in passages if (moments := _follow(stack, trace, passage))]
    if not found:
        raise BenchFailed("no webhook could be followed through its hops")
    names = ("sent_at", *HOPS)
    hops = []
    for before, name in itertools.pairwise(names):
        took = [(moments[name] - moments[before]) * 1000 for moments in found]
        hops.append({"hop": HOPS[name], "ms": short(statistics.median(took))})
    return hops


def _follow(stack: MeasuredStack, trace: Trace, passage: TracedWebhook) -> dict[str, float] | None:
    """Return the moments of one webhook, None where some are missing: the sweep rang, or another one's ring stood."""
    (webhook,) = stack.databases.rows(
        "select extract(epoch from received_at)::float8 as received, extract(epoch from settled_at)::float8 as claimed"
        " from payment_webhooks where payment_id = :id",
        id=passage.payment_id,
    )
    noted = {name: trace.find(name, passage.sent_at, passage.arrived_at) for name in COMMANDS}
    moments = {"sent_at": passage.sent_at, "received": webhook["received"], "rung": noted["rung"]}
    moments |= {"claimed": webhook["claimed"], "published": noted["published"], "arrived": passage.arrived_at}
    known = {name: at for name, at in moments.items() if at is not None}
    return known if len(known) == len(moments) else None
