"""Every client gets its user's notifications in rising order, each once, whatever happens to the hints."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading

import psutil
import pytest
import websocket

from app.runtime.hints import numbered_hint
from app.sockets.connection import OUTBOX_FRAMES
from app.sockets.rows import PAGE_ROWS
from testbed.servers import Servers
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.live_clients import LiveClients, SocketClient
from tests.support.clients.notification_feed import NotificationFeed, make_feed

# Counters are compared every two seconds; a lost hint may cost this and the reading.
LATE_SECONDS = 4.0


def greeted(live: LiveClients, feed: NotificationFeed, user_id: str = "ann", after: int | None = None) -> SocketClient:
    client = live.connect(feed.token(user_id), after)
    assert client.read()["type"] == "hello"
    return client


def test_the_greeting_comes_first_and_then_what_happens(live: LiveClients, feed: NotificationFeed) -> None:
    feed.notify("ann")
    client = live.connect(feed.token())
    assert client.read() == {"type": "hello", "resumed": False, "last_id": 1}
    feed.notify("ann")
    message = client.read()
    assert set(message) == {"id", "type", "payment", "at"}
    assert (message["id"], message["type"]) == (2, "payment.completed")
    assert message["payment"]["user_id"] == "ann"


def test_a_stream_sends_the_same_as_a_socket(live: LiveClients, feed: NotificationFeed) -> None:
    stream = live.stream(feed.token(), "?after=0")
    assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
    assert stream.answer.headers["Cache-Control"] == "no-store"
    assert stream.answer.headers["X-Accel-Buffering"] == "no"
    hello = stream.read()
    assert (hello["event"], json.loads(hello["data"])["resumed"], "id" in hello) == ("hello", True, False)
    client = greeted(live, feed)
    feed.notify("ann")
    event = stream.read()
    assert (event["id"], event["event"]) == ("1", "payment.completed")
    assert json.loads(event["data"]) == client.read()


def test_an_event_is_a_chunk_of_its_own_and_the_end_is_sent(live: LiveClients, feed: NotificationFeed) -> None:
    """Clients that read a body in blocks, as requests does by default, get each event as it comes."""
    stream = live.stream(feed.token(seconds=2.5), "?after=0")
    assert stream.answer.headers["Transfer-Encoding"] == "chunked"
    blocks = stream.answer.iter_content(chunk_size=10_000)
    assert next(blocks).startswith(b"event: hello\n")
    for number in (1, 2):
        feed.notify("ann")
        assert next(blocks).startswith(b"id: %d\nevent: payment.completed\n" % number)
    # The token ends: the last event says so, and the body is complete.
    assert b"".join(blocks) == b'event: close\ndata: {"code": 4401}\n\n'


def test_a_client_without_chunks_gets_only_the_events(live_stack: Stack, feed: NotificationFeed) -> None:
    feed.notify("ann")
    with socket.create_connection(("127.0.0.1", live_stack.ports.sockets), timeout=10) as sock:
        sock.sendall(f"GET /api/stream?after=0 HTTP/1.0\r\nAuthorization: Bearer {feed.token()}\r\n\r\n".encode())
        received = b""
        while b"id: 1\n" not in received or not received.endswith(b"\n\n"):
            received += sock.recv(65_536)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert [line.split(b":")[0] for line in body.split(b"\n") if line] == [b"event", b"data", b"id", b"event", b"data"]


def test_nobody_hears_of_another_user_or_tenant(live_stack: Stack, live: LiveClients, feed: NotificationFeed) -> None:
    other_feed = make_feed(live_stack)
    client, stream = greeted(live, feed), live.stream(feed.token(), "?after=0")
    assert stream.read()["event"] == "hello"
    feed.notify("bob", "ann.", "Ann")
    other_feed.notify("ann", "ann")
    feed.write("bob")
    feed.number(published=False)
    feed.notify("bob", "ann")
    expected = client.read()
    assert (expected["id"], expected["payment"]["user_id"]) == (6, "ann")
    assert stream.read()["id"] == "6"
    # The way through the database filters as the live way does.
    assert greeted(live, feed, after=0).ids(1) == [6]
    assert greeted(live, other_feed, after=0).ids(2) == [1, 2]


def test_what_was_missed_comes_in_order_before_what_is_new(live: LiveClients, feed: NotificationFeed) -> None:
    count = 2 * PAGE_ROWS + 30
    feed.notify(*["ann", "bob"] * count)
    client = live.connect(feed.token(), 3)
    assert client.read() == {"type": "hello", "resumed": True, "last_id": 2 * count}
    assert client.ids(count - 2) == list(range(5, 2 * count, 2))
    feed.notify("ann")
    assert client.ids(1) == [2 * count + 1]


@pytest.mark.parametrize("new", [1, OUTBOX_FRAMES + 20])
def test_what_comes_while_a_client_catches_up_follows_what_it_missed(
    live: LiveClients, feed: NotificationFeed, new: int
) -> None:
    missed = 150
    feed.notify(*["ann"] * missed, text_bytes=2_000)
    # It takes so little at a time that the server still waits for it when the new ones come.
    client = live.connect(feed.token(), 0, sockopt=((socket.SOL_SOCKET, socket.SO_RCVBUF, 4096),))
    assert client.read()["type"] == "hello"
    assert client.ids(1) == [1]
    feed.notify(*["ann"] * new)
    assert client.ids(missed + new - 1) == list(range(2, missed + new + 1))
    feed.notify("ann")
    assert client.ids(1) == [missed + new + 1]


def test_a_place_that_was_never_given_cannot_be_resumed_from(live: LiveClients, feed: NotificationFeed) -> None:
    feed.notify("ann")
    client = live.connect(feed.token(), 9)
    assert client.read() == {"type": "hello", "resumed": False, "last_id": 1}
    feed.notify("ann")
    assert client.ids(1) == [2]


@pytest.mark.parametrize(("query", "header", "first"), [("?after=1", "2", "3"), ("?after=2", "1", "3"), ("", "1", "2")])
def test_a_stream_resumes_after_the_larger_of_address_and_header(
    live: LiveClients, feed: NotificationFeed, query: str, header: str, first: str
) -> None:
    feed.notify("ann", "ann", "ann")
    stream = live.stream(feed.token(), query, **{"Last-Event-ID": header})
    assert json.loads(stream.read()["data"])["resumed"] is True
    assert stream.read()["id"] == first


def test_clients_that_come_and_go_miss_nothing_and_get_nothing_twice(live: LiveClients, feed: NotificationFeed) -> None:
    total = 240
    chance = random.Random(7)

    def publish() -> None:
        left = total
        while left:
            amount = min(left, chance.randint(1, 4))
            feed.write(*["ann"] * amount)
            feed.number(published=chance.random() < 0.9)
            left -= amount

    publisher = threading.Thread(target=publish)
    publisher.start()
    seen: list[int] = []
    reader = random.Random(8)
    while len(seen) < total:
        client = greeted(live, feed, after=seen[-1] if seen else 0)
        with contextlib.suppress(websocket.WebSocketTimeoutException):
            for _ in range(reader.randint(0, 30)):
                seen.append(client.read(LATE_SECONDS)["id"])
                if len(seen) == total:
                    break
        client.sock.close()
    publisher.join()
    assert seen == list(range(1, total + 1))


def test_parallel_connections_get_the_same(live: LiveClients, feed: NotificationFeed) -> None:
    clients = [greeted(live, feed, after=0) for _ in range(5)]
    for _ in range(20):
        feed.notify("ann", "bob", "ann")
    expected = [number for number in range(1, 61) if number % 3 != 2]
    assert [client.ids(40) for client in clients] == [expected] * 5


def test_a_lost_hint_is_made_good_within_seconds(live: LiveClients, feed: NotificationFeed) -> None:
    client = greeted(live, feed)
    feed.write("ann")
    feed.number(published=False)
    assert client.ids(1, LATE_SECONDS) == [1]


def test_a_hint_that_does_not_follow_has_the_missing_ones_read_first(live: LiveClients, feed: NotificationFeed) -> None:
    client = greeted(live, feed)
    for _ in range(5):
        feed.write("ann")
        feed.number(published=False)
    feed.notify("ann")
    assert client.ids(6) == [1, 2, 3, 4, 5, 6]


def test_hints_may_come_twice_late_and_in_any_order(
    live_stack: Stack, live: LiveClients, feed: NotificationFeed
) -> None:
    client = greeted(live, feed)
    feed.write("ann", "bob", "ann", "ann")
    feed.number(published=False)
    for last in (3, 4, 2, 2, 4, 3):
        live_stack.runtime.redis.publish(*numbered_hint(feed.tenant_id, last))
    feed.notify("ann")
    assert client.ids(4) == [1, 3, 4, 5]


def test_an_emptied_redis_loses_nothing(live_stack: Stack, live: LiveClients, feed: NotificationFeed) -> None:
    client = greeted(live, feed)
    feed.notify("ann")
    live_stack.runtime.redis.flushall()
    feed.notify("ann")
    assert client.ids(2) == [1, 2]


def test_a_dead_redis_delays_and_a_new_one_is_heard_again(
    live_servers: Servers, live: LiveClients, feed: NotificationFeed
) -> None:
    client = greeted(live, feed)
    live_servers.valkey.kill()
    feed.write("ann")
    feed.number(published=False)
    assert client.ids(1, LATE_SECONDS) == [1]
    # Clients connect and resume without Redis too.
    assert greeted(live, feed, after=0).ids(1) == [1]
    live_servers.valkey.start()
    wait_until(live.is_ready, "subscribed again")
    feed.notify("ann")
    assert client.ids(1) == [2]


def test_a_killed_process_is_replaced_and_its_clients_resume(
    live_stack: Stack, live: LiveClients, feed: NotificationFeed
) -> None:
    client = greeted(live, feed)
    feed.notify("ann")
    assert client.ids(1) == [1]
    (worker,) = psutil.Process(live_stack.running["sockets"].pid).children()
    worker.kill()
    worker.wait(5)
    feed.notify("ann")
    wait_until(live.is_ready, "a new worker", 20)
    assert greeted(live, feed, after=1).ids(1) == [2]
