"""A shop with an account at one of the sandbox's emulators."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import Received, WebhookReceiver


class EmulatedShop:
    """One account of a test's own, whose webhooks go to `receiver`."""

    def __init__(
        self, sandbox: SandboxProcess, receiver: WebhookReceiver, protocol: str, api_key: str, secret: str
    ) -> None:
        self.sandbox, self.receiver = sandbox, receiver
        self.protocol, self.key, self.secret = protocol, api_key, secret
        self.url = f"{sandbox.url}/{protocol}"
        self.name = f"{protocol}-{secrets.token_hex(4)}"
        self.put()

    def put(self, **changes: Any) -> None:
        """Store the account with changes."""
        account = {"protocol": self.protocol, "webhook_url": f"{self.receiver.url}/{self.protocol}"} | changes
        self.sandbox.put_merchant(self.name, self.key, self.secret, **account)

    def script(self, payment_id: str, **sections: Any) -> None:
        """Store a script for one payment."""
        self.sandbox.script(match={"merchant_reference": payment_id}, **sections)

    def happen(self, payment_id: str, *actions: str) -> None:
        """Let actions happen to a payment, one after the other."""
        for action in actions:
            self.sandbox.happen(payment_id, action)

    def wait(self, count: int) -> list[Received]:
        """Return the webhooks that this account got, once there are `count`."""
        return self.receiver.wait_for(count)


def new_id() -> str:
    """Return a payment id as a merchant makes it."""
    return str(uuid.uuid4())
