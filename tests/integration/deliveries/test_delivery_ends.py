"""Deliveries end with their endpoint, and are deleted after their days; how both meet redeliveries and workers."""

from __future__ import annotations

import uuid
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg2
import pytest

from app.core.errors import RequestRejected
from app.services.deliveries import delivery_ends, redelivery, webhook_endpoints
from app.services.deliveries.attempts import attempt
from app.services.deliveries.delivery_claims import claim_deliveries
from app.services.deliveries.delivery_settlement import settle_attempts
from app.services.queues.dispatcher import UnderWay
from app.services.upkeep import sweep
from testbed.shop import ACTOR
from testbed.waiting import wait_until
from tests.integration.deliveries.endpoint_requests import Backend
from tests.support.webhook_receiver import WebhookReceiver

# The ids of all deliveries, as if they had been made that many days earlier.
_AGE = """
    with aged as (
        select id as old, (left(first_id(now() - make_interval(days => :days))::text, 13) || substr(id::text, 14))::uuid
            as new from endpoint_deliveries
    ), attempts as (
        update delivery_attempts set delivery_id = new from aged where delivery_id = old
    ), work as (
        update delivery_work set delivery_id = new from aged where delivery_id = old
    )
    update endpoint_deliveries set id = new from aged where id = old
"""
_DELETE = (
    "with a as (delete from delivery_attempts where delivery_id = %(id)s) delete from endpoint_deliveries"
    " where id = %(id)s"
)
_BLOCKED = "select count(*) from pg_stat_activity where datname = :name and wait_event_type = 'Lock'"


def age(backend: Backend, days: int) -> None:
    """Let all deliveries have been made `days` ago."""
    backend.databases.rows(_AGE, days=days)


def make_waiting(backend: Backend, receiver: WebhookReceiver, count: int = 2) -> uuid.UUID:
    """Make an endpoint with deliveries that failed once and are due later; return its id."""
    receiver.answer = lambda received: 500
    endpoint_id = backend.endpoint(receiver.url)
    backend.complete(count)
    backend.deliver()
    assert [row["status"] for row in backend.deliveries()] == ["pending"] * count
    assert min(backend.waits()) > 1
    return endpoint_id


def assert_all_ended(backend: Backend, error: str, count: int) -> None:
    """Fail unless all deliveries have failed, the first `count` of them without an attempt of their own."""
    assert {row["status"] for row in backend.deliveries()} == {"failed"}
    assert backend.databases.value("select count(*) from delivery_work") == 0
    ends = backend.databases.rows("select number, status_code from delivery_attempts where error = :error", error=error)
    assert ends == [{"number": 2, "status_code": None}] * count


def test_ended_deliveries_are_deleted_after_their_days(backend: Backend, receiver: WebhookReceiver) -> None:
    receiver.answer = lambda received: 410 if len(receiver.received) == 1 else 200
    backend.endpoint(receiver.url)
    backend.complete()
    backend.deliver()
    backend.databases.rows("update webhook_endpoints set disabled_at = null, disabled_reason = null")
    backend.complete()
    backend.deliver()
    backend.complete()
    assert [row["status"] for row in backend.deliveries()] == ["failed", "delivered", "pending"]
    days = backend.runtime.settings.delivery_days
    age(backend, days - 1)
    sweep.housekeep(backend.runtime)
    assert len(backend.deliveries()) == 3
    age(backend, days + 1)
    backend.complete()
    sweep.housekeep(backend.runtime)
    assert backend.deliveries("event_id, status") == [{"event_id": each, "status": "pending"} for each in (3, 4)]
    assert backend.attempts() == []
    backend.deliver()
    sweep.housekeep(backend.runtime)
    # The one that was old already ended, and has been deleted too.
    assert backend.deliveries("event_id") == [{"event_id": 4}]
    assert len(backend.attempts()) == 1


def test_a_run_deletes_no_more_than_its_bound(
    backend: Backend, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_ends, "DELETED_ROWS_MAX", 2)
    monkeypatch.setattr(delivery_ends, "DELETIONS_MAX", 2)
    backend.endpoint(receiver.url)
    backend.complete(5)
    backend.deliver()
    age(backend, 40)
    delivery_ends.delete_old(backend.runtime)
    assert backend.deliveries("event_id") == [{"event_id": 5}]
    delivery_ends.delete_old(backend.runtime)
    assert backend.deliveries() == []


def test_a_delivery_that_is_being_redelivered_is_not_deleted(backend: Backend, receiver: WebhookReceiver) -> None:
    endpoint_id = backend.endpoint(receiver.url)
    backend.complete()
    backend.deliver()
    age(backend, 40)
    (row,) = backend.deliveries("id")
    connection = psycopg2.connect(backend.databases.superuser_url)
    try:
        with connection.cursor() as cursor:
            of = (str(row["id"]), str(backend.shop.tenant_id), str(endpoint_id))
            cursor.execute("insert into delivery_work (delivery_id, tenant_id, endpoint_id) values (%s, %s, %s)", of)
        delivery_ends.delete_old(backend.runtime)
        assert len(backend.deliveries()) == 1
        # Closing alone would leave the end of the transaction to the server, in its own time.
        connection.rollback()
    finally:
        connection.close()
    delivery_ends.delete_old(backend.runtime)
    assert backend.deliveries() == []


def test_what_was_deleted_is_redelivered_as_an_event_that_the_endpoint_never_got(
    backend: Backend, receiver: WebhookReceiver
) -> None:
    endpoint_id = backend.endpoint(receiver.url)
    backend.complete(2)
    backend.deliver()
    first, second = (row["id"] for row in backend.deliveries("id"))

    def redeliver(worker: ThreadPoolExecutor, delivery_id: uuid.UUID, *call: object) -> Future[object]:
        """Redeliver while a delivery is being deleted; the answer is awaited after the deletion's commit."""
        connection = psycopg2.connect(backend.databases.superuser_url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(_DELETE, {"id": str(delivery_id)})
                running: Future[object] = worker.submit(*call)  # type: ignore[arg-type]
                wait_until(lambda: backend.databases.value(_BLOCKED, name=backend.databases.name), "it is blocked")
        finally:
            connection.close()
        return running

    of_tenant = (backend.runtime, backend.shop.tenant_id)
    with ThreadPoolExecutor(1) as worker:
        one = redeliver(worker, first, redelivery.redeliver_one, *of_tenant, first, ACTOR)
        with pytest.raises(RequestRejected) as refused:
            one.result(30)
        assert refused.value.status == 404
        both = redeliver(worker, second, redelivery.redeliver_range, *of_tenant, endpoint_id, 0, None, ACTOR)
        assert both.result(30) == redelivery.Redelivered(2, None)
    backend.deliver()
    sent = {(each.headers["webhook-id"], each.body) for each in receiver.received}
    assert (len(receiver.received), len(sent)) == (4, 2)


def test_what_waits_for_an_endpoint_that_is_gone_ends_with_it(backend: Backend, receiver: WebhookReceiver) -> None:
    make_waiting(backend, receiver)
    receiver.answer = lambda received: 410
    backend.complete()
    backend.deliver()
    assert_all_ended(backend, "the endpoint is disabled", 2)
    assert len(receiver.received) == 3


def test_what_waits_for_an_endpoint_that_fails_for_days_ends_with_it(
    backend: Backend, receiver: WebhookReceiver
) -> None:
    make_waiting(backend, receiver)
    backend.databases.rows("update endpoint_breakers set failing_since = now() - interval '6 days'")
    backend.databases.rows(
        "update delivery_work set due_at = now() where delivery_id = (select min(delivery_id::text)"
        "::uuid from delivery_work)"
    )
    backend.deliver()
    assert backend.endpoint_state() == {"is_off": True, "disabled_reason": "failing"}
    assert {row["status"] for row in backend.deliveries()} == {"failed"}
    assert backend.databases.value("select count(*) from delivery_work") == 0
    assert len(receiver.received) == 3


def test_what_waits_for_an_endpoint_that_is_deleted_ends_with_it(backend: Backend, receiver: WebhookReceiver) -> None:
    endpoint_id = make_waiting(backend, receiver)
    webhook_endpoints.delete_endpoint(backend.runtime, backend.shop.tenant_id, endpoint_id, ACTOR)
    assert_all_ended(backend, "the endpoint is deleted", 2)
    assert len(receiver.received) == 2


def test_what_is_too_much_to_end_at_once_ends_when_it_is_due(
    backend: Backend, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_ends, "ENDED_ROWS_MAX", 1)
    endpoint_id = make_waiting(backend, receiver)
    webhook_endpoints.delete_endpoint(backend.runtime, backend.shop.tenant_id, endpoint_id, ACTOR)
    assert sorted(row["status"] for row in backend.deliveries()) == ["failed", "pending"]
    backend.make_due()
    backend.deliver()
    assert [row["status"] for row in backend.deliveries()] == ["failed"] * 2
    assert len(receiver.received) == 2


@pytest.mark.parametrize(("status", "ended"), [(200, "delivered"), (500, "failed")])
def test_an_attempt_under_way_when_its_endpoint_is_deleted_is_the_last_one(
    backend: Backend, receiver: WebhookReceiver, status: int, ended: str
) -> None:
    receiver.answer = lambda received: status
    endpoint_id = backend.endpoint(receiver.url)
    backend.complete()
    claims = claim_deliveries(backend.runtime, 8, UnderWay(8)).calls
    webhook_endpoints.delete_endpoint(backend.runtime, backend.shop.tenant_id, endpoint_id, ACTOR)
    settle_attempts(backend.runtime, [attempt(backend.runtime, claim) for claim in claims])
    # A failed one is due now, whatever the schedule says.
    backend.deliver()
    assert [row["status"] for row in backend.deliveries()] == [ended]
    assert [row["status_code"] for row in backend.attempts()] == [status, None][: 1 + (ended == "failed")]
    assert len(receiver.received) == 1


@pytest.mark.parametrize(("is_enabled_again", "ended"), [(True, "delivered"), (False, "failed")])
def test_what_waits_for_an_endpoint_that_a_person_disabled_ends_when_it_is_due(
    backend: Backend, receiver: WebhookReceiver, is_enabled_again: bool, ended: str
) -> None:
    endpoint_id = make_waiting(backend, receiver)
    receiver.answer = lambda received: 200

    def change(status: str) -> None:
        changes = {"status": status}
        webhook_endpoints.change_endpoint(backend.runtime, backend.shop.tenant_id, endpoint_id, changes, ACTOR)

    change("disabled")
    assert [row["status"] for row in backend.deliveries()] == ["pending"] * 2
    if is_enabled_again:
        change("enabled")
    backend.make_due()
    backend.deliver()
    assert [row["status"] for row in backend.deliveries()] == [ended] * 2
    assert len(receiver.received) == 2 + 2 * is_enabled_again
