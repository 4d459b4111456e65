"""A sandbox process of a test's own, and orders at it."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from standardwebhooks import Webhook

from app.local.spawn import reserve_ports
from testbed.sandbox_control import SandboxControl
from testbed.waiting import wait_until
from tests.support.repository import ROOT
from tests.support.webhook_receiver import Received, WebhookReceiver

# A cold interpreter on a busy two-core machine needs a few seconds; nothing here takes longer unless it is broken.
DEADLINE_SECONDS = 15.0
# Short waits, so that a retry is seen within a test; the honest schedule is an hour long.
RETRY_SECONDS = "0.2,0.2,0.2"


class SandboxProcess(SandboxControl):
    """A sandbox with one merchant, `shop`, started as an operator starts it, and calls as that merchant."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        (self.port,) = reserve_ports(1)
        super().__init__(f"http://127.0.0.1:{self.port}")
        self.key = "key_" + secrets.token_hex(8)
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self.environment = {"SANDBOX_RETRY_SECONDS": RETRY_SECONDS, **environment}
        self._log = (folder / "sandbox.log").open("ab")
        self.start()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        environment = os.environ | {
            "SANDBOX_DATA": str(self.folder / "data"),
            "SLUICE_SANDBOX_PORT": str(self.port),
            **self.environment,
        }
        for unwanted in ("SLUICE_BIND", "SLUICE_SANDBOX_PUBLIC_URL"):
            environment.pop(unwanted, None)
        command = [sys.executable, "-m", "sandbox"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=self._log, stderr=self._log, start_new_session=True
        )
        wait_until(self._answers, "the sandbox answers")
        if "SANDBOX_CONTROL_KEY" not in self.environment:
            self.put_merchant("shop", self.key, self.secret)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.folder / "sandbox.log").read_text()
        try:
            return requests.get(self.url + "/health", timeout=2).status_code == 200
        except requests.ConnectionError:
            return False

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> None:
        """End the process and its worker, and wait until both are gone."""
        if self._process.poll() is None:
            if kind == signal.SIGKILL:
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.send_signal(kind)
            self._process.wait(DEADLINE_SECONDS)

    def close(self) -> None:
        """End everything."""
        self.stop()
        self._log.close()

    def post(self, path: str, body: object = None, key: str | None = None) -> requests.Response:
        """Post JSON to the API, with an API key if one is given."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return requests.post(self.url + path, json={} if body is None else body, headers=headers, timeout=20)

    def get(self, path: str, **query: str) -> Any:
        """Get JSON as the merchant."""
        return self.fetch(path, **query).json()

    def fetch(self, path: str, **query: str) -> requests.Response:
        """Get an answer as the merchant."""
        return requests.get(self.url + path, params=query, headers={"Authorization": f"Bearer {self.key}"}, timeout=20)

    def create(
        self, order: Mapping[str, Any], idempotency_key: str | None = None, timeout: float = 20
    ) -> requests.Response:
        """Make one create call as the merchant."""
        headers = {
            "Authorization": f"Bearer {self.key}",
            "Idempotency-Key": idempotency_key or str(order["merchant_reference"]),
        }
        return requests.post(
            self.url + "/v1/payments", json=order, headers=headers, timeout=timeout, allow_redirects=False
        )

    def payment(self, **order: Any) -> dict[str, Any]:
        """Create a payment that must succeed and give it."""
        answer = self.create(new_order(**order))
        assert answer.status_code == 201, answer.text
        payment: dict[str, Any] = answer.json()
        return payment


def callback_urls(receiver: WebhookReceiver) -> dict[str, str]:
    """Give callback URLs whose paths say which of them was called."""
    return {kind: f"{receiver.url}/{kind}" for kind in ("success", "failed", "callback", "provider")}


def new_order(**changes: Any) -> dict[str, Any]:
    """Give the body of a create call for 25.00 USD with a merchant reference of its own."""
    return {
        "amount": "25.00",
        "currency": "USD",
        "merchant_reference": str(uuid.uuid4()),
        "success_url": None,
        "failure_url": None,
        "callback_urls": {},
        "metadata": {},
        "expires_at": None,
    } | changes


def scripted_order(sandbox: SandboxProcess, receiver: WebhookReceiver | None = None, **sections: Any) -> dict[str, Any]:
    """Give an order of its own with a script stored for it."""
    order = new_order(callback_urls={} if receiver is None else callback_urls(receiver))
    sandbox.script(match={"merchant_reference": order["merchant_reference"]}, **sections)
    return order


def pay(sandbox: SandboxProcess, order: dict[str, Any], action: str = "pay") -> dict[str, Any]:
    """Create the order and act on it."""
    payment: dict[str, Any] = sandbox.create(order).json()
    assert sandbox.post(f"/v1/payments/{payment['reference']}/{action}").status_code == 200
    return payment


def body_of(sandbox: SandboxProcess, webhook: Received) -> dict[str, Any]:
    """Give the body of a rightly signed webhook."""
    body: dict[str, Any] = Webhook(sandbox.secret).verify(webhook.body, webhook.headers)
    return body


def stored(sandbox: SandboxProcess, order: dict[str, Any]) -> int:
    """Give how many payments the sandbox really has for the order."""
    return len(sandbox.truth(order["merchant_reference"])["payments"])
