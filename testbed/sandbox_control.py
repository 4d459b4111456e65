"""A client of a running sandbox: its control API and the actions of payers (docs/SANDBOX.md)."""

from __future__ import annotations

import uuid
from typing import Any

import requests

from testbed.waiting import StackError

# A scripted answer of the sandbox may take its time.
ANSWER_SECONDS = 20.0


class SandboxControl:
    """The sandbox at `url`. Every call raises StackError unless it is answered 200."""

    def __init__(self, url: str) -> None:
        self.url = url

    def put_merchant(
        self, name: object, api_key: str, webhook_secret: str, provider_id: object = "sandbox", **emulated: Any
    ) -> None:
        """Create or update a merchant's account; `protocol`, `webhook_url`, `other_secrets` for one of an emulator."""
        account = {"api_key": api_key, "provider_id": str(provider_id), "webhook_secret": webhook_secret, **emulated}
        self._call("PUT", f"/control/merchants/{name}", json=account)

    def happen(self, name: object, action: str, **words: Any) -> dict[str, Any]:
        """Let an action of scripts happen now to the payment of that reference, ours or the merchant's."""
        return self._call("POST", f"/control/payments/{name}/{action}", json=words)

    def script(self, **script: Any) -> dict[str, Any]:
        """Store a script that makes the sandbox misbehave, and return it."""
        return self._call("PUT", "/control/script", json=script)

    def act(self, reference: str, action: str, **body: Any) -> dict[str, Any]:
        """Pay, decline, cancel or refund as the customer does; return the payment."""
        return self._call("POST", f"/v1/payments/{reference}/{action}", json=body)

    def truth(self, payment_id: uuid.UUID | str) -> dict[str, Any]:
        """Return the sandbox's own record of one of our payments: `{payments, create_calls}`."""
        return self._call("GET", "/control/truth", params={"merchant_reference": str(payment_id)})

    def deliveries(self, payment_id: uuid.UUID | str) -> list[dict[str, Any]]:
        """Return the webhooks sent for one of our payments, with each attempt's answer."""
        query = {"merchant_reference": str(payment_id), "limit": "100"}
        sent: list[dict[str, Any]] = self._call("GET", "/control/deliveries", params=query)["data"]
        return sent

    def attempts(self, payment_id: uuid.UUID | str) -> list[int | None]:
        """Return the status that each attempt to deliver was answered with, None for no answer."""
        return [attempt["status"] for sent in self.deliveries(payment_id) for attempt in sent["attempts"]]

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = requests.request(method, self.url + path, timeout=ANSWER_SECONDS, **options)
        if answer.status_code != 200:
            raise StackError(f"{method} {answer.url}: {answer.status_code} {answer.text}")
        return dict(answer.json())
