"""What an endpoint gets: the message of the notification, signed, with the same bytes and id on every try."""

from __future__ import annotations

import json

import pytest
from standardwebhooks import WebhookVerificationError

from app.services.payments import queries
from app.services.records import notifications
from app.services.webhooks import settle
from models.statements import watched
from testbed.shop import make_shop
from tests.integration.deliveries.endpoint_requests import Backend, open_receivers
from tests.support.webhook_receiver import WebhookReceiver


def test_a_notification_reaches_the_endpoint_as_the_official_library_expects(
    backend: Backend, receiver: WebhookReceiver
) -> None:
    endpoint_id = backend.endpoint(f"{receiver.url}/hooks?of=shop")
    backend.complete()
    backend.deliver()
    (received,) = receiver.received
    assert received.path == "/hooks?of=shop"
    (event,) = notifications.read_after(backend.runtime.database, backend.shop.tenant_id, None, 0, 10)
    assert backend.verify(received, endpoint_id) == event == json.loads(received.body)
    assert received.headers["content-type"] == "application/json"
    assert backend.deliveries() == [{"status": "delivered", "attempts": 1}]
    assert backend.attempts() == [{"number": 1, "status_code": 200}]
    assert backend.databases.value("select count(*) from delivery_work") == 0
    received.body += b" "
    with pytest.raises(WebhookVerificationError):
        backend.verify(received, endpoint_id)


def test_every_try_sends_the_same_bytes_under_the_same_id(backend: Backend, receiver: WebhookReceiver) -> None:
    receiver.answer = lambda received: 503 if len(receiver.received) < 3 else 204
    endpoint_id = backend.endpoint(receiver.url)
    backend.complete()
    for _ in range(3):
        backend.make_due()
        backend.deliver()
        # Kept before the first try, whatever a later release would make of the notification.
        assert bytes(backend.deliveries("message")[0]["message"]) == receiver.received[0].body
    assert len({(each.body, each.headers["webhook-id"]) for each in receiver.received}) == 1
    assert all(backend.verify(each, endpoint_id) for each in receiver.received)
    assert backend.deliveries() == [{"status": "delivered", "attempts": 3}]
    assert [row["status_code"] for row in backend.attempts()] == [503, 503, 204]


def test_an_endpoint_gets_the_types_that_it_wants(backend: Backend) -> None:
    with open_receivers(3) as (every, some, none):
        backend.endpoint(every.url)
        backend.endpoint(some.url, ["payment.failed", "payment.completed"])
        backend.endpoint(none.url, ["refund.completed"])
        backend.complete(2)
        backend.deliver()
        counts = [len(each.received) for each in (every, some, none)]
        # A receiver of several endpoints recognises a message by its id.
        ids = [{each.headers["webhook-id"] for each in receiver.received} for receiver in (every, some)]
    assert counts == [2, 2, 0]
    assert ids[0] == ids[1]


def test_a_notification_that_is_numbered_later_is_delivered_with_its_number(
    backend: Backend, receiver: WebhookReceiver
) -> None:
    backend.endpoint(receiver.url, ["payment.cancelled"])
    made = backend.shop.deposit()
    queries.cancel_payment(backend.runtime, backend.shop.caller, made.id)
    assert backend.deliveries() == []
    backend.number()
    backend.deliver()
    (received,) = receiver.received
    assert [json.loads(received.body)[name] for name in ("id", "type")] == [1, "payment.cancelled"]


def test_deliveries_of_a_batch_are_written_with_their_numbers_by_no_statement_more(
    backend: Backend, receiver: WebhookReceiver
) -> None:
    def settle(count: int) -> int:
        with watched(backend.runtime.database.engine) as messages:
            backend.complete(count)
        return len([sent for sent in messages if "notification_numbers" in sent[0]])

    without = settle(20)
    for number in range(3):
        backend.endpoint(f"{receiver.url}/{number}")
    assert settle(20) == without
    assert backend.databases.value("select count(*) from endpoint_deliveries") == 60
    numbers = backend.databases.rows("select count(*) from endpoint_deliveries group by event_id")
    assert [row["count"] for row in numbers] == [3] * 20


def test_another_tenants_endpoint_gets_nothing(backend: Backend, receiver: WebhookReceiver) -> None:
    stranger = make_shop(backend.runtime)
    backend.endpoint(receiver.url)
    stranger.deliver(stranger.body(stranger.deposit()))
    settle.settle_due(backend.runtime)
    events = notifications.read_after(backend.runtime.database, stranger.tenant_id, None, 0, 10)
    assert [event["id"] for event in events] == [1]
    assert backend.deliveries() == []
