"""Every process type ends on SIGTERM with code 0 and without a traceback, and what it had begun becomes due again."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import psycopg2
import pytest

from app.local.spawn import read_log_tail
from app.runtime.broker.worker_stop import FINISH_SECONDS
from app.runtime.ring_listener import keys_of
from app.services.deliveries import webhook_endpoints
from app.services.deliveries.delivery_claims import ENDPOINT_CALLS_MAX
from testbed.shop import ACTOR
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import Api
from tests.support.webhook_receiver import WebhookReceiver

# The supervisor ends by force what has not gone by then.
GONE_SECONDS = 5.0
_, LISTENER, _ = keys_of("settle")
NAMES = ("web", "sockets", "worker-settle", "worker-provider", "worker-deliver", "beat", "flower", "sandbox")


def end(stack: Stack, name: str, sign: signal.Signals = signal.SIGTERM) -> None:
    """Ask a process to stop, and fail unless it goes in time, with 0, quietly and with all that it started."""
    running = stack.running.pop(name)
    family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
    running.send_signal(sign)
    assert running.wait(GONE_SECONDS) == 0, name
    # An orphan that ended may wait long for the machine's first process to note it.
    wait_until(lambda: not any(lives(process) for process in family), f"all of {name} is gone", GONE_SECONDS)
    lines = read_log_tail(stack.databases.folder / f"{name}.log", 1000).splitlines()
    assert not [line for line in lines if line.startswith("Traceback")]


def lives(process: psutil.Process) -> bool:
    """Return whether a process still runs."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module", autouse=True)
def running(stack: Stack) -> None:
    """Everything but sockets and Flower, which are slow to start and needed once."""
    stack.start("web", "sandbox", "worker-settle", "worker-provider", "beat")


@pytest.fixture(autouse=True)
def complete(stack: Stack) -> None:
    """Start again what a test before ended."""
    ended = [name for name in ("web", "sandbox", "worker-settle", "worker-provider") if name not in stack.running]
    stack.start(*ended)


@contextmanager
def payment_locked(stack: Stack, payment_id: str) -> Iterator[None]:
    """Lock a payment's row, so that the worker that settles it blocks in the middle of its transaction."""
    connection = psycopg2.connect(stack.databases.superuser_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("select id from payment_transactions where id = %s for update", (payment_id,))
        yield
    finally:
        connection.close()


def test_a_provider_worker_in_mid_call(stack: Stack) -> None:
    shop = stack.make_shop()
    stack.sandbox.script(match={"metadata": {"case": str(shop.tenant_id)}}, create={"delay": 8, "times": 1})
    payment = Api(stack.web, shop.secret_key).deposit(metadata={"case": str(shop.tenant_id)}).json()
    wait_until(lambda: stack.sandbox.truth(payment["id"])["create_calls"], "the provider has been called")
    began = time.monotonic()
    end(stack, "worker-provider")
    assert time.monotonic() - began > 1
    (work,) = stack.databases.rows(
        "select due_at, claim_id from payment_work where payment_id = cast(:id as uuid)", id=payment["id"]
    )
    assert work["claim_id"] is not None
    # The lease, gone by: the next worker asks again with the same key.
    stack.databases.rows(
        "update payment_work set due_at = now() where payment_id = cast(:id as uuid)", id=payment["id"]
    )
    stack.start("worker-provider")
    wait_until(lambda: shop.payment(payment["id"]).redirect_url, "the call was made again")
    (calls,) = stack.sandbox.truth(payment["id"])["create_calls"]
    assert (calls["calls"], calls["idempotency_keys"], calls["bodies"]) == (2, 1, 1)


def test_a_settling_worker_in_mid_batch(stack: Stack) -> None:
    shop = stack.make_shop()
    payment = shop.deposit(user_id="mid")
    blocked = "select count(*) from pg_stat_activity where datname = :name and wait_event_type = 'Lock'"
    with payment_locked(stack, str(payment.id)):
        shop.deliver(shop.body(payment))
        wait_until(lambda: stack.databases.value(blocked, name=stack.databases.name), "the worker is in mid-batch")
        end(stack, "worker-settle")
    due = "update webhook_work set due_at = now(), leased_until = null where payment_id = :id"
    stack.databases.rows(due, id=payment.id)
    stack.start("worker-settle")
    wait_until(lambda: shop.payment(payment.id).status == "completed", "the webhook is settled")
    credits = "select count(*) from wallet_transactions where payment_id = :id and direction = 1"
    assert stack.databases.value(credits, id=payment.id) == 1


def test_a_settling_worker_that_is_kept_awake(stack: Stack) -> None:
    """It ends in time, between two batches: it leaves nothing claimed that would wait for its lease."""
    shop, ended = stack.make_shop(), threading.Event()

    def keep_delivering() -> None:
        while not ended.is_set():
            shop.deliver(shop.body(shop.deposit()))

    thread = threading.Thread(target=keep_delivering)
    thread.start()
    try:
        wait_until(lambda: stack.runtime.redis.exists(LISTENER), "a worker listens")
        began = time.monotonic()
        end(stack, "worker-settle")
        assert time.monotonic() - began < FINISH_SECONDS
    finally:
        ended.set()
        thread.join()
    assert stack.databases.value("select count(*) from webhook_work where claim_id is not null") == 0


def test_a_killed_worker_with_deliveries_under_way(stack: Stack, receiver: WebhookReceiver) -> None:
    """Each is sent again once its lease has ended."""
    shop, may_answer = stack.make_shop(), threading.Event()
    # Nobody reads the answers to a worker that was killed.
    receiver.answer = lambda received: 200 if may_answer.wait(60) else 500
    completed = ["payment.completed"]
    webhook_endpoints.create_endpoint(stack.runtime, shop.tenant_id, receiver.url, completed, None, ACTOR)
    count = 2 * ENDPOINT_CALLS_MAX
    for _ in range(count):
        shop.deliver(shop.body(shop.deposit()))
    number = "select count(*) from endpoint_deliveries"
    wait_until(lambda: stack.databases.value(number) == count, "all are completed", 60)
    if "worker-deliver" not in stack.running:
        stack.start("worker-deliver")
    stack.runtime.doorbells.ring_regardless("deliver")
    under_way = receiver.wait_for(ENDPOINT_CALLS_MAX, 30)
    stack.stop("worker-deliver", sign=signal.SIGKILL)
    may_answer.set()
    claimed = stack.databases.rows("select due_at > now() as is_leased from delivery_work where claim_id is not null")
    assert claimed == [{"is_leased": True}] * len(under_way)
    assert stack.databases.rows("select status from endpoint_deliveries") == [{"status": "pending"}] * count
    # The leases, gone by.
    stack.databases.rows("update delivery_work set due_at = now() - interval '1 second' where claim_id is not null")
    stack.start("worker-deliver")
    stack.runtime.doorbells.ring_regardless("deliver")
    left = "select count(*) from delivery_work"
    wait_until(lambda: stack.databases.value(left) == 0, "all are delivered", 60)
    rows = stack.databases.rows("select status, count(*) from endpoint_deliveries group by status")
    assert rows == [{"status": "delivered", "count": count}]
    # Those under way were sent again, with the same bytes under the same id.
    sent = {(each.headers["webhook-id"], each.body) for each in receiver.received}
    assert (len(sent), len(receiver.received)) == (count, count + len(under_way))


@pytest.mark.parametrize("name", NAMES)
def test_an_idle_process(stack: Stack, name: str) -> None:
    if name not in stack.running:
        stack.start(name)
    end(stack, name)


@pytest.mark.parametrize("name", ["worker-settle", "worker-provider", "worker-deliver"])
def test_a_worker_on_a_terminal(stack: Stack, name: str) -> None:
    """Ctrl-C."""
    if name not in stack.running:
        stack.start(name)
    end(stack, name, signal.SIGINT)
