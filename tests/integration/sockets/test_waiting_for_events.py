"""`GET /api/events?wait=`: a backend without a stream gets what happens as it happens (CONTRACT section 3)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from app.web.long_poll import EVENT_BOUNDS, READ_SECONDS
from testbed.servers import NO_SYNC, Servers, open_servers
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import Api, fields_of
from tests.support.clients.notification_feed import NotificationFeed, make_feed

pytestmark = pytest.mark.serial

# Far below the thirty seconds that were asked for, far above what a hint over Redis needs.
SOON_SECONDS = 5.0


@pytest.fixture(scope="module")
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers of the module's own: one test stops Redis."""
    with open_servers(tmp_path_factory.mktemp("waiting"), NO_SYNC) as opened:
        yield opened


@pytest.fixture(scope="module")
def waiting_stack(own_servers: Servers) -> Iterator[Stack]:
    """Provide a web process."""
    with own_servers.open_databases() as opened, Stack.open(opened) as started:
        started.start("web")
        yield started


@pytest.fixture
def feed(waiting_stack: Stack) -> NotificationFeed:
    """Notifications of a tenant of the test's own."""
    return make_feed(waiting_stack)


@pytest.fixture
def backend(waiting_stack: Stack, feed: NotificationFeed) -> Api:
    """Provide the tenant's backend."""
    return Api(waiting_stack.web, feed.shop.secret_key)


def wait_for_events(client: Api, after: int = 0, seconds: int = 30) -> tuple[list[int], float]:
    """Return the ids of the events that the answer has, and how many seconds it took."""
    started = time.monotonic()
    answer = client.get("/api/events", after=after, wait=seconds)
    assert answer.status_code == 200, answer.text
    return [event["id"] for event in answer.json()["data"]], time.monotonic() - started


def test_what_is_there_is_answered_at_once_and_what_comes_as_it_comes(
    waiting_stack: Stack, feed: NotificationFeed, backend: Api
) -> None:
    feed.notify("ann", "bob")
    ids, seconds = wait_for_events(backend)
    assert (ids, seconds < SOON_SECONDS) == ([1, 2], True)
    bob, other = Api(backend.base, feed.shop.token("bob")), make_feed(waiting_stack)
    with ThreadPoolExecutor(2) as pool:
        tenants, users = pool.submit(wait_for_events, backend, 2), pool.submit(wait_for_events, bob, 2)
        # Neither another tenant's event answers anybody, nor another user's the client.
        other.notify("bob")
        with pytest.raises(TimeoutError):
            tenants.result(timeout=0.6)
        feed.notify("ann")
        ids, seconds = tenants.result()
        assert (ids, seconds < SOON_SECONDS) == ([3], True)
        with pytest.raises(TimeoutError):
            users.result(timeout=0.6)
        feed.notify("bob")
        ids, seconds = users.result()
        assert (ids, seconds < SOON_SECONDS) == ([4], True)


def test_a_wait_ends_empty_after_its_time(backend: Api) -> None:
    ids, seconds = wait_for_events(backend, seconds=1)
    assert ids == []
    assert 0.9 < seconds < 1 + SOON_SECONDS
    assert wait_for_events(backend, seconds=0)[1] < SOON_SECONDS


def test_a_longer_wait_is_shortened_and_an_unusable_one_named(feed: NotificationFeed, backend: Api) -> None:
    feed.notify("ann")
    assert wait_for_events(backend, seconds=3_600)[0] == [1]
    for wait in ("-1", "x", "1.5", "3601", ""):
        assert fields_of(backend.get("/api/events", wait=wait)) == {"wait"}


def test_one_key_leaves_slots_to_others(waiting_stack: Stack, feed: NotificationFeed, backend: Api) -> None:
    beyond = 5
    other = Api(backend.base, feed.shop.key("shop"))
    with ThreadPoolExecutor(EVENT_BOUNDS.key + beyond + 1) as pool:
        greedy = [pool.submit(wait_for_events, backend) for _ in range(EVENT_BOUNDS.key + beyond)]
        wait_until(lambda: sum(one.done() for one in greedy) >= beyond, "those beyond the bound are answered", 15)
        patient = pool.submit(wait_for_events, other)
        with pytest.raises(TimeoutError):
            patient.result(timeout=1.0)
        # Requests that wait for payments have slots of their own.
        payment = backend.deposit().json()
        assert backend.get(f"/api/payments/{payment['id']}", wait=1).json()["status"] == "pending"
        feed.notify("ann")
        answers = [one.result()[0] for one in greedy]
        assert (answers.count([]), answers.count([1])) == (beyond, EVENT_BOUNDS.key)
        assert patient.result()[0] == [1]


def test_a_stop_answers_requests_that_wait(waiting_stack: Stack, backend: Api) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for_events, backend)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.6)
        waiting_stack.stop("web")
        ids, seconds = waiting.result()
        assert (ids, seconds < 15) == ([], True)
    waiting_stack.start("web")


def test_a_dead_redis_only_delays(
    own_servers: Servers, waiting_stack: Stack, feed: NotificationFeed, backend: Api
) -> None:
    own_servers.valkey.kill()
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait_for_events, backend)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
            feed.write("ann")
            feed.number(published=False)
            ids, seconds = waiting.result()
            assert (ids, seconds < READ_SECONDS + SOON_SECONDS) == ([1], True)
        health = requests.get(f"{waiting_stack.web}/health/ready", timeout=10).json()
        assert (health["status"], health["failing"]) == ("degraded", ["redis"])
    finally:
        own_servers.valkey.start()
