"""The shop's browser and the paying person, as the outside of Sluice: HTTP, a WebSocket, and the hosted pay page."""

from __future__ import annotations

import contextlib
import html
import json
import re
import time
import uuid
from typing import Any
from urllib.parse import urljoin

import requests
import websocket

from testbed.waiting import wait_until
from tests.support.supervised_stack import SupervisedStack

HTTP_SECONDS = 15.0  # A waiting request is answered after at most ten seconds.
FORM = re.compile(r'<form method="post" action="([^"]+)">\s*<input type="hidden" name="token" value="([^"]+)">')


class SocketClosed(ConnectionError):
    """The server closed the socket; `args` holds its close code."""


class Listener:
    """An open WebSocket and every message that came over it."""

    def __init__(self, stack: SupervisedStack, token: str, after: int | None = None) -> None:
        base = str(stack.run["sockets"]).replace("http", "ws", 1)
        query = "" if after is None else f"?after={after}"
        self.socket = websocket.create_connection(
            f"{base}/ws{query}", subprotocols=["sluice.v1", f"sluice.token.{token}"], timeout=HTTP_SECONDS
        )
        self.messages: list[dict[str, Any]] = []
        self.hello = self._receive()
        assert self.hello["type"] == "hello"

    def _receive(self) -> dict[str, Any]:
        kind, content = self.socket.recv_data()
        if kind == websocket.ABNF.OPCODE_CLOSE:
            raise SocketClosed(int.from_bytes(content[:2], "big"))
        message: dict[str, Any] = json.loads(content)
        return message

    def wait_for(self, kind: str, payment_id: str, seconds: float = HTTP_SECONDS) -> dict[str, Any]:
        """Return the message of this type for this payment, reading on until it is there."""
        deadline = time.monotonic() + seconds
        while True:
            for message in self.messages:
                if message["type"] == kind and message["payment"]["id"] == payment_id:
                    return message
            self.socket.settimeout(max(deadline - time.monotonic(), 0.01))
            self.messages.append(self._receive())

    def types(self, payment_id: str) -> list[str]:
        """Return the types of the payment's messages so far, in the order in which they came."""
        return [message["type"] for message in self.messages if message["payment"]["id"] == payment_id]

    def close(self) -> None:
        """Close the socket, also where the other side is gone."""
        with contextlib.suppress(OSError, websocket.WebSocketException):
            self.socket.close()
        # A farewell to nobody raises before the descriptor is given back.
        self.socket.shutdown()  # type: ignore[no-untyped-call]


class Frontend:
    """One user of the demo tenant with a client token, as the shop's page has it."""

    def __init__(self, stack: SupervisedStack) -> None:
        self.stack = stack
        self.user_id = f"user-{uuid.uuid4().hex[:12]}"
        self.http = requests.Session()
        self.http.trust_env = False
        answer = self.http.post(
            f"{stack.run['web']}/api/client-tokens",
            json={"user_id": self.user_id},
            headers={"Authorization": f"Bearer {stack.run['secret_key']}"},
            timeout=HTTP_SECONDS,
        )
        assert answer.status_code == 201, answer.text
        self.token: str = answer.json()["token"]
        self.http.headers["Authorization"] = f"Bearer {self.token}"

    def post(self, path: str, body: object = None, **headers: str) -> requests.Response:
        """Post JSON to the web server."""
        url = self.stack.run["web"] + path
        return self.http.post(url, json={} if body is None else body, headers=headers, timeout=HTTP_SECONDS)

    def get(self, path: str) -> Any:
        """Get JSON from the web server; fails on anything but 200."""
        answer = self.http.get(self.stack.run["web"] + path, timeout=HTTP_SECONDS)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def timeline(self, payment_id: str) -> list[dict[str, Any]]:
        """Return a payment's whole timeline, which the shop's backend may read."""
        headers = {"Authorization": f"Bearer {self.stack.run['secret_key']}"}
        url = f"{self.stack.run['web']}/api/payments/{payment_id}/timeline"
        answer = self.http.get(url, headers=headers, timeout=HTTP_SECONDS)
        assert answer.status_code == 200, answer.text
        events: list[dict[str, Any]] = answer.json()["data"]
        return events

    def ask(self, amount: str = "25.00", currency: str = "USD", **more: Any) -> requests.Response:
        """Make one deposit call; `wait` seconds as `Prefer`, `key` as idempotency key."""
        headers = {"Idempotency-Key": more.pop("key", None) or str(uuid.uuid4())}
        if wait := more.pop("wait", 0):
            headers["Prefer"] = f"wait={wait}"
        return self.post("/api/payments/deposit", {"amount": amount, "currency": currency, **more}, **headers)

    def deposit(self, amount: str = "25.00", currency: str = "USD", **more: Any) -> dict[str, Any]:
        """Make a deposit and return the payment once its pay page is known."""
        answer = self.ask(amount, currency, wait=10, **more)
        assert answer.status_code == 201, answer.text
        payment: dict[str, Any] = answer.json()
        return payment

    def payment(self, payment_id: str) -> dict[str, Any]:
        """Return the payment as it is now."""
        payment: dict[str, Any] = self.get(f"/api/payments/{payment_id}")
        return payment

    def wait_until_status(self, payment_id: str, status: str, seconds: float = 30.0) -> dict[str, Any]:
        """Return the payment once it has the status."""
        return wait_until(
            lambda: found if (found := self.payment(payment_id))["status"] == status else None,
            f"payment {payment_id} is {status}",
            seconds,
        )

    def wallet(self, currency: str = "USD") -> dict[str, Any]:
        """Return the user's wallet in one currency; an empty one where there is none."""
        wallets = self.get(f"/api/wallets/{self.user_id}")["data"]
        found: dict[str, Any] = next((wallet for wallet in wallets if wallet["currency"] == currency), {})
        return found

    def entries(self) -> list[dict[str, Any]]:
        """Return the wallet's entries, newest first."""
        entries: list[dict[str, Any]] = self.get(f"/api/wallets/{self.user_id}/transactions")["data"]
        return entries

    def listen(self, after: int | None = None) -> Listener:
        """Open the live connection."""
        return Listener(self.stack, self.token, after)


class PayPage:
    """The hosted pay page of a payment, as the paying person's browser has it open."""

    def __init__(self, redirect_url: str) -> None:
        self.http = requests.Session()
        self.http.trust_env = False
        self.answer = self.http.get(redirect_url, timeout=HTTP_SECONDS)
        assert self.answer.status_code == 200, self.answer.text
        self.url = redirect_url

    def press(self, button: str) -> str:
        """Presses Pay, Decline or Cancel and returns where the browser is sent."""
        for action, token in FORM.findall(self.answer.text):
            if html.unescape(action).endswith(f"/{button.lower()}"):
                url = urljoin(self.url, html.unescape(action))
                sent = self.http.post(
                    url, data={"token": html.unescape(token)}, allow_redirects=False, timeout=HTTP_SECONDS
                )
                assert sent.status_code == 303, sent.text
                return sent.headers["Location"]
        raise AssertionError(f"no {button} button on the page")


def assert_credited_once(stack: SupervisedStack, payment_id: str, amount_minor: int) -> None:
    """Fails unless the payment has exactly one credit of this amount, with its counter-entry (I1, I3)."""
    entries = stack.rows(
        "select w.kind, e.direction, e.amount_minor, e.type from wallet_transactions e"
        " join wallets w on w.id = e.wallet_id where e.payment_id = :id order by w.kind desc",
        id=payment_id,
    )
    assert [tuple(entry.values()) for entry in entries] == [
        ("user", 1, amount_minor, "deposit"),
        ("clearing", -1, amount_minor, "deposit"),
    ]
