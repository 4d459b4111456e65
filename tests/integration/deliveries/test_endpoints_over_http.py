"""Webhook endpoints over HTTP (CONTRACT section 11): made, changed, deleted; their deliveries, shown and repeated."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks import Webhook

from app.services.deliveries.sending import DeliveryDispatcher
from testbed.servers import STACK_PORT
from testbed.shop import Shop
from testbed.stack import Stack
from tests.integration.deliveries.endpoint_requests import TABLES
from tests.support.books import settle
from tests.support.clients.api import Api, problem_of
from tests.support.webhook_receiver import WebhookReceiver

ENDPOINTS, DELIVERIES = "/api/webhook-endpoints", "/api/webhook-deliveries"


@pytest.fixture(autouse=True)
def _no_other_endpoints(front: Stack) -> Iterator[None]:
    yield
    front.databases.rows(f"truncate {TABLES} cascade")


def make(api: Api, url: str, **more: Any) -> dict[str, Any]:
    """Make an endpoint."""
    answer = api.post(ENDPOINTS, {"url": url, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def complete(shop: Shop, count: int = 1) -> None:
    """Complete new payments: one event each."""
    for _ in range(count):
        shop.deliver(shop.body(shop.deposit()))
    settle(shop.runtime)


def work(front: Stack) -> None:
    """Make the attempts that are due."""
    DeliveryDispatcher(8).run(front.runtime)


def deliveries(api: Api, endpoint: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    """List an endpoint's deliveries."""
    answer = api.get(f"{ENDPOINTS}/{endpoint['id']}/deliveries", **query)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


def test_an_endpoint_from_its_making_to_its_end(api: Api, front: Stack) -> None:
    made = make(api, "https://shop.example/hooks", event_types=["payment.completed"], description="Shop")
    assert made["secret"].startswith("whsec_")
    shown = {name: value for name, value in made.items() if name != "secret"}
    assert shown == {
        "id": made["id"],
        "url": "https://shop.example/hooks",
        "event_types": ["payment.completed"],
        "description": "Shop",
        "status": "enabled",
        "disabled_reason": None,
        "created_at": made["created_at"],
    }
    path = f"{ENDPOINTS}/{made['id']}"
    assert api.get(path).json() == shown
    assert api.get(ENDPOINTS).json() == {"data": [shown], "next_cursor": None}
    assert api.send("DELETE", path).status_code == 204
    problem_of(api.get(path), 404)
    problem_of(api.send("DELETE", path), 404)
    assert api.get(ENDPOINTS).json()["data"] == []
    assert front.databases.value("select count(*) from endpoint_secrets") == 0


def test_a_change_keeps_the_secret_unless_the_origin_is_another(api: Api) -> None:
    path = f"{ENDPOINTS}/{make(api, 'https://shop.example/hooks')['id']}"
    changed = api.send("PATCH", path, json={"url": "https://shop.example/other", "event_types": ["refund.failed"]})
    assert (changed.status_code, "secret" in changed.json()) == (200, False)
    assert api.get(path).json() == changed.json()
    moved = api.send("PATCH", path, json={"url": "https://new.example/other", "event_types": None}).json()
    assert (moved["secret"][:6], moved["event_types"]) == ("whsec_", None)
    off = api.send("PATCH", path, json={"status": "disabled"}).json()
    assert (off["status"], off["disabled_reason"]) == ("disabled", "requested")
    assert problem_of(api.post(f"{path}/test"), 409)["code"] == "endpoint_disabled"
    on = api.send("PATCH", path, json={"status": "enabled"}).json()
    assert (on["status"], on["disabled_reason"]) == ("enabled", None)
    problem_of(api.send("PATCH", path, json={"url": None}), 422)
    problem_of(api.send("PATCH", path, json={"status": "gone"}), 422)


@pytest.mark.parametrize(
    "url",
    [
        *("http://shop.example/hooks", "https://user:word@shop.example/", "ftp://shop.example/", "hooks", ""),
        *(f"http://127.0.0.1:{STACK_PORT}/", f"http://localhost:{STACK_PORT}/", "https://shop.example:0/"),
    ],
)
def test_a_url_that_may_not_be_called_is_refused(api: Api, url: str) -> None:
    assert problem_of(api.post(ENDPOINTS, {"url": url}), 422)["errors"][0]["field"] == "url"
    path = f"{ENDPOINTS}/{make(api, 'https://shop.example/hooks')['id']}"
    assert problem_of(api.send("PATCH", path, json={"url": url}), 422)["errors"][0]["field"] == "url"


def test_types_that_are_none_are_refused(api: Api) -> None:
    for types in (["payment.paid"], [], ["endpoint.test"], "payment.completed"):
        problem_of(api.post(ENDPOINTS, {"url": "https://shop.example/", "event_types": types}), 422)


def test_during_a_rotation_both_secrets_sign(api: Api, front: Stack, shop: Shop, receiver: WebhookReceiver) -> None:
    made = make(api, receiver.url)
    rotated = api.post(f"{ENDPOINTS}/{made['id']}/rotate-secret", {"overlap_seconds": 600}).json()
    assert rotated["secret"] != made["secret"]
    complete(shop)
    work(front)
    at_once = api.post(f"{ENDPOINTS}/{made['id']}/rotate-secret", {"overlap_seconds": 0}).json()
    complete(shop)
    work(front)
    during, after = receiver.received
    for secret in (made["secret"], rotated["secret"]):
        assert Webhook(secret).verify(during.body, during.headers)
    assert len(during.headers["webhook-signature"].split()) == 2
    assert Webhook(at_once["secret"]).verify(after.body, after.headers)
    assert len(after.headers["webhook-signature"].split()) == 1


def test_a_test_is_a_delivery_and_no_event(api: Api, front: Stack, receiver: WebhookReceiver) -> None:
    made = make(api, receiver.url, event_types=["refund.failed"])
    asked = api.post(f"{ENDPOINTS}/{made['id']}/test")
    assert (asked.status_code, asked.json()["status"]) == (202, "pending")
    assert asked.headers["Location"] == f"{DELIVERIES}/{asked.json()['id']}"
    work(front)
    (received,) = receiver.received
    message = Webhook(made["secret"]).verify(received.body, received.headers)
    assert (message["type"], message["endpoint_id"]) == ("endpoint.test", made["id"])
    shown = api.get(f"{DELIVERIES}/{asked.json()['id']}").json()
    assert (shown["status"], shown["event_id"], shown["webhook_id"]) == ("delivered", None, shown["id"])
    assert deliveries(api, made, event_type="endpoint.test") == [shown]
    assert api.get("/api/events?after=0").json()["data"] == []


def test_deliveries_are_shown_with_their_attempts(
    api: Api, front: Stack, shop: Shop, receiver: WebhookReceiver
) -> None:
    receiver.answer = lambda received: 200 if len(receiver.received) == 1 else 500
    receiver.answer_body = b'{"ok": \xff}'
    made = make(api, receiver.url)
    complete(shop, 3)
    DeliveryDispatcher(1).run(front.runtime)
    rows = deliveries(api, made)
    assert [row["event_id"] for row in rows] == [3, 2, 1]
    assert sorted(row["status"] for row in rows) == ["delivered", "pending", "pending"]
    assert [row["id"] for row in deliveries(api, made, status="pending")] == [
        row["id"] for row in rows if row["status"] == "pending"
    ]
    assert [row["event_id"] for row in deliveries(api, made, after=1)] == [3, 2]
    assert deliveries(api, made, event_type="payment.failed") == []
    first_page = api.get(f"{ENDPOINTS}/{made['id']}/deliveries", limit=2).json()
    rest = api.get(f"{ENDPOINTS}/{made['id']}/deliveries", cursor=first_page["next_cursor"]).json()
    assert [*first_page["data"], *rest["data"]] == rows
    (failed, *_) = [row for row in rows if row["status"] == "pending"]
    (attempt,) = failed["attempts"]
    assert (attempt["number"], attempt["status_code"], attempt["error"]) == (1, 500, "the endpoint answered 500")
    assert attempt["answer"] == '{"ok": \ufffd}'
    assert failed["next_attempt_at"] > attempt["at"]
    # What stands at a URL is for those who may set it.
    reader = Api(api.base, shop.key("operator"))
    assert "answer" not in reader.get(f"{DELIVERIES}/{failed['id']}").json()["attempts"][0]
    problem_of(api.get(f"{DELIVERIES}/{uuid.uuid4()}"), 404)


def test_one_a_range_and_all_that_failed_are_delivered_again(
    api: Api, front: Stack, shop: Shop, receiver: WebhookReceiver
) -> None:
    made = make(api, receiver.url)
    complete(shop, 4)
    work(front)
    sent = {each.headers["webhook-id"]: each.body for each in receiver.received}
    rows = deliveries(api, made)
    # One.
    again = api.post(f"{DELIVERIES}/{rows[0]['id']}/redeliver")
    assert (again.status_code, again.json()["status"], again.json()["ended_at"]) == (202, "pending", None)
    work(front)
    assert receiver.received[4].headers["webhook-id"] == rows[0]["webhook_id"]
    # A range.
    path = f"{ENDPOINTS}/{made['id']}/redeliver"
    asked = api.post(path, {"after_event_id": 2})
    assert (asked.status_code, asked.json()) == (202, {"deliveries": 2, "next_after_event_id": None})
    work(front)
    ids = [json.loads(each.body)["id"] for each in receiver.received]
    assert sorted(ids[5:]) == [3, 4]
    # All that failed.
    front.databases.rows(
        "update endpoint_deliveries set status = 'failed' where event_id in (1, 4) and endpoint_id = :id", id=made["id"]
    )
    assert api.post(path, {"status": "failed"}).json()["deliveries"] == 2
    work(front)
    assert sorted(json.loads(each.body)["id"] for each in receiver.received[7:]) == [1, 4]
    # Since a time; the bytes are always those of the first try.
    assert api.post(path, {"since": "2020-01-01T00:00:00Z", "status": "delivered"}).json()["deliveries"] == 4
    assert api.post(path, {"since": "2100-01-01T00:00:00Z"}).json()["deliveries"] == 0
    work(front)
    assert len(receiver.received) == 13
    assert all(sent[each.headers["webhook-id"]] == each.body for each in receiver.received)
    assert [row["status"] for row in deliveries(api, made)] == ["delivered"] * 4
    problem_of(api.post(path, {"since": "2020-01-01T00:00:00Z", "after_event_id": 1}), 422)
    problem_of(api.post(f"{DELIVERIES}/{uuid.uuid4()}/redeliver"), 404)


def test_a_range_brings_what_came_while_the_endpoint_was_disabled(
    api: Api, front: Stack, shop: Shop, receiver: WebhookReceiver
) -> None:
    complete(shop)
    made = make(api, receiver.url)
    path = f"{ENDPOINTS}/{made['id']}"
    api.send("PATCH", path, json={"status": "disabled"})
    complete(shop)
    assert problem_of(api.post(f"{path}/redeliver", {}), 409)["code"] == "endpoint_disabled"
    api.send("PATCH", path, json={"status": "enabled"})
    assert api.post(f"{path}/redeliver", {"after_event_id": 1}).json()["deliveries"] == 1
    work(front)
    assert [json.loads(each.body)["id"] for each in receiver.received] == [2]
