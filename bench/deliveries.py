"""How fast one process delivers to an endpoint that answers at once, compared with a bare loop of `requests`."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field

import orjson
import requests

from app.core.payment import present_payment
from app.services.deliveries import webhook_endpoints
from app.services.deliveries.delivery_claims import ENDPOINT_CALLS_MAX
from bench.cpu import Costs, sum_seconds
from bench.figures import BenchFailed, Figure, compare
from bench.load.provider import find_provider_port, run_in_process
from bench.measured_stack import MeasuredStack, open_measured_stack
from bench.settle import ROUNDS, Say, Size
from testbed.servers import Servers
from testbed.shop import ACTOR
from testbed.waiting import wait_until

KEY = "deliveries"
OPERATION = "delivery made"
WORKERS = ("worker-deliver", "beat")
# CONTRACT has no figure for it; half of a loop that signs, stores and retries nothing.
GOAL = 0.5
# As numbering leaves them: notifications with a number, a delivery of each, and its row of work, never sent so far.
_DUE = """
create temp table filled on commit drop as
    select n, uuidv7() as notification_id, uuidv7() as delivery_id
    from generate_series(%(first)s, %(first)s + %(count)s - 1) as n;
insert into notifications (id, tenant_id, user_id, payment_id, type, payload)
    select notification_id, %(tenant)s, %(payload)s::jsonb->>'user_id', (%(payload)s::jsonb->>'id')::uuid,
           'payment.completed', %(payload)s from filled order by n;
insert into endpoint_deliveries (id, tenant_id, endpoint_id, notification_id, event_id, event_type)
    select delivery_id, %(tenant)s, %(endpoint)s, notification_id, n, 'payment.completed' from filled order by n;
insert into delivery_work (delivery_id, tenant_id, endpoint_id)
    select delivery_id, %(tenant)s, %(endpoint)s from filled order by n;
"""


@dataclass
class _Sender:
    """The product with one endpoint at `url`, and the rates of each round."""

    stack: MeasuredStack
    url: str
    endpoint_id: str
    payload: str
    filled: int = 0
    delivered: list[float] = field(default_factory=list)
    bare_loop: list[float] = field(default_factory=list)

    def measure(self, count: int) -> float:
        """Make `count` deliveries due in one commit and ring; return how many per second were delivered."""
        databases = self.stack.databases
        values = {"tenant": str(self.stack.shop.tenant_id), "endpoint": self.endpoint_id, "payload": self.payload}
        with databases.superuser.transaction() as cursor:
            cursor.execute(_DUE, {**values, "first": self.filled + 1, "count": count})
        self.filled += count
        started = time.monotonic()
        self.stack.runtime.doorbells.ring_regardless("deliver")
        left = "select exists (select from delivery_work)"
        wait_until(lambda: not databases.value(left), "all are delivered", 60 + count / 10)
        rate = count / (time.monotonic() - started)
        if databases.value(
            "select exists (select from endpoint_deliveries where status <> 'delivered' or attempts > 1)"
        ):
            raise BenchFailed("a delivery failed")
        return rate

    def measure_loop(self, count: int) -> float:
        """Post the bytes of a delivery `count` times with `requests`; return requests per second.

        One loop takes as many connections in turn as the product may have to an endpoint. Threads would be slower where
        the endpoint answers at once: they share one interpreter.
        """
        body = bytes(self.stack.databases.value("select message from endpoint_deliveries limit 1"))
        sessions = [requests.Session() for _ in range(ENDPOINT_CALLS_MAX)]
        for session in sessions:
            session.trust_env = False
        started = time.monotonic()
        for session in itertools.islice(itertools.cycle(sessions), count):
            headers = {"Content-Type": "application/json"}
            session.post(self.url, data=body, headers=headers, timeout=10).raise_for_status()
        rate = count / (time.monotonic() - started)
        for session in sessions:
            session.close()
        return rate


def run_deliveries(servers: Servers, size: Size, say: Say) -> dict[str, Figure]:
    """Measure deliveries of one process, and in turn the loop."""
    port, costs = find_provider_port(), Costs()
    with open_measured_stack(servers) as stack, run_in_process(servers, port, 0.0) as receiver:
        url = f"http://127.0.0.1:{port}/hooks"
        made = webhook_endpoints.create_endpoint(stack.runtime, stack.shop.tenant_id, url, None, None, ACTOR)
        payload = orjson.dumps(present_payment(stack.shop.deposit())).decode()
        sender = _Sender(stack, url, made["id"], payload)
        stack.start(*WORKERS)
        sender.measure(max(1, size.deliveries // 10))
        sender.measure_loop(max(1, size.deliveries // 10))
        for number in range(1, ROUNDS + 1):
            before = sum_seconds(receiver)
            with costs.of(OPERATION, stack, size.deliveries):
                sender.delivered.append(sender.measure(size.deliveries))
            costs.charge(OPERATION, "load generator", sum_seconds(receiver) - before)
            sender.bare_loop.append(sender.measure_loop(size.deliveries))
            rates = f"{sender.delivered[-1]:,.0f}/s, bare loop {sender.bare_loop[-1]:,.0f}/s"
            say(f"deliveries, round {number}: {rates}")
    figure = compare(sender.delivered, sender.bare_loop, GOAL, ("delivered", "bare_loop"))
    return {KEY: {**figure, "connections": ENDPOINT_CALLS_MAX, "costs": costs.describe()}}
