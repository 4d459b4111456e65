"""Connections end when their token does, when their client misbehaves, and when the process stops: all resumable."""

from __future__ import annotations

import socket
import time

import pytest
import requests
import websocket

from app.services.access.callers import authenticate, create_ticket
from app.sockets.hub import PER_USER_MAX
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.live_clients import LiveClients, SocketClient
from tests.support.clients.notification_feed import NotificationFeed, make_feed


def greeted(live: LiveClients, feed: NotificationFeed, user_id: str = "ann", after: int | None = None) -> SocketClient:
    client = live.connect(feed.token(user_id), after)
    assert client.read()["type"] == "hello"
    return client


@pytest.mark.serial
def test_a_revoked_key_ends_its_connections_within_about_a_second(
    live_stack: Stack, live: LiveClients, feed: NotificationFeed
) -> None:
    other = greeted(live, make_feed(live_stack))
    clients, stream = [greeted(live, feed, user) for user in ("ann", "bob")], live.stream(feed.token())
    assert stream.read()["event"] == "hello"
    feed.revoke_key()
    started = time.monotonic()
    assert [client.close_code() for client in clients] == [4401, 4401]
    assert stream.read() == {"event": "close", "data": '{"code": 4401}'}
    # One second between polls, and the rest for a busy machine.
    assert time.monotonic() - started < 5.0
    assert stream.read() == {}
    other.sock.ping()
    assert other.sock.recv_data(control_frame=True)[0] == websocket.ABNF.OPCODE_PONG


def test_connections_end_with_their_token_and_only_those(live: LiveClients, feed: NotificationFeed) -> None:
    lasting = greeted(live, feed)
    client = live.connect(feed.token(seconds=2))
    stream = live.stream(feed.token(seconds=2))
    assert (client.read()["type"], stream.read()["event"]) == ("hello", "hello")
    assert client.close_code() == 4401
    assert stream.read()["event"] == "close"
    feed.notify("ann")
    assert lasting.ids(1) == [1]


def test_a_user_has_a_bounded_number_of_connections(live: LiveClients, feed: NotificationFeed) -> None:
    clients = [greeted(live, feed) for _ in range(PER_USER_MAX - 1)]
    # Held on to: requests closes a chunked answer whose reader is forgotten.
    stream = live.stream(feed.token())
    assert stream.read()["event"] == "hello"
    status, problem = live.refusal(feed.token())
    assert (status, problem["status"]) == (429, 429)
    assert live.stream(feed.token()).answer.status_code == 429
    # Others are not concerned, and a place that becomes free can be taken.
    greeted(live, feed, "bob")
    clients[0].sock.close()

    def connects() -> bool:
        try:
            greeted(live, feed)
        except websocket.WebSocketBadStatusException:
            return False
        return True

    wait_until(connects, "a free place")


def test_open_connections_are_counted(live: LiveClients, feed: NotificationFeed) -> None:
    def count(kind: str) -> int:
        text = live.metrics()
        found = [line for line in text.splitlines() if line.startswith(f'sluice_sockets_open{{kind="{kind}"}}')]
        return int(float(found[0].split()[1])) if found else 0

    wait_until(lambda: count("websocket") == 0, "the connections of other tests to end")
    client = greeted(live, feed)
    stream = live.stream(feed.token())
    assert stream.read()["event"] == "hello"
    assert (count("websocket"), count("sse")) == (1, 1)
    client.sock.close()
    stream.answer.close()
    wait_until(lambda: (count("websocket"), count("sse")) == (0, 0), "closed connections are not counted")


def test_a_refused_handshake_takes_no_place(live_stack: Stack, live: LiveClients, feed: NotificationFeed) -> None:
    token = feed.token()
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers["Sec-WebSocket-Protocol"] = f"sluice.v1, sluice.token.{token}"
    for _ in range(PER_USER_MAX + 1):
        assert requests.get(f"{live_stack.sockets}/ws", headers=headers, timeout=5).status_code == 400
    greeted(live, feed)


def test_a_slow_reader_is_dropped_and_resumes(live: LiveClients, feed: NotificationFeed) -> None:
    # Small buffers of its own, so that little has to be sent until it is full.
    options = ((socket.SOL_SOCKET, socket.SO_RCVBUF, 4096),)
    slow = live.connect(feed.token(), 0, sockopt=options)
    quick = greeted(live, feed, after=0)
    total = 600
    for _ in range(total // 50):
        feed.notify(*["ann"] * 50, text_bytes=2_000)
        assert len(quick.ids(50)) == 50
    assert slow.read()["type"] == "hello"
    seen = []
    try:
        while True:
            slow.sock.settimeout(10)
            opcode, data = slow.sock.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                break
            # Whatever came, came whole and in order.
            assert data.startswith(f'{{"id": {len(seen) + 1},'.encode())
            seen.append(len(seen) + 1)
    except (websocket.WebSocketConnectionClosedException, ConnectionError):
        pass
    assert len(seen) < total
    again = greeted(live, feed, after=len(seen))
    assert again.ids(total - len(seen)) == list(range(len(seen) + 1, total + 1))


def test_a_client_that_talks_is_sent_away(live: LiveClients, feed: NotificationFeed) -> None:
    chatty = greeted(live, feed)
    for _ in range(100):
        chatty.sock.send("hello?")
    assert chatty.close_code() == 1008
    loud = greeted(live, feed)
    loud.sock.send("x" * 5_000)
    assert loud.close_code() == 1009
    broken = greeted(live, feed)
    # A frame of an unknown kind.
    broken.sock.sock.sendall(b"\x8f\x80\x00\x00\x00\x00")
    assert broken.close_code() == 1002


def test_a_close_is_answered_and_a_little_talk_is_ignored(live: LiveClients, feed: NotificationFeed) -> None:
    client = greeted(live, feed)
    client.sock.send("hello")
    client.sock.send_binary(b"\0" * 4_000)
    feed.notify("ann")
    assert client.ids(1) == [1]
    client.sock.send_close(1000)
    assert client.close_code() == 1000


def test_compression_is_not_taken_up(live: LiveClients, feed: NotificationFeed) -> None:
    client = live.connect(feed.token(), header=["Sec-WebSocket-Extensions: permessage-deflate"])
    assert "sec-websocket-extensions" not in client.sock.headers


def test_neither_tokens_nor_tickets_are_logged(live_stack: Stack, live: LiveClients, feed: NotificationFeed) -> None:
    token = feed.token()
    caller = authenticate(live_stack.runtime.database, token)
    assert caller is not None
    ticket, _ = create_ticket(live_stack.runtime, caller)
    assert live.stream(query=f"?ticket={ticket}").read()["event"] == "hello"
    greeted(live, feed)
    live.stream("ct_" + "z" * 60, "?after=1")
    requests.get(f"{live_stack.sockets}/api/stream?ticket={ticket}", headers={"Bad Header": "x"}, timeout=5)
    log = live_stack.log_path("sockets").read_text()
    for secret in (token, ticket, "ct_z"):
        assert secret not in log


@pytest.mark.serial
def test_a_stop_is_quick_and_asks_clients_to_reconnect(
    live_stack: Stack, live: LiveClients, feed: NotificationFeed
) -> None:
    clients = [greeted(live, feed, f"user{number}") for number in range(30)]
    stream = live.stream(feed.token())
    assert stream.read()["event"] == "hello"
    feed.notify("ann", "user7")
    assert stream.read()["id"] == "1"
    assert clients[7].ids(1) == [2]
    # Two steps of a second each in the server, while the whole stack has ten.
    began = time.monotonic()
    live_stack.stop("sockets")
    assert time.monotonic() - began < 6.0
    assert {client.close_code() for client in clients} == {1012}
    assert stream.read() == {"event": "close", "data": '{"code": 1012}'}
    feed.notify("user7")
    live_stack.start("sockets")
    assert greeted(live, feed, "user7", after=2).ids(1) == [3]
