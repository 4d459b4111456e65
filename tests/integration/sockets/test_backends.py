"""A tenant's backend gets all of the tenant's events over the same streams as browsers, with its secret key."""

from __future__ import annotations

import datetime
import json
import time
import uuid

import pytest
import requests

from app.services.tenants import tenants
from app.sockets.hub import PER_KEY_MAX
from models.tables.access import ROLES
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.live_clients import LiveClients, SocketClient, StreamClient
from tests.support.clients.notification_feed import NotificationFeed, make_feed


def bearer(key: str) -> dict[str, list[str]]:
    return {"header": [f"Authorization: Bearer {key}"]}


def make_key(shop: Shop, role: str = "shop") -> tuple[uuid.UUID, str]:
    return tenants.create_key(shop.runtime, shop.tenant_id, role, "a stream", ACTOR)


def greeted(live: LiveClients, key: str, after: int | None = None) -> SocketClient:
    client = live.connect("", after, subprotocols=[], **bearer(key))
    assert client.read()["type"] == "hello"
    return client


def greeted_stream(live: LiveClients, key: str, query: str = "", **headers: str) -> StreamClient:
    stream = live.stream(key, query, **headers)
    assert stream.read()["event"] == "hello"
    return stream


def test_every_role_of_key_gets_all_of_its_tenants_events(
    live_stack: Stack, live: LiveClients, feed: NotificationFeed
) -> None:
    # A user may be called as Python spells the absence of one.
    users = ["ann", "None", "bob"]
    own = live.connect(feed.token("None"))
    assert own.read()["type"] == "hello"
    keys = [make_key(feed.shop, role)[1] for role in ROLES]
    sockets, streams = [greeted(live, key) for key in keys], [greeted_stream(live, key) for key in keys]
    make_feed(live_stack).notify("ann")
    feed.notify(*users)
    for client in sockets:
        received = [client.read() for _ in users]
        assert [(one["id"], one["payment"]["user_id"]) for one in received] == [(1, "ann"), (2, "None"), (3, "bob")]
    for stream in streams:
        events = [stream.read() for _ in users]
        assert [(event["id"], json.loads(event["data"])["payment"]["user_id"]) for event in events] == [
            ("1", "ann"),
            ("2", "None"),
            ("3", "bob"),
        ]
    assert own.ids(1) == [2]


def test_a_backend_resumes_where_it_was(live: LiveClients, feed: NotificationFeed) -> None:
    feed.notify("ann", "bob", "ann")
    key = feed.shop.secret_key
    assert greeted(live, key, after=1).ids(2) == [2, 3]
    stream = greeted_stream(live, key, **{"Last-Event-ID": "2"})
    assert stream.read()["id"] == "3"
    feed.notify("bob")
    assert stream.read()["id"] == "4"


def test_a_key_is_taken_from_its_header_only(live_stack: Stack, live: LiveClients, feed: NotificationFeed) -> None:
    key = feed.shop.secret_key
    status, problem = live.refusal(key)
    assert (status, problem["code"]) == (403, "role_forbidden")
    status, problem = live.refusal(feed.token(), **bearer(key))
    assert status == 400
    assert live.stream(query=f"?ticket={key}").answer.status_code == 401
    assert live.stream(key[:-1] + ("A" if key[-1] != "A" else "B")).answer.status_code == 401
    # A page that has got hold of a key is bound to the tenant's origins as anywhere else.
    assert live.stream(key, Origin="https://evil.example").answer.status_code == 403
    assert live.refusal("", subprotocols=[], origin="https://evil.example", **bearer(key))[0] == 403
    # A client token may come in the header too: programs that are no browsers need no subprotocol.
    feed.notify("ann", "bob")
    client = live.connect("", 0, subprotocols=["sluice.v1"], **bearer(feed.token("bob")))
    assert (client.read()["resumed"], client.sock.subprotocol) == (True, "sluice.v1")
    assert client.ids(1) == [2]
    head = {"Authorization": f"Bearer {key}"}
    assert requests.head(f"{live_stack.sockets}/api/stream", headers=head, timeout=5).status_code == 200


@pytest.mark.serial
def test_a_key_that_ends_ends_its_streams_within_about_a_second(live: LiveClients, feed: NotificationFeed) -> None:
    (revoked, first), (expiring, second), (_, lasting) = (make_key(feed.shop) for _ in range(3))
    ended = [greeted(live, key) for key in (first, second)]
    streams = [greeted_stream(live, key) for key in (first, second)]
    rest = greeted(live, lasting)
    started = time.monotonic()
    tenants.revoke_key(feed.shop.runtime, revoked, ACTOR)
    feed.databases.rows(
        "update api_keys set expires_at = :now where id = :id", now=datetime.datetime.now(datetime.UTC), id=expiring
    )
    assert [client.close_code() for client in ended] == [4401, 4401]
    assert [stream.read() for stream in streams] == [{"event": "close", "data": '{"code": 4401}'}] * 2
    # One second between checks, and the rest for a busy machine.
    assert time.monotonic() - started < 5.0
    feed.notify("ann")
    assert rest.ids(1) == [1]


def test_a_stream_counts_as_use_of_its_key(live: LiveClients, feed: NotificationFeed) -> None:
    key_id, key = make_key(feed.shop)
    greeted(live, key)

    def is_noted() -> bool:
        return feed.databases.value("select last_used_at is not null from api_keys where id = :id", id=key_id) is True

    wait_until(is_noted, "the use is written", 20)


def test_a_key_has_a_bounded_number_of_streams(live: LiveClients, feed: NotificationFeed) -> None:
    key = make_key(feed.shop)[1]
    streams = [live.stream(key) for _ in range(PER_KEY_MAX)]
    assert {stream.answer.status_code for stream in streams} == {200}
    answer = live.stream(key).answer
    assert (answer.status_code, "secret key" in answer.json()["detail"]) == (429, True)
    # Neither another key nor a user is concerned, and a slot that becomes free can be taken.
    greeted(live, feed.shop.secret_key)
    assert live.connect(feed.token()).read()["type"] == "hello"
    streams[0].answer.close()
    wait_until(lambda: live.stream(key).answer.status_code == 200, "a free slot")
