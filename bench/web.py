"""How many webhooks and deposits the web process takes per second, compared with an empty request."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from typing import Any

from redis import Redis

from bench.cpu import Costs
from bench.figures import BenchFailed, Figure, compare
from bench.filling import fill_backlog
from bench.load.http_load import run_load
from bench.load.prepared_requests import build_deposit, build_request, build_webhook
from bench.measured_stack import MeasuredStack, open_measured_stack
from testbed.servers import Servers

ROUNDS = 3
# As many senders at once as a busy provider keeps open; the server is one process with greenlets.
CONNECTIONS = 32
# More than the server was ever seen to answer, so that the requests last for the seconds.
REQUESTS_PER_SECOND = {"hello": 8_000, "webhook": 4_000, "deposit": 3_000}
EXPECTED = {"hello": "200", "webhook": "200", "deposit": "202"}
OPERATIONS = {"hello": "hello answered", "webhook": "webhook taken", "deposit": "deposit taken"}
# A round of webhooks while others wait.
BEHIND = "webhook, others waiting"
# What the settle rate of one worker clears in half a minute: a bad minute, not a bad day.
BACKLOG = 100_000
WARM_UP_SECONDS = 0.5
INTAKE, DEPOSIT, INTAKE_BEHIND = KEYS = ("intake_vs_hello", "deposit_vs_hello", "intake_with_backlog")
Say = Callable[[str], None]


def measure(stack: MeasuredStack, kind: str, seconds: float, costs: Costs | None = None) -> dict[str, Any]:
    """Return what one round of `kind` (hello, webhook, deposit) counted. Raise BenchFailed on a wrong answer."""
    count = int(REQUESTS_PER_SECOND[kind] * seconds)
    if kind == "webhook":
        requests = [build_webhook(*stack.shop.sender, uuid.uuid4()) for _ in range(count)]
    elif kind == "deposit":
        requests = [build_deposit(stack.shop.secret_key, f"user-{number % 1_000}") for number in range(count)]
    else:
        requests = [build_request("GET", "/health/live", {})] * count
    with costs.of(OPERATIONS[kind], stack) if costs else contextlib.nullcontext():
        counted = run_load(stack.ports.web, requests, CONNECTIONS, seconds)
    if costs:
        costs.add(OPERATIONS[kind], counted["count"])
        costs.charge(OPERATIONS[kind], "load generator", counted["cpu_seconds"])
    if set(counted["statuses"]) != {EXPECTED[kind]}:
        raise BenchFailed(f"{kind}: answers were {counted['statuses']}")
    return counted


def run_web(servers: Servers, seconds: float, say: Say, backlog: int = BACKLOG) -> dict[str, Figure]:
    """Measure webhooks, deposits and hellos of one web process, interleaved; nobody works on what was taken.

    In each round webhooks are sent twice: while none waits, and while `backlog` others do.
    """
    rates: dict[str, list[float]] = {kind: [] for kind in (*EXPECTED, BEHIND)}
    costs, last = Costs(), dict[str, Any]()
    with open_measured_stack(servers) as stack:
        stack.start("web")
        for kind in EXPECTED:
            measure(stack, kind, WARM_UP_SECONDS)
        for number in range(1, ROUNDS + 1):
            stack.databases.rows("truncate webhook_work")
            for kind in EXPECTED:
                last[kind] = measure(stack, kind, seconds, costs)
                rates[kind].append(last[kind]["count"] / last[kind]["seconds"])
            fill_backlog(stack, backlog)
            last[BEHIND] = measure(stack, "webhook", seconds / 2)
            rates[BEHIND].append(last[BEHIND]["count"] / last[BEHIND]["seconds"])
            say(f"web, round {number}: " + ", ".join(f"{kind} {values[-1]:,.0f}/s" for kind, values in rates.items()))
        stored = stack.databases.value("select count(*) from payment_webhooks") + stack.databases.value(
            "select count(*) from payment_work"
        )
        rings = Redis.from_url(stack.databases.redis_url).llen("ring.settle")
    details = {"connections": CONNECTIONS, "rows_stored": stored, "costs": costs.describe()}
    pairs: dict[str, tuple[str, str, float | None, tuple[str, str]]] = {
        INTAKE: ("webhook", "hello", 0.4, ("webhooks", "hello")),
        DEPOSIT: ("deposit", "hello", 0.3, ("deposits", "hello")),
        INTAKE_BEHIND: (BEHIND, "webhook", None, ("with_backlog", "with_none")),
    }
    figures = {
        key: {
            **compare(rates[kind], rates[other_references], goal, names),
            **details,
            "answer_ms": last[kind]["milliseconds"],
        }
        for key, (kind, other_references, goal, names) in pairs.items()
    }
    figures[INTAKE_BEHIND] |= {"backlog": backlog, "doorbells_waiting": rings}
    return figures
