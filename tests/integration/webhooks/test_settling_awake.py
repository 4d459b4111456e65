"""A worker that stays awake settles what comes next without a message, and leaves rings to others while it is busy."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace

import psycopg2
import pytest
from redis import Redis

from app.core.payment import Payment
from app.runtime import doorbells, ring_listener
from app.runtime.doorbells import Doorbells
from app.runtime.ring_listener import keys_of
from app.runtime.runtime import Runtime
from app.services.webhooks import awake, settle
from testbed.servers import Databases, new_celery
from testbed.shop import Shop
from testbed.waiting import wait_until

_, LISTENER, RUNG = keys_of("settle")
LONG_MS = 60_000


@pytest.fixture
def runtime(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """Provide a runtime whose worker stays awake for as long as a test takes on a slow machine."""
    monkeypatch.setattr(ring_listener, "WAIT_SECONDS", LONG_MS / 1000)
    for module, name in ((doorbells, "LISTEN_MS"), (ring_listener, "LISTEN_MS"), (ring_listener, "WAIT_MS_MAX")):
        monkeypatch.setattr(module, name, LONG_MS)
    with (
        databases.open_runtime() as opened,
        Redis.from_url(databases.redis_url) as redis,
        contextlib.closing(new_celery(databases.redis_url)) as celery,
    ):
        redis.flushdb()
        yield replace(opened, redis=redis, doorbells=Doorbells(redis, celery))


def deliver_paid(tenant: Shop) -> Payment:
    """Deliver the webhook of a new payment."""
    payment = tenant.deposit()
    tenant.deliver(tenant.body(payment))
    return payment


def forget_rings(runtime: Runtime) -> None:
    """Forget what was rung before a worker started."""
    runtime.redis.delete("ring.settle", "bell:settle")


def messages(runtime: Runtime) -> int:
    """Return how many messages ring for settling."""
    return int(runtime.redis.llen("ring.settle"))  # type: ignore[arg-type]


def settled(tenant: Shop, payment: Payment) -> bool:
    """Return whether a payment's webhook has been settled."""
    return tenant.payment(payment.id).status == "completed"


@contextlib.contextmanager
def one_awake(runtime: Runtime) -> Iterator[None]:
    """Let a worker settle in a thread of its own; after the block it is asked to stop and has ended."""
    thread = threading.Thread(target=awake.settle_awake, args=(runtime,))
    thread.start()
    try:
        yield
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(settle, "is_stopping", lambda: True)
            runtime.doorbells.ring("settle")
            thread.join()


@contextlib.contextmanager
def payment_locked(databases: Databases, payment: Payment) -> Iterator[None]:
    """Lock a payment's row, so that whoever settles it waits."""
    connection = psycopg2.connect(databases.superuser_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("select id from payment_transactions where id = %s for update", (str(payment.id),))
        yield
    finally:
        connection.close()


def wait_until_held_up(databases: Databases) -> None:
    """Wait until a worker hangs on the locked row."""
    blocked = "select count(*) from pg_stat_activity where datname = :name and wait_event_type = 'Lock'"
    wait_until(lambda: databases.value(blocked, name=databases.name), "the worker settles")


def test_the_next_webhook_is_settled_without_a_message(runtime: Runtime, tenant: Shop) -> None:
    first = deliver_paid(tenant)
    forget_rings(runtime)
    with one_awake(runtime):
        wait_until(lambda: settled(tenant, first), "the first is settled")
        second = deliver_paid(tenant)
        wait_until(lambda: settled(tenant, second), "the second is settled")
        assert messages(runtime) == 0
    assert not runtime.redis.exists(LISTENER, RUNG)
    deliver_paid(tenant)
    assert messages(runtime) == 1


def test_what_comes_during_a_small_batch_waits_for_it(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    first = deliver_paid(tenant)
    forget_rings(runtime)
    lock = contextlib.ExitStack()
    lock.enter_context(payment_locked(databases, first))
    with one_awake(runtime), lock:
        wait_until_held_up(databases)
        second = deliver_paid(tenant)
        assert (messages(runtime), runtime.redis.llen(RUNG)) == (0, 1)
        lock.close()
        wait_until(lambda: settled(tenant, second), "the second is settled")


@pytest.mark.parametrize("why", ["large", "isolated"])
def test_what_comes_during_a_batch_that_may_take_long_is_left_to_others(
    databases: Databases, runtime: Runtime, tenant: Shop, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    first = deliver_paid(tenant)
    if why == "large":
        monkeypatch.setattr(settle, "SMALL_ROWS", 0)
    else:
        databases.rows("update webhook_work set claim_id = uuidv7()")
        monkeypatch.setattr("app.services.queues.lock_waits.SINGLE_LOCK_MS", 2_000)
    forget_rings(runtime)
    with payment_locked(databases, first), one_awake(runtime):
        wait_until_held_up(databases)
        deliver_paid(tenant)
        assert (messages(runtime), runtime.redis.exists(LISTENER)) == (1, 0)


def test_another_worker_is_rung_for_what_a_batch_leaves(
    databases: Databases, runtime: Runtime, tenant: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = deliver_paid(tenant), deliver_paid(tenant)
    monkeypatch.setattr(settle, "FIRST_ROWS", 1)
    monkeypatch.setattr(settle, "SMALL_ROWS", 0)
    forget_rings(runtime)
    with payment_locked(databases, first), one_awake(runtime):
        wait_until_held_up(databases)
        assert messages(runtime) == 1
        # As the other worker does that takes the message.
        settle.settle_due(runtime)
        assert settled(tenant, second)


def test_a_worker_that_is_to_stop_does_not_stay_awake(
    runtime: Runtime, tenant: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = deliver_paid(tenant)
    forget_rings(runtime)
    monkeypatch.setattr(settle, "is_stopping", lambda: True)
    awake.settle_awake(runtime)
    assert settled(tenant, first)
    assert not runtime.redis.exists(LISTENER)
    deliver_paid(tenant)
    assert messages(runtime) == 1


def test_a_worker_whose_time_is_up_leaves_what_is_due_to_the_next(
    runtime: Runtime, tenant: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments = [deliver_paid(tenant) for _ in range(2)]
    forget_rings(runtime)
    monkeypatch.setattr(settle, "FIRST_ROWS", 1)
    monkeypatch.setattr(settle, "RING_SECONDS_MAX", 0.0)
    awake.settle_awake(runtime)
    assert sum(settled(tenant, payment) for payment in payments) == 1
    assert (messages(runtime), runtime.redis.exists(LISTENER)) == (1, 0)
