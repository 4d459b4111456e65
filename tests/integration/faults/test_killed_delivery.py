"""A worker that delivers is killed with deliveries under way: each is delivered once its lease has ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from app.services.deliveries import webhook_endpoints
from app.services.deliveries.delivery_claims import ENDPOINT_CALLS_MAX
from app.services.webhooks import settle
from testbed.shop import ACTOR
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.webhook_receiver import Received, WebhookReceiver

COUNT = 2 * ENDPOINT_CALLS_MAX


def answers_after(may_answer: threading.Event) -> Callable[[Received], int]:
    """Return an answer that waits; of a worker that was killed nobody reads it."""
    return lambda received: 200 if may_answer.wait(60) else 500


def test_a_worker_killed_with_deliveries_under_way_loses_none(stack: Stack, receiver: WebhookReceiver) -> None:
    shop, may_answer = stack.make_shop(), threading.Event()
    receiver.answer = answers_after(may_answer)
    webhook_endpoints.create_endpoint(stack.runtime, shop.tenant_id, receiver.url, None, None, ACTOR)
    for _ in range(COUNT):
        shop.deliver(shop.body(shop.deposit()))
    settle.settle_due(stack.runtime)
    stack.start("worker-deliver")
    stack.runtime.doorbells.ring_regardless("deliver")
    under_way = receiver.wait_for(ENDPOINT_CALLS_MAX, 30)
    stack.stop("worker-deliver", sign=signal.SIGKILL)
    may_answer.set()
    claimed = stack.databases.rows("select due_at > now() as is_leased from delivery_work where claim_id is not null")
    assert claimed == [{"is_leased": True}] * len(under_way)
    assert stack.databases.rows("select status from endpoint_deliveries") == [{"status": "pending"}] * COUNT
    # The leases, gone by.
    stack.databases.rows("update delivery_work set due_at = now() - interval '1 second' where claim_id is not null")
    stack.start("worker-deliver")
    stack.runtime.doorbells.ring_regardless("deliver")
    left = "select count(*) from delivery_work"
    wait_until(lambda: stack.databases.value(left) == 0, "all are delivered")
    rows = stack.databases.rows("select status, count(*) from endpoint_deliveries group by status")
    assert rows == [{"status": "delivered", "count": COUNT}]
    # Those under way were sent again, with the same bytes under the same id.
    sent = {(each.headers["webhook-id"], each.body) for each in receiver.received}
    assert (len(sent), len(receiver.received)) == (COUNT, COUNT + len(under_way))
