"""Who gets a live connection is decided before the upgrade, and every refusal says why."""

from __future__ import annotations

import base64
import socket

import pytest
import requests

from app.services.access.callers import authenticate, create_ticket
from testbed.servers import Servers
from testbed.shop import ORIGIN
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.live_clients import LiveClients
from tests.support.clients.notification_feed import NotificationFeed

PROBLEM = "application/problem+json"


def handshake(live_stack: Stack, token: str, **changes: str | None) -> requests.Response:
    """Send a handshake by hand, with headers changed or left out; the answer must be a refusal."""
    headers: dict[str, str | None] = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
        "Sec-WebSocket-Protocol": f"sluice.v1, sluice.token.{token}",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    sent = {name: value for name, value in headers.items() if value is not None}
    return requests.get(f"{live_stack.sockets}/ws", headers=sent, timeout=5)


@pytest.mark.parametrize("token", ["", "x", "ct_", "ct_aaaaaaaaaaaaaaaa." + "b" * 43, "ct_" + "a" * 500])
def test_unknown_tokens_get_401_before_the_upgrade(live: LiveClients, token: str) -> None:
    status, problem = live.refusal(token)
    assert status == 401
    assert problem["title"] == "Unauthorized"
    assert problem["status"] == 401
    answer = live.stream(token or "ct_").answer
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == PROBLEM
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_right_name_with_a_wrong_secret_gets_401(live: LiveClients, feed: NotificationFeed) -> None:
    token = feed.token()
    other = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert live.refusal(other)[0] == 401
    assert live.connect(token).read()["type"] == "hello"


def test_without_any_token_both_doors_are_shut(live: LiveClients, feed: NotificationFeed) -> None:
    assert live.refusal("", subprotocols=["sluice.v1"])[0] == 401
    assert live.refusal("", subprotocols=[])[0] == 401
    assert live.stream().answer.status_code == 401
    assert live.stream(Authorization=f"Basic {feed.token()}").answer.status_code == 401
    assert live.stream(query="?ticket=unknown").answer.status_code == 401


def test_two_tokens_in_one_handshake_are_refused(live: LiveClients, feed: NotificationFeed) -> None:
    offered = [f"sluice.token.{feed.token('ann')}", f"sluice.token.{feed.token('bob')}"]
    assert live.refusal("", subprotocols=offered)[0] == 401


def test_ended_tokens_and_those_of_revoked_keys_get_401(live: LiveClients, feed: NotificationFeed) -> None:
    assert live.refusal(feed.token(seconds=-1))[0] == 401
    token = feed.token()
    feed.revoke_key()
    assert live.refusal(token)[0] == 401
    assert live.stream(token).answer.status_code == 401


def test_a_client_that_offers_only_its_token_is_served(live: LiveClients, feed: NotificationFeed) -> None:
    # By hand, because the client package insists that one of its own offers is chosen.
    offer = f"Sec-WebSocket-Protocol: sluice.token.{feed.token()}"
    plain = live.connect("", subprotocols=[], header=[offer])
    assert plain.sock.subprotocol is None
    assert plain.read()["type"] == "hello"
    assert live.connect(feed.token()).sock.subprotocol == "sluice.v1"


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:{web}", "http://localhost:{web}", ORIGIN, "HTTP://LOCALHOST:{web}", ORIGIN.upper()]
)
def test_pages_of_known_origins_may_connect(
    live_stack: Stack, live: LiveClients, feed: NotificationFeed, origin: str
) -> None:
    origin = origin.format(web=live_stack.ports.web)
    assert live.connect(feed.token(), origin=origin).read()["type"] == "hello"
    answer = live.stream(feed.token(), Origin=origin).answer
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["null", "https://evil.example", ORIGIN + ".evil.example", "http://feed.example"])
def test_pages_of_other_origins_get_403(live: LiveClients, feed: NotificationFeed, origin: str) -> None:
    assert live.refusal(feed.token(), origin=origin)[0] == 403
    answer = live.stream(feed.token(), Origin=origin).answer
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_another_tenants_origin_is_not_enough(live_stack: Stack, live: LiveClients, feed: NotificationFeed) -> None:
    live_stack.databases.rows(
        "update tenants set allowed_origins = array['https://elsewhere.example'] where id = :id", id=feed.tenant_id
    )
    assert live.refusal(feed.token(), origin=ORIGIN)[0] == 403
    assert live.connect(feed.token(), origin="https://elsewhere.example").read()["type"] == "hello"


def test_preflights_are_answered_for_any_tenants_origin(live_stack: Stack) -> None:
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    local_url = live_stack.web.replace("127.0.0.1", "localhost")
    for origin in (ORIGIN, local_url, ORIGIN.upper(), local_url.upper()):
        known = requests.options(f"{live_stack.sockets}/api/stream", headers={"Origin": origin, **asked}, timeout=5)
        assert known.status_code == 204
        assert known.headers["Access-Control-Allow-Origin"] == origin
        assert "Authorization" in known.headers["Access-Control-Allow-Headers"]
    unknown = requests.options(
        f"{live_stack.sockets}/api/stream", headers={"Origin": "https://evil.example"}, timeout=5
    )
    assert unknown.status_code == 403
    assert "Access-Control-Allow-Origin" not in unknown.headers


def test_a_page_may_read_why_it_was_refused(live: LiveClients) -> None:
    assert live.stream("ct_x", Origin=ORIGIN).answer.headers["Access-Control-Allow-Origin"] == ORIGIN


def test_a_ticket_opens_one_stream(live_stack: Stack, live: LiveClients, feed: NotificationFeed) -> None:
    caller = authenticate(live_stack.runtime.database, feed.token())
    assert caller is not None
    ticket, _ = create_ticket(live_stack.runtime, caller)
    stream = live.stream(query=f"?ticket={ticket}&after=0")
    assert stream.read()["event"] == "hello"
    feed.notify("ann")
    assert stream.read()["id"] == "1"
    assert live.stream(query=f"?ticket={ticket}").answer.status_code == 401


def make_ticket(live_stack: Stack, token: str) -> str:
    """Return a fresh ticket of the client that holds `token`."""
    caller = authenticate(live_stack.runtime.database, token)
    assert caller is not None
    return create_ticket(live_stack.runtime, caller)[0]


def test_a_ticket_ends_after_its_thirty_seconds(live_stack: Stack, live: LiveClients, feed: NotificationFeed) -> None:
    ticket = make_ticket(live_stack, feed.token())
    # CONTRACT section 5: thirty seconds. One second more than that has passed.
    live_stack.databases.rows("update socket_tickets set expires_at = expires_at - interval '31 seconds'")
    assert live.stream(query=f"?ticket={ticket}").answer.status_code == 401
    assert live.stream(query=f"?ticket={make_ticket(live_stack, feed.token())}").read()["event"] == "hello"


def test_a_ticket_ends_with_its_token(live_stack: Stack, live: LiveClients, feed: NotificationFeed) -> None:
    ticket = make_ticket(live_stack, feed.token())
    live_stack.databases.rows("update client_tokens set expires_at = now() where tenant_id = :id", id=feed.tenant_id)
    assert live.stream(query=f"?ticket={ticket}").answer.status_code == 401


def test_a_ticket_ends_with_the_key_of_its_token(live_stack: Stack, live: LiveClients, feed: NotificationFeed) -> None:
    ticket = make_ticket(live_stack, feed.token())
    feed.revoke_key()
    assert live.stream(query=f"?ticket={ticket}").answer.status_code == 401


@pytest.mark.parametrize("after", ["-1", "1.0", "x", "", "1" * 19, "%D9%A1"])
def test_a_bad_place_to_resume_from_is_a_field_error(live: LiveClients, feed: NotificationFeed, after: str) -> None:
    answer = live.stream(feed.token(), f"?after={after}").answer
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == PROBLEM
    assert [error["field"] for error in answer.json()["errors"]] == ["after"]


def test_a_request_that_is_no_websocket_is_refused(live_stack: Stack, feed: NotificationFeed) -> None:
    token = feed.token()
    plain = requests.get(f"{live_stack.sockets}/ws", timeout=5)
    assert (plain.status_code, plain.headers["Content-Type"]) == (426, PROBLEM)
    old = handshake(live_stack, token, Sec_WebSocket_Version="8")
    assert (old.status_code, old.headers["Sec-WebSocket-Version"]) == (426, "13")
    assert handshake(live_stack, token, Sec_WebSocket_Key="short").status_code == 400
    assert handshake(live_stack, token, Sec_WebSocket_Key=None).status_code == 400
    assert requests.post(f"{live_stack.sockets}/api/stream", timeout=5).status_code == 405
    assert requests.get(f"{live_stack.sockets}/nowhere", timeout=5).headers["Content-Type"] == PROBLEM


def test_without_the_database_clients_are_asked_to_retry(
    live_stack: Stack, live_servers: Servers, live: LiveClients, feed: NotificationFeed
) -> None:
    token = feed.token()
    open_before = live.connect(token)
    assert open_before.read()["type"] == "hello"
    live_servers.postgres.stop()
    try:
        for answer in (
            handshake(live_stack, token),
            live.stream(token).answer,
            requests.get(f"{live_stack.sockets}/health/ready", timeout=5),
        ):
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
        assert requests.get(f"{live_stack.sockets}/health/live", timeout=5).status_code == 200
    finally:
        live_servers.postgres.start()
    wait_until(live.is_ready, "ready again")
    # A connection that stood before is not dropped for it, and hears what comes after.
    live_stack.runtime.database.engine.dispose()
    feed.notify("ann")
    assert open_before.ids(1) == [1]
    assert live.connect(token).read()["last_id"] == 1


def test_head_is_answered_without_a_stream(live_stack: Stack, live: LiveClients, feed: NotificationFeed) -> None:
    good = {"Authorization": f"Bearer {feed.token()}"}
    answer = requests.head(f"{live_stack.sockets}/api/stream", headers=good, timeout=5)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert requests.head(f"{live_stack.sockets}/api/stream", timeout=5).status_code == 401
    # A ticket is for one stream, and to ask is none.
    caller = authenticate(live_stack.runtime.database, feed.token())
    assert caller is not None
    ticket, _ = create_ticket(live_stack.runtime, caller)
    assert requests.head(f"{live_stack.sockets}/api/stream?ticket={ticket}", timeout=5).status_code == 401
    assert live.stream(query=f"?ticket={ticket}").read()["event"] == "hello"
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    upgrade |= {
        "Sec-WebSocket-Key": "A" * 22 + "==",
        "Sec-WebSocket-Protocol": f"sluice.v1, sluice.token.{feed.token()}",
    }
    for path in ("/ws", "/api/stream", "/health/live", "/health/ready", "/nothing"):
        for headers in ({}, good, upgrade):
            for method in ("HEAD", "OPTIONS", "POST", "TRACE"):
                status = requests.request(method, live_stack.sockets + path, headers=headers, timeout=5).status_code
                assert status < 500, (method, path, headers)


def test_two_credentials_are_no_handshake(live_stack: Stack, feed: NotificationFeed) -> None:
    token = feed.token()
    head = (
        f"GET /api/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", live_stack.ports.sockets), timeout=5) as connection:
        connection.sendall(head.encode())
        assert connection.recv(64).startswith(b"HTTP/1.1 400 ")


def test_a_refused_token_is_logged_without_its_secret(
    live_stack: Stack, live: LiveClients, feed: NotificationFeed
) -> None:
    token = feed.token()
    wrong = token[:-4] + ("AAAA" if not token.endswith("AAAA") else "BBBB")

    def is_logged() -> bool:
        assert live.refusal(wrong)[0] == 401
        text = live_stack.log_path("sockets").read_text(encoding="utf-8")
        assert wrong.split(".")[1] not in text
        return f'"public_part": "{wrong.split(".")[0].removeprefix("ct_")}"' in text and '"wrong_secret"' in text

    wait_until(is_logged, "the refusal is logged", 10)
