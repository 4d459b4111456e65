"""Live connections against every stranger: what is one user's is in no frame, refusal or log of anybody else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import websocket

from app.services.access.callers import authenticate, create_ticket
from app.services.records.notifications import last_number
from testbed.shop import ORIGIN, Shop
from testbed.stack import Stack
from tests.security.tenancy.victims import Victim, make_victim
from tests.support.books import settle
from tests.support.clients.live_clients import SocketClient, StreamClient

WAYS = ("socket", "stream", "ticket")
LARGEST_AFTER = "9" * 18


@pytest.fixture(scope="module")
def streaming(web_stack: Stack) -> Iterator[Stack]:
    """Provide the web process's stack with its sockets process."""
    web_stack.start("sockets")
    yield web_stack
    web_stack.stop("sockets")


@pytest.fixture(scope="module")
def victim(streaming: Stack) -> Victim:
    """Provide a tenant whose user has events."""
    return make_victim(streaming)


class TappedConnection:
    """One live connection of either kind; it keeps every frame as text."""

    def __init__(self, streaming: Stack, way: str, token: str, query: str, **headers: str) -> None:
        self.frames: list[str] = []
        if way == "socket":
            url = f"{streaming.sockets.replace('http', 'ws', 1)}/ws{query}"
            offered = ["sluice.v1", f"sluice.token.{token}"]
            sock = websocket.create_connection(url, timeout=10, subprotocols=offered, suppress_origin=True)
            self.close, self._read = sock.shutdown, SocketClient(sock).read
            return
        if way == "stream":
            headers["Authorization"] = f"Bearer {token}"
        else:
            query += ("&" if query else "?") + f"ticket={make_ticket(streaming, token)}"
        answer = requests.get(f"{streaming.sockets}/api/stream{query}", headers=headers, stream=True, timeout=10)
        assert answer.status_code == 200, answer.text
        stream = StreamClient(answer)
        self.close, self._read = answer.close, lambda: json.loads(stream.read()["data"])

    def read_until(self, payment_id: object) -> None:
        """Read up to the completion of a payment, which must come."""
        while True:
            message: dict[str, Any] = self._read()
            self.frames.append(json.dumps(message))
            if message["type"] == "payment.completed" and message["payment"]["id"] == str(payment_id):
                return


def make_ticket(streaming: Stack, token: str) -> str:
    caller = authenticate(streaming.runtime.database, token)
    assert caller is not None
    return create_ticket(streaming.runtime, caller)[0]


def queries(victim: Victim) -> list[str]:
    """Ways to ask for the past: from now, from everywhere, and in the victim's name."""
    newest = last_number(victim.shop.runtime.database, victim.shop.tenant_id)
    places = ["", "?after=0", "?after=1", f"?after={newest - 1}", f"?after={LARGEST_AFTER}"]
    return [*places, f"?after=0&user_id={victim.user_id}&tenant_id={victim.shop.tenant_id}&token={victim.canary}"]


def pay_own(shop: Shop, user_id: str) -> object:
    """Pay a deposit of a stranger's own, which it must hear of; return the payment's id."""
    payment = shop.deposit(user_id=user_id)
    shop.deliver(shop.body(payment, provider_reference=f"own-{payment.id}"))
    settle(shop.runtime)
    return payment.id


@pytest.fixture(scope="module")
def attacker(streaming: Stack) -> Shop:
    """Provide the hostile tenant."""
    return streaming.make_shop()


@pytest.mark.parametrize("who", ["stranger", "namesake", "fellow user"])
def test_no_frame_reveals_another(streaming: Stack, victim: Victim, attacker: Shop, who: str) -> None:
    shop, user_id, hidden = {
        "stranger": (attacker, "mallory", victim.secrets),
        "namesake": (attacker, victim.user_id, victim.secrets),
        # Of the same tenant, whose provider it may know.
        "fellow user": (victim.shop, "bob", (*victim.private, victim.user_id)),
    }[who]
    with contextlib.ExitStack() as opened:
        listeners = []
        for way in WAYS:
            # All of them are more connections than one token may have.
            token = shop.token(user_id)
            for query in queries(victim):
                listener = TappedConnection(streaming, way, token, query)
                opened.callback(listener.close)
                listeners.append(listener)
        paid = victim.pay()
        marker = pay_own(shop, user_id)
        for listener in listeners:
            listener.read_until(marker)
    for listener in listeners:
        said = "".join(listener.frames)
        assert not [text for text in (*hidden, str(paid.id)) if text in said], said
        assert {json.loads(frame)["payment"]["user_id"] for frame in listener.frames[1:]} == {user_id}


def test_the_victim_hears_what_the_strangers_do_not(streaming: Stack, victim: Victim) -> None:
    token = victim.shop.token(victim.user_id)
    with contextlib.ExitStack() as opened:
        listeners = [TappedConnection(streaming, way, token, "?after=0") for way in WAYS]
        for listener in listeners:
            opened.callback(listener.close)
        paid = victim.pay()
        for listener in listeners:
            listener.read_until(paid.id)
    for listener in listeners:
        said = "".join(listener.frames)
        assert said.count(victim.canary) > 2
        assert f"declined: {victim.canary}" in said


def ask_stream(streaming: Stack, query: str = "", **headers: str) -> requests.Response:
    return requests.get(f"{streaming.sockets}/api/stream{query}", headers=headers, stream=True, timeout=10)


def test_a_strangers_token_is_not_helped_by_the_victims_ticket(
    streaming: Stack, victim: Victim, attacker: Shop
) -> None:
    ticket = make_ticket(streaming, victim.shop.token(victim.user_id))
    answer = ask_stream(streaming, f"?after=0&ticket={ticket}", Authorization=f"Bearer {attacker.token('mallory')}")
    with contextlib.closing(answer):
        stream = StreamClient(answer)
        assert stream.read()["event"] == "hello"
        marker = pay_own(attacker, "mallory")
        frame = stream.read()
        while str(marker) not in frame["data"]:
            assert json.loads(frame["data"])["payment"]["user_id"] == "mallory"
            frame = stream.read()
    # The ticket was not redeemed: the victim can still use it, once.
    with contextlib.closing(ask_stream(streaming, f"?ticket={ticket}")) as good:
        assert good.status_code == 200
    assert ask_stream(streaming, f"?ticket={ticket}").status_code == 401


def test_what_is_put_together_from_two_credentials_is_none(streaming: Stack, victim: Victim, attacker: Shop) -> None:
    theirs, own = victim.shop.token(victim.user_id), attacker.token("mallory")
    mixed = [f"{theirs.split('.')[0]}.{own.split('.')[1]}", f"{own.split('.')[0]}.{theirs.split('.')[1]}"]
    tickets = [make_ticket(streaming, theirs), make_ticket(streaming, own)]
    mixed_tickets = [tickets[0][:20] + tickets[1][20:], tickets[0][:-1], tickets[0] + tickets[1]]
    answers = [ask_stream(streaming, Authorization=f"Bearer {token}") for token in mixed]
    answers += [ask_stream(streaming, f"?ticket={ticket}") for ticket in mixed_tickets]
    for answer in answers:
        assert answer.status_code == 401
        assert not [text for text in victim.secrets if text in answer.text + str(answer.headers)]
    for token in mixed:
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            TappedConnection(streaming, "socket", token, "?after=0")
        assert refused.value.status_code == 401
    # Two good ones in one handshake name nobody.
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        TappedConnection(streaming, "socket", f"{theirs}, sluice.token.{own}", "?after=0")
    assert refused.value.status_code == 401


def test_a_page_of_the_attackers_cannot_use_the_victims_token(streaming: Stack, victim: Victim) -> None:
    elsewhere = streaming.make_shop(allowed_origins=("https://attacker.example",))
    origins = {"Origin": "https://attacker.example"}
    token = victim.shop.token(victim.user_id)
    refused = ask_stream(streaming, "?after=0", Authorization=f"Bearer {token}", **origins)
    assert refused.status_code == 403
    assert "Access-Control-Allow-Origin" not in refused.headers
    allowed = ask_stream(streaming, "?after=0", Authorization=f"Bearer {elsewhere.token('eve')}", **origins)
    with contextlib.closing(allowed):
        assert allowed.status_code == 200
    with contextlib.closing(ask_stream(streaming, Authorization=f"Bearer {token}", Origin=ORIGIN)) as own:
        assert own.status_code == 200


def test_no_log_holds_the_canary(streaming: Stack, victim: Victim) -> None:
    for name in ("web", "sockets"):
        log = streaming.log_path(name).read_text(encoding="utf-8")
        assert victim.canary not in log, name
        assert "Traceback" not in log, name
