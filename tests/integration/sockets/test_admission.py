"""Who gets a live connection is decided before the upgrade, and every refusal says why."""

from __future__ import annotations

import base64
import socket

import pytest
import requests

from app.services.access.callers import authenticate, create_ticket
from testbed.waiting import wait_until
from tests.integration.sockets import sockets_support
from tests.integration.sockets.sockets_support import ORIGIN, PUBLIC_URL, Shop, Stack

# pytest looks for fixtures among a module's own names.
stack, shop = sockets_support.stack, sockets_support.shop

PROBLEM = "application/problem+json"
LOCAL_URL = PUBLIC_URL.replace("127.0.0.1", "localhost")


def handshake(stack: Stack, token: str, **changes: str | None) -> requests.Response:
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
    return requests.get(f"{stack.base}/ws", headers=sent, timeout=5)


@pytest.mark.parametrize("token", ["", "x", "ct_", "ct_aaaaaaaaaaaaaaaa." + "b" * 43, "ct_" + "a" * 500])
def test_unknown_tokens_get_401_before_the_upgrade(stack: Stack, shop: Shop, token: str) -> None:
    status, problem = stack.refusal(token)
    assert status == 401
    assert problem["title"] == "Unauthorized"
    assert problem["status"] == 401
    answer = stack.stream(token or "ct_").answer
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == PROBLEM
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_right_name_with_a_wrong_secret_gets_401(stack: Stack, shop: Shop) -> None:
    token = shop.token()
    other = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert stack.refusal(other)[0] == 401
    assert stack.connect(token).read()["type"] == "hello"


def test_without_any_token_both_doors_are_shut(stack: Stack, shop: Shop) -> None:
    assert stack.refusal("", subprotocols=["sluice.v1"])[0] == 401
    assert stack.refusal("", subprotocols=[])[0] == 401
    assert stack.stream().answer.status_code == 401
    assert stack.stream(Authorization=f"Basic {shop.token()}").answer.status_code == 401
    assert stack.stream(query="?ticket=unknown").answer.status_code == 401


def test_two_tokens_in_one_handshake_are_refused(stack: Stack, shop: Shop) -> None:
    offered = [f"sluice.token.{shop.token('ann')}", f"sluice.token.{shop.token('bob')}"]
    assert stack.refusal("", subprotocols=offered)[0] == 401


def test_a_secret_key_is_known_but_may_not(stack: Stack, shop: Shop) -> None:
    assert stack.refusal(shop.secret_key)[0] == 403
    assert stack.stream(shop.secret_key).answer.status_code == 403


def test_ended_tokens_and_those_of_revoked_keys_get_401(stack: Stack, shop: Shop) -> None:
    assert stack.refusal(shop.token(seconds=-1))[0] == 401
    token = shop.token()
    shop.revoke_key()
    assert stack.refusal(token)[0] == 401
    assert stack.stream(token).answer.status_code == 401


def test_a_client_that_offers_only_its_token_is_served(stack: Stack, shop: Shop) -> None:
    # By hand, because the client package insists that one of its own offers is chosen.
    offer = f"Sec-WebSocket-Protocol: sluice.token.{shop.token()}"
    plain = stack.connect("", subprotocols=[], header=[offer])
    assert plain.sock.subprotocol is None
    assert plain.read()["type"] == "hello"
    assert stack.connect(shop.token()).sock.subprotocol == "sluice.v1"


@pytest.mark.parametrize("origin", [PUBLIC_URL, LOCAL_URL, ORIGIN, LOCAL_URL.upper(), ORIGIN.upper()])
def test_pages_of_known_origins_may_connect(stack: Stack, shop: Shop, origin: str) -> None:
    assert stack.connect(shop.token(), origin=origin).read()["type"] == "hello"
    answer = stack.stream(shop.token(), Origin=origin).answer
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["null", "https://evil.example", ORIGIN + ".evil.example", "http://shop.example"])
def test_pages_of_other_origins_get_403(stack: Stack, shop: Shop, origin: str) -> None:
    assert stack.refusal(shop.token(), origin=origin)[0] == 403
    answer = stack.stream(shop.token(), Origin=origin).answer
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_another_tenants_origin_is_not_enough(stack: Stack, shop: Shop) -> None:
    stack.execute(
        "update tenants set allowed_origins = array['https://elsewhere.example'] where id = :id", id=shop.tenant_id
    )
    assert stack.refusal(shop.token(), origin=ORIGIN)[0] == 403
    assert stack.connect(shop.token(), origin="https://elsewhere.example").read()["type"] == "hello"


def test_preflights_are_answered_for_any_tenants_origin(stack: Stack, shop: Shop) -> None:
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    for origin in (ORIGIN, LOCAL_URL, ORIGIN.upper(), LOCAL_URL.upper()):
        known = requests.options(f"{stack.base}/api/stream", headers={"Origin": origin, **asked}, timeout=5)
        assert known.status_code == 204
        assert known.headers["Access-Control-Allow-Origin"] == origin
        assert "Authorization" in known.headers["Access-Control-Allow-Headers"]
    unknown = requests.options(f"{stack.base}/api/stream", headers={"Origin": "https://evil.example"}, timeout=5)
    assert unknown.status_code == 403
    assert "Access-Control-Allow-Origin" not in unknown.headers


def test_a_page_may_read_why_it_was_refused(stack: Stack, shop: Shop) -> None:
    assert stack.stream("ct_x", Origin=ORIGIN).answer.headers["Access-Control-Allow-Origin"] == ORIGIN


def test_a_ticket_opens_one_stream(stack: Stack, shop: Shop) -> None:
    caller = authenticate(stack.runtime.database, shop.token())
    assert caller is not None
    ticket, _ = create_ticket(stack.runtime, caller)
    stream = stack.stream(query=f"?ticket={ticket}&after=0")
    assert stream.read()["event"] == "hello"
    shop.notify("ann")
    assert stream.read()["id"] == "1"
    assert stack.stream(query=f"?ticket={ticket}").answer.status_code == 401


def make_ticket(stack: Stack, token: str) -> str:
    """Return a fresh ticket of the client that holds `token`."""
    caller = authenticate(stack.runtime.database, token)
    assert caller is not None
    return create_ticket(stack.runtime, caller)[0]


def test_a_ticket_ends_after_its_thirty_seconds(stack: Stack, shop: Shop) -> None:
    ticket = make_ticket(stack, shop.token())
    # CONTRACT section 5: thirty seconds. One second more than that has passed.
    stack.execute("update socket_tickets set expires_at = expires_at - interval '31 seconds'")
    assert stack.stream(query=f"?ticket={ticket}").answer.status_code == 401
    assert stack.stream(query=f"?ticket={make_ticket(stack, shop.token())}").read()["event"] == "hello"


def test_a_ticket_ends_with_its_token(stack: Stack, shop: Shop) -> None:
    ticket = make_ticket(stack, shop.token())
    stack.execute("update client_tokens set expires_at = now() where tenant_id = :id", id=shop.tenant_id)
    assert stack.stream(query=f"?ticket={ticket}").answer.status_code == 401


def test_a_ticket_ends_with_the_key_of_its_token(stack: Stack, shop: Shop) -> None:
    ticket = make_ticket(stack, shop.token())
    shop.revoke_key()
    assert stack.stream(query=f"?ticket={ticket}").answer.status_code == 401


@pytest.mark.parametrize("after", ["-1", "1.0", "x", "", "1" * 19, "%D9%A1"])
def test_a_bad_place_to_resume_from_is_a_field_error(stack: Stack, shop: Shop, after: str) -> None:
    answer = stack.stream(shop.token(), f"?after={after}").answer
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == PROBLEM
    assert [error["field"] for error in answer.json()["errors"]] == ["after"]


def test_what_is_no_websocket_is_told_so(stack: Stack, shop: Shop) -> None:
    token = shop.token()
    plain = requests.get(f"{stack.base}/ws", timeout=5)
    assert (plain.status_code, plain.headers["Content-Type"]) == (426, PROBLEM)
    old = handshake(stack, token, Sec_WebSocket_Version="8")
    assert (old.status_code, old.headers["Sec-WebSocket-Version"]) == (426, "13")
    assert handshake(stack, token, Sec_WebSocket_Key="short").status_code == 400
    assert handshake(stack, token, Sec_WebSocket_Key=None).status_code == 400
    assert requests.post(f"{stack.base}/api/stream", timeout=5).status_code == 405
    assert requests.get(f"{stack.base}/nowhere", timeout=5).headers["Content-Type"] == PROBLEM


def test_without_the_database_clients_are_told_to_come_back(stack: Stack, shop: Shop) -> None:
    token = shop.token()
    open_before = stack.connect(token)
    assert open_before.read()["type"] == "hello"
    stack.postgres.stop()
    try:
        for answer in (
            handshake(stack, token),
            stack.stream(token).answer,
            requests.get(f"{stack.base}/health/ready", timeout=5),
        ):
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
        assert requests.get(f"{stack.base}/health/live", timeout=5).status_code == 200
    finally:
        stack.postgres.start()
    wait_until(stack.ready, "ready again")
    # A connection that stood before is not dropped for it, and hears what comes after.
    stack.runtime.database.engine.dispose()
    shop.notify("ann")
    assert open_before.ids(1) == [1]
    assert stack.connect(token).read()["last_id"] == 1


def test_head_is_answered_without_a_stream(stack: Stack, shop: Shop) -> None:
    good = {"Authorization": f"Bearer {shop.token()}"}
    answer = requests.head(f"{stack.base}/api/stream", headers=good, timeout=5)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert requests.head(f"{stack.base}/api/stream", timeout=5).status_code == 401
    # A ticket is for one stream, and to ask is none.
    caller = authenticate(stack.runtime.database, shop.token())
    assert caller is not None
    ticket, _ = create_ticket(stack.runtime, caller)
    assert requests.head(f"{stack.base}/api/stream?ticket={ticket}", timeout=5).status_code == 401
    assert stack.stream(query=f"?ticket={ticket}").read()["event"] == "hello"
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    upgrade |= {
        "Sec-WebSocket-Key": "A" * 22 + "==",
        "Sec-WebSocket-Protocol": f"sluice.v1, sluice.token.{shop.token()}",
    }
    for path in ("/ws", "/api/stream", "/health/live", "/health/ready", "/nothing"):
        for headers in ({}, good, upgrade):
            for method in ("HEAD", "OPTIONS", "POST", "TRACE"):
                status = requests.request(method, stack.base + path, headers=headers, timeout=5).status_code
                assert status < 500, (method, path, headers)


def test_two_credentials_are_no_handshake(stack: Stack, shop: Shop) -> None:
    token = shop.token()
    head = (
        f"GET /api/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", stack.port), timeout=5) as connection:
        connection.sendall(head.encode())
        assert connection.recv(64).startswith(b"HTTP/1.1 400 ")


def test_a_refused_token_is_logged_without_its_secret(stack: Stack, shop: Shop) -> None:
    token = shop.token()
    wrong = token[:-4] + ("AAAA" if not token.endswith("AAAA") else "BBBB")

    def is_logged() -> bool:
        assert stack.refusal(wrong)[0] == 401
        text = stack.log_path.read_text(encoding="utf-8")
        assert wrong.split(".")[1] not in text
        return f'"public_part": "{wrong.split(".")[0].removeprefix("ct_")}"' in text and '"wrong_secret"' in text

    wait_until(is_logged, "the refusal is logged", 10)
