"""How many browsers one sockets process holds, what each costs in memory, and how late the last one hears."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import ExitStack

from psycopg2.extras import execute_values

from app.services.access.callers import new_credential
from app.sockets.gunicorn_settings import OTHER_CONNECTIONS, OTHER_FILES
from app.sockets.hub import PER_USER_MAX
from bench.cpu import Costs
from bench.figures import Figure, percentile, summarize
from bench.load.socket_clients import CrowdProcess
from bench.measured_stack import MeasuredStack, open_measured_stack
from bench.settle import WORKERS
from models import new_id
from testbed.servers import Servers

ROUNDS = 3
SOCKETS = 10_000
# Two processes of clients: their own work for ten thousand frames must not be what is measured.
CLIENT_PROCESSES = 2
SETTLE_SECONDS = 1.0
_TOKENS = """insert into client_tokens (id, tenant_id, api_key_id, user_id, public_part, secret_sha256, expires_at)
    values %s"""
# One message for each user, all in one commit, as a settled batch writes them.
_NOTIFY = """
with written as (
    insert into notifications (id, tenant_id, user_id, payment_id, type, payload)
    select uuidv7(), %(tenant)s, user_id, uuidv7(), 'payment.completed', jsonb_build_object('id', uuidv7(),
        'version', 3, 'user_id', user_id, 'amount', '25.00', 'amount_minor', 2500, 'currency', 'USD',
        'status', 'completed')
    from (select distinct user_id from client_tokens where tenant_id = %(tenant)s) as u
    returning id, user_id
)
insert into notification_work (notification_id, tenant_id, user_id) select id, %(tenant)s, user_id from written
"""
Say = Callable[[str], None]


def find_sockets_max(wanted: int) -> int:
    """Return how many sockets this machine's limit of open files lets one process hold, at most `wanted`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, hard - OTHER_FILES - OTHER_CONNECTIONS))


def make_tokens(stack: MeasuredStack, count: int) -> list[str]:
    """Make client tokens, as many to a user as one may have sockets."""
    made = [new_credential("ct") for _ in range(count)]
    shop = stack.shop
    owner = (str(shop.tenant_id), str(shop.key_id))
    rows = [
        (str(new_id()), *owner, f"user-{number // PER_USER_MAX}", credential.public_part, credential.secret_sha256)
        for number, credential in enumerate(made)
    ]
    with stack.databases.superuser.transaction() as cursor:
        execute_values(cursor, _TOKENS, rows, "(%s, %s, %s, %s, %s, %s, now() + interval '15 minutes')", 1_000)
    return [credential.plain for credential in made]


def measure_memory(stack: MeasuredStack) -> int:
    """Return the resident bytes of the sockets process, its children included."""
    return sum(process.memory_info().rss for process in stack.tree("sockets"))


def broadcast(stack: MeasuredStack, crowds: list[CrowdProcess]) -> list[float]:
    """Send every user a notification; return the milliseconds from the commit until each socket had it."""
    for crowd in crowds:
        crowd.expect()
    with stack.databases.superuser.transaction() as cursor:
        cursor.execute(_NOTIFY, {"tenant": str(stack.shop.tenant_id)})
    committed = time.monotonic()
    stack.runtime.doorbells.ring_regardless("notify")
    return [(at - committed) * 1000 for crowd in crowds for at in crowd.read()]


def run_sockets(servers: Servers, say: Say, wanted: int = SOCKETS) -> dict[str, Figure]:
    """Open as many sockets as wanted and possible on one process, and broadcasts to all of them."""
    count = find_sockets_max(wanted)
    with open_measured_stack(servers) as stack, ExitStack() as exits:
        stack.start("sockets", *WORKERS)
        tokens = make_tokens(stack, count)
        before, costs = measure_memory(stack), Costs()
        with costs.of("socket opened", stack, count):
            crowds = [
                exits.enter_context(CrowdProcess(stack.ports.sockets, tokens[number::CLIENT_PROCESSES]))
                for number in range(CLIENT_PROCESSES)
            ]
            opened = [crowd.read() for crowd in crowds]
        costs.charge("socket opened", "load generator", sum(one["cpu_seconds"] for one in opened))
        seconds, refused = max(one["seconds"] for one in opened), sum(one["refused"] for one in opened)
        time.sleep(SETTLE_SECONDS)  # What connecting needed and idling does not is given back by then.
        each = (measure_memory(stack) - before) / 1024 / count
        say(f"{count:,} sockets open after {seconds:.1f} s, {each:.1f} KB each, {refused} asked back")
        rounds = []
        for number in range(1, ROUNDS + 1):
            rounds.append(broadcast(stack, crowds))
            say(f"broadcast, round {number}: p99 {percentile(rounds[-1], 0.99):.0f} ms")
    p50 = summarize([percentile(values, 0.5) / 1000 for values in rounds], "s")
    p99 = summarize([percentile(values, 0.99) / 1000 for values in rounds], "s")
    return {
        "sockets": {
            "median": count,
            "spread": 0,
            "unit": "sockets",
            "rounds": [count],
            "kb_each": round(each, 1),
            "connects_per_second": round(count / seconds),
            # Handshakes that were answered 503 and came again.
            "handshakes_refused": refused,
            "broadcast_p50": p50,
            "broadcast_p99": p99,
            "goal": {"count": 10_000, "kb_each": 50, "broadcast_p99": 1.0},
            "costs": costs.describe(),
            "met": count >= 10_000 and each <= 50 and p99["median"] <= 1.0,
        }
    }
