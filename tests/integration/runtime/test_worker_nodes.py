"""The settling worker as a node of pytest-celery: it answers doorbells, and no end of it loses work."""

from __future__ import annotations

import dataclasses
import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import psycopg2
import pytest
from pytest_celery import CeleryTestBroker, CeleryTestSetup, CeleryTestWorker  # type: ignore[import-untyped]

from app.core.payment import Status
from app.runtime.runtime import Runtime
from testbed.servers import Databases, Servers
from testbed.shop import Shop, make_shop
from testbed.waiting import wait_until
from tests.integration.runtime.process_nodes import STOP_SECONDS, BrokerProcess, WorkerProcess

# A worker that lost its broker tries again after 2, 4, 6, ... seconds.
RECONNECT_SECONDS = 30.0


@pytest.fixture(scope="module")
def celery_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CeleryTestBroker]:
    """Provide a broker of this module's own, since it is killed."""
    node = CeleryTestBroker(BrokerProcess(tmp_path_factory.mktemp("broker")))
    yield node
    node.teardown()


@pytest.fixture
def celery_backend_cluster() -> None:
    """No result backend: doorbells return nothing."""


@pytest.fixture(scope="module")
def databases(servers: Servers, celery_broker: CeleryTestBroker) -> Iterator[Databases]:
    """Provide a database for the module, with the broker that is a node."""
    with servers.open_databases() as opened:
        yield dataclasses.replace(opened, redis_url=celery_broker.container.url)


@pytest.fixture(scope="module")
def runtime(databases: Databases) -> Iterator[Runtime]:
    """Provide this process as the one that rings, as the web process does."""
    with databases.open_runtime() as opened:
        yield opened


@pytest.fixture(scope="module")
def shop(runtime: Runtime) -> Shop:
    """Provide a tenant whose webhooks arrive."""
    return make_shop(runtime)


@pytest.fixture(scope="module")
def started_worker(databases: Databases) -> Iterator[CeleryTestWorker]:
    """Provide the settling worker, started once for the module."""
    node = CeleryTestWorker(WorkerProcess("worker-settle", databases.environment, databases.folder), app=None)
    yield node
    node.teardown()


@pytest.fixture
def celery_worker(started_worker: CeleryTestWorker) -> CeleryTestWorker:
    """Provide the worker, running and answering after whatever the test before did to it."""
    if started_worker.container.status == "exited":
        started_worker.restart()
    wait_until(started_worker.ready, "the worker answers", RECONNECT_SECONDS)
    return started_worker


def send_paid_webhook(shop: Shop, amount: str = "25.00") -> uuid.UUID:
    """Make a payment and deliver the webhook that says it is paid, which rings; return the payment's id."""
    payment = shop.deposit(amount, user_id=f"user-{uuid.uuid4().hex[:8]}")
    assert not shop.deliver(shop.body(payment)).is_duplicate
    return payment.id


def wait_for_credits(databases: Databases, shop: Shop, payment_ids: list[uuid.UUID], seconds: float = 20.0) -> None:
    """Wait until the payments are completed, and fails unless each was credited once and no work is left."""
    wait_until(
        lambda: all(shop.payment(payment_id).status is Status.COMPLETED for payment_id in payment_ids),
        "all payments are completed",
        seconds,
    )
    credits = "select count(*) from wallet_transactions where payment_id = any(:ids) and direction = 1"
    assert databases.value(credits, ids=payment_ids) == len(payment_ids)
    assert databases.value("select count(*) from webhook_work where payment_id = any(:ids)", ids=payment_ids) == 0


@contextmanager
def settling_held_up(databases: Databases, payment_id: uuid.UUID) -> Iterator[None]:
    """Lock a payment's row, so that the worker that settles it blocks in the middle of its transaction."""
    connection = psycopg2.connect(databases.superuser_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("select id from payment_transactions where id = %s for update", (str(payment_id),))
        yield
    finally:
        connection.close()


def wait_until_held_up(databases: Databases) -> None:
    """Wait until a worker hangs on the locked row."""
    blocked = "select count(*) from pg_stat_activity where datname = :name and wait_event_type = 'Lock'"
    wait_until(lambda: databases.value(blocked, name=databases.name) == 1, "the worker is in the middle of settling")


def test_the_node_answers_for_its_queues(celery_setup: CeleryTestSetup) -> None:
    assert celery_setup.ready(control=True)
    assert celery_setup.worker.worker_queue == "ring.settle,ring.notify"
    worker = f"{celery_setup.worker.worker_name}@{socket.gethostname()}"
    queues = celery_setup.app.control.inspect([worker], timeout=5).active_queues()
    assert {queue["name"] for queue in queues[worker]} == {"ring.settle", "ring.notify"}


def test_a_doorbell_is_answered(celery_setup: CeleryTestSetup, databases: Databases, shop: Shop) -> None:
    payment_id = send_paid_webhook(shop)
    wait_for_credits(databases, shop, [payment_id])
    # The notification got its number, which only the ring's task gives.
    numbered = "select count(*) from notification_numbers d join notifications n on n.id = d.notification_id"
    wait_until(lambda: databases.value(f"{numbered} where n.payment_id = :id", id=payment_id) == 1, "it is numbered")


def test_a_worker_that_crashes_idle_finds_its_work_at_the_next_start(
    celery_setup: CeleryTestSetup, databases: Databases, shop: Shop
) -> None:
    celery_setup.worker.kill()
    assert celery_setup.worker.container.exit_code == -9
    payment_ids = [send_paid_webhook(shop) for _ in range(5)]
    # Even the ring itself is gone.
    celery_setup.app.control.purge()
    celery_setup.worker.restart()
    wait_for_credits(databases, shop, payment_ids)


def test_a_worker_that_crashes_in_mid_transaction_leaves_its_row_to_the_next(
    celery_setup: CeleryTestSetup, databases: Databases, shop: Shop
) -> None:
    payment = shop.deposit(user_id="crash")
    with settling_held_up(databases, payment.id):
        shop.deliver(shop.body(payment))
        wait_until_held_up(databases)
        celery_setup.worker.kill()
    (left,) = databases.rows("select attempts, claim_id, leased_until > now() as leased from webhook_work")
    assert (left["attempts"], left["claim_id"] is not None, left["leased"]) == (1, True, True)
    assert shop.payment(payment.id).status is Status.PENDING
    # Half a minute of lease, gone by.
    databases.rows("update webhook_work set due_at = now(), leased_until = null returning webhook_id")
    celery_setup.worker.restart()
    wait_for_credits(databases, shop, [payment.id])


def test_a_broker_that_restarts_is_found_again(celery_setup: CeleryTestSetup, databases: Databases, shop: Shop) -> None:
    broker = celery_setup.broker
    broker.kill()
    assert broker.container.status == "exited"
    missed = send_paid_webhook(shop)
    assert shop.payment(missed).status is Status.PENDING
    broker.restart()
    # The ring for it was lost with the broker: the next one that arrives takes it along.
    wait_until(celery_setup.worker.ready, "the worker is back", RECONNECT_SECONDS)

    def is_settled() -> bool:
        shop.runtime.doorbells.ring_regardless("settle")
        return shop.payment(missed).status is Status.COMPLETED

    wait_until(is_settled, "a ring was answered", RECONNECT_SECONDS)
    wait_for_credits(databases, shop, [missed, send_paid_webhook(shop)])


def test_an_asked_stop_finishes_what_is_under_way(
    celery_setup: CeleryTestSetup, databases: Databases, shop: Shop
) -> None:
    container = celery_setup.worker.container
    processes = container.processes()
    payment = shop.deposit(user_id="stop")
    with settling_held_up(databases, payment.id):
        shop.deliver(shop.body(payment))
        wait_until_held_up(databases)
        processes[0].terminate()
        # It refuses new work and does not go while a task runs.
        wait_until(lambda: not container.ready(), "it takes no more doorbells")
        assert container.status == "running"
    gone, alive = psutil.wait_procs(processes, STOP_SECONDS)
    assert (len(gone), alive) == (len(processes), [])
    assert container.exit_code == 0, container.logs()
    wait_for_credits(databases, shop, [payment.id])


def test_a_message_that_is_no_doorbell_harms_nobody(
    celery_setup: CeleryTestSetup, databases: Databases, shop: Shop
) -> None:
    with celery_setup.app.connection_for_write() as connection:
        queue = connection.SimpleQueue("ring.settle")
        queue.put("garbage", serializer="json")
        queue.put(json.dumps({"task": "os.system", "args": ["false"]}), serializer="json")
        queue.close()
    celery_setup.app.send_task("tasks.unknown", queue="ring.settle")
    wait_for_credits(databases, shop, [send_paid_webhook(shop)])
    assert celery_setup.worker.container.status == "running"
