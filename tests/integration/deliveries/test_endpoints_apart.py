"""One slow, dead or unusable endpoint holds up no other, and workers do not settle each other's claims."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.deliveries.delivery_rules import DeliveryStatus
from app.services.deliveries.attempts import attempt
from app.services.deliveries.delivery_claims import ENDPOINT_CALLS_MAX, claim_deliveries
from app.services.deliveries.delivery_settlement import settle_attempts
from app.services.deliveries.endpoint_breaker import FAILURES_MAX
from app.services.deliveries.sending import DeliveryDispatcher
from app.services.queues.dispatcher import UnderWay
from app.services.upkeep import backlog
from testbed.waiting import wait_until
from tests.integration.deliveries.endpoint_requests import Backend, open_receivers
from tests.scenarios.crashing import Crashed, CrashingDatabase, When
from tests.support.webhook_receiver import WebhookReceiver


def count(backend: Backend, url: str, status: DeliveryStatus) -> int:
    """Return how many deliveries to an endpoint are in a state."""
    return int(
        backend.databases.value(
            "select count(*) from endpoint_deliveries d join webhook_endpoints e on e.id = d.endpoint_id"
            " where e.url = :url and d.status = :status",
            url=url,
            status=str(status),
        )
    )


def test_a_slow_endpoint_holds_up_no_other(backend: Backend) -> None:
    with open_receivers(2) as (slow, healthy), ThreadPoolExecutor(1) as worker:
        may_answer = threading.Event()
        slow.answer = lambda received: 200 if may_answer.wait(60) else 500
        for each in (slow, healthy):
            backend.endpoint(each.url)
        backend.complete(40)
        dispatcher = DeliveryDispatcher(32)
        running = worker.submit(dispatcher.run, backend.runtime)
        wait_until(lambda: count(backend, healthy.url, DeliveryStatus.DELIVERED) == 40, "the healthy one got all")
        # The share of one endpoint leaves room for two, and it has as many attempts as that under way.
        assert len(slow.received) <= ENDPOINT_CALLS_MAX
        may_answer.set()
        running.result(60)
        assert count(backend, slow.url, DeliveryStatus.DELIVERED) == 40


def test_a_dead_endpoint_is_paused_and_gets_all_once_it_is_back(backend: Backend) -> None:
    with open_receivers(2) as (dead, healthy):
        dead.answer = lambda received: 500
        for each in (dead, healthy):
            backend.endpoint(each.url)
        backend.complete(40)
        backend.deliver(8)
        assert count(backend, healthy.url, DeliveryStatus.DELIVERED) == 40
        tried = len(dead.received)
        # Those under way when it was paused came to their end.
        assert FAILURES_MAX <= tried < FAILURES_MAX + 8
        backend.deliver(8)
        assert len(dead.received) == tried
        # What waits for a paused endpoint needs no other worker.
        assert backlog.read_work(backend.runtime)["deliver"]["oldest_seconds"] == 0
        backend.make_due()
        backend.deliver(8)
        assert len(dead.received) == tried + 1
        dead.answer = lambda received: 200
        backend.make_due()
        backend.deliver(8)
        assert count(backend, dead.url, DeliveryStatus.DELIVERED) == 40


def test_a_secret_that_cannot_be_decrypted_holds_up_no_other(backend: Backend) -> None:
    with open_receivers(2) as (locked, healthy):
        endpoint_id = backend.endpoint(locked.url)
        backend.endpoint(healthy.url)
        backend.databases.rows(
            "update endpoint_secrets set secret_encrypted = 'gAAAAA' where endpoint_id = :id", id=endpoint_id
        )
        backend.complete(3)
        backend.deliver()
        assert count(backend, healthy.url, DeliveryStatus.DELIVERED) == 3
        assert (locked.received, backend.alarms()) == ([], ["endpoint_unusable"])
        rows = backend.databases.rows("select attempts, claim_id from delivery_work")
        assert rows == [{"attempts": 0, "claim_id": None}] * 3


def test_a_worker_that_dies_after_its_claim_or_its_request_loses_nothing(
    backend: Backend, receiver: WebhookReceiver
) -> None:
    endpoint_id = backend.endpoint(receiver.url)
    backend.complete(2)
    (first, second) = claim_deliveries(backend.runtime, 8, UnderWay(8)).calls
    # One was claimed, the other sent as well, when the worker died; nobody has them until their leases end.
    attempt(backend.runtime, second)
    backend.deliver()
    assert len(receiver.received) == 1
    backend.make_due()
    backend.deliver()
    assert backend.deliveries("status") == [{"status": "delivered"}] * 2
    bodies = [(each.headers["webhook-id"], each.body) for each in receiver.received]
    assert len(bodies) == 3
    assert len(set(bodies)) == 2
    assert all(backend.verify(each, endpoint_id) for each in receiver.received)
    assert first.message != second.message


@pytest.mark.parametrize("late_status", [200, 500])
def test_a_claim_that_was_lost_writes_nothing(backend: Backend, receiver: WebhookReceiver, late_status: int) -> None:
    receiver.answer = lambda received: late_status if len(receiver.received) == 1 else 201
    backend.endpoint(receiver.url)
    backend.complete()
    (late,) = claim_deliveries(backend.runtime, 8, UnderWay(8)).calls
    ended_late = attempt(backend.runtime, late)
    backend.databases.rows("update delivery_work set due_at = now() - interval '1 second'")
    (present,) = claim_deliveries(backend.runtime, 8, UnderWay(8)).calls
    settle_attempts(backend.runtime, [ended_late])
    rows = backend.databases.rows("select claim_id, due_at > now() as is_leased from delivery_work")
    assert rows == [{"claim_id": present.claim_id, "is_leased": True}]
    assert backend.deliveries() == [{"status": "pending", "attempts": 0}]
    assert backend.databases.value("select count(*) from endpoint_breakers") == 0
    settle_attempts(backend.runtime, [attempt(backend.runtime, present)])
    settle_attempts(backend.runtime, [ended_late])
    assert backend.attempts() == [{"number": 1, "status_code": 201}]
    assert backend.deliveries() == [{"status": "delivered", "attempts": 1}]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("commit", [1, 2])
def test_a_worker_that_dies_at_a_commit_loses_nothing(
    backend: Backend, receiver: WebhookReceiver, commit: int, when: When
) -> None:
    backend.endpoint(receiver.url)
    backend.complete()
    database = CrashingDatabase(backend.databases.database_url, 4)
    try:
        # The first commit is that of the claim, the second settles the attempt.
        database.arm(commit, when)
        with pytest.raises(Crashed):
            DeliveryDispatcher(1).run(dataclasses.replace(backend.runtime, database=database))
    finally:
        database.engine.dispose()
    backend.make_due()
    backend.deliver()
    assert backend.deliveries("status") == [{"status": "delivered"}]
    # Sent again only where it was sent and nobody knows.
    assert len(receiver.received) == (2 if (commit, when) == (2, "before") else 1)
    assert len({(each.body, each.headers["webhook-id"]) for each in receiver.received}) == 1


def test_claims_of_one_moment_take_no_more_than_an_endpoint_may_have(
    backend: Backend, receiver: WebhookReceiver
) -> None:
    backend.endpoint(receiver.url)
    backend.complete(2 * ENDPOINT_CALLS_MAX)

    def claim(_: int) -> int:
        return len(claim_deliveries(backend.runtime, 64, UnderWay(128)).calls)

    with ThreadPoolExecutor(4) as workers:
        claimed = sum(workers.map(claim, range(8)))
    assert claimed == ENDPOINT_CALLS_MAX
    assert claim(0) == 0
