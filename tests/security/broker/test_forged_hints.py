"""A client that can publish to Redis can delay what browsers see, but can neither forge nor suppress a frame."""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Callable

import pytest
import requests

from app.runtime.hints import CHANGED_CHANNEL, NOTIFICATIONS_CHANNEL, numbered_hint
from testbed.servers import Servers
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.live_clients import LiveClients
from tests.support.clients.notification_feed import NotificationFeed, make_feed

# Below the two seconds after which the counters would be compared: only a live subscription is as fast.
PROMPT_SECONDS = 1.5


def forged_frame(tenant_id: str, number: object = 1, last: object = 1) -> str:
    """Return a batch with a notification in it, in the form that hints once had."""
    payment = {"id": "x", "user_id": "ann", "status": "completed", "amount": "1000000.00"}
    text = json.dumps({"id": number, "type": "payment.completed", "payment": payment, "at": "2026-01-01T00:00:00Z"})
    items = [[number, "ann", "payment.completed", text]]
    return json.dumps({"tenant_id": tenant_id, "first": number, "last": last, "items": items})


ODD: dict[str, Callable[[str], bytes | str]] = {
    "nothing": lambda tenant: b"",
    "binary": lambda tenant: b"\xff\xfe\x00\x80",
    "a pickle": lambda tenant: pickle.dumps({"tenant_id": tenant}),
    "a number": lambda tenant: "42",
    "null": lambda tenant: "null",
    "a list": lambda tenant: "[]",
    "an object": lambda tenant: "{}",
    "deep JSON": lambda tenant: "[" * 200_000,
    "deep objects": lambda tenant: '{"tenant_id":' * 100_000,
    "huge": lambda tenant: b"x" * 8_000_000,
    "a huge number": lambda tenant: f"{tenant} {'9' * 100_000}",
    "an infinite number": lambda tenant: json.dumps({"tenant_id": tenant, "first": 1e400, "last": 1, "items": []}),
    "a tenant that is no text": lambda tenant: json.dumps({"tenant_id": {"a": [1]}, "first": 1, "last": 1}),
    "a frame": forged_frame,
    "a frame with odd numbers": lambda tenant: forged_frame(tenant, {"a": 1}, "x"),
    "a frame with a large number": lambda tenant: forged_frame(tenant, 10**30, 10**30),
    "a line break": lambda tenant: f"{tenant} 1\n",
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("channel", [NOTIFICATIONS_CHANNEL, CHANGED_CHANNEL])
def test_an_odd_item_is_ignored_and_the_next_frame_is_prompt(
    live_stack: Stack, live: LiveClients, feed: NotificationFeed, channel: str, kind: str
) -> None:
    client = live.connect(feed.token())
    assert client.read()["type"] == "hello"
    for tenant in (feed.tenant_id.hex, str(feed.tenant_id)):
        live_stack.runtime.redis.publish(channel, ODD[kind](tenant))
    feed.notify("ann")
    message = client.read(PROMPT_SECONDS)
    assert (message["id"], message["payment"]["user_id"], "amount" in message["payment"]) == (1, "ann", False)
    assert requests.get(f"{live_stack.sockets}/health/ready", timeout=5).json()["status"] == "ok"


@pytest.mark.parametrize("number", [2, 1_000, 10**18 - 1])
def test_a_number_that_was_never_given_hides_no_frame(
    live_stack: Stack, live: LiveClients, feed: NotificationFeed, number: int
) -> None:
    client = live.connect(feed.token())
    assert client.read()["type"] == "hello"
    for _ in range(5):
        live_stack.runtime.redis.publish(*numbered_hint(feed.tenant_id, number))
    feed.notify("ann")
    feed.notify("ann", "ann")
    assert client.ids(3, PROMPT_SECONDS) == [1, 2, 3]
    assert live.connect(feed.token(), 0).read() == {"type": "hello", "resumed": True, "last_id": 3}


def test_a_flood_of_forged_hints_delays_and_loses_nothing(
    live_stack: Stack, live: LiveClients, feed: NotificationFeed
) -> None:
    clients = [live.connect(feed.token()), live.connect(make_feed(live_stack).token())]
    for client in clients:
        assert client.read()["type"] == "hello"
    before, over = count_statements(live_stack), threading.Event()

    def flood() -> None:
        with live_stack.runtime.redis.pipeline(transaction=False) as pipe:
            while not over.is_set():
                for number in range(200):
                    pipe.publish(*numbered_hint(feed.tenant_id, 10**17 + number))
                    pipe.publish(NOTIFICATIONS_CHANNEL, b"\xff" * 50)
                pipe.execute()

    flooding = threading.Thread(target=flood)
    flooding.start()
    started = time.monotonic()
    try:
        for number in range(1, 6):
            feed.notify("ann")
            assert clients[0].ids(1) == [number]
            assert requests.get(f"{live_stack.sockets}/health/live", timeout=5).status_code == 200
    finally:
        over.set()
        flooding.join()
    # False hints cost ten queries a second; the counters and tokens are read about twice a second as ever. What was
    # committed in the seconds before may be counted late. A query for each hint would be thousands.
    assert count_statements(live_stack) - before < 60 * (time.monotonic() - started + 5)


def count_statements(live_stack: Stack) -> int:
    """Return how many transactions the database has committed."""
    database = live_stack.runtime.database
    with database.engine.connect() as connection:
        connection.exec_driver_sql("select pg_stat_clear_snapshot()")
        committed = connection.exec_driver_sql("select sum(xact_commit) from pg_stat_database").scalar()
    return int(committed or 0)


def test_health_and_metrics_know_when_no_hints_come(
    live_stack: Stack, live_servers: Servers, live: LiveClients
) -> None:
    def up() -> bool:
        text = live.metrics()
        return 'sluice_subscription_up{listener="notifications"} 1.0' in text

    def degraded() -> bool:
        body = requests.get(f"{live_stack.sockets}/health/ready", timeout=5).json()
        return bool(body["status"] == "degraded" and body["failing"] == ["redis"])

    wait_until(up, "the subscription is counted as up")
    live_servers.valkey.kill()
    try:
        wait_until(lambda: degraded() and not up(), "health and metrics say that no hints come")
    finally:
        live_servers.valkey.start()
    wait_until(lambda: live.is_ready() and up(), "subscribed again")


def test_rejected_hints_are_counted(live_stack: Stack, live: LiveClients) -> None:
    def rejected() -> float:
        text = live.metrics()
        (line,) = [line for line in text.splitlines() if line.startswith("sluice_hints_rejected_total ")]
        return float(line.split()[1])

    before = rejected()
    live_stack.runtime.redis.publish(NOTIFICATIONS_CHANNEL, "nonsense")
    wait_until(lambda: rejected() == before + 1, "counted")
