"""HTTP calls of a stack's demo tenant and of its provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import requests

from testbed.shop import sign_webhook
from tests.support.clients.api import Api


class TenantClient:
    """The tenant of a run.json, as its backend and its provider call the stack."""

    def __init__(self, run: Mapping[str, Any]) -> None:
        self._run = run
        self.api = Api(run["web"], run["secret_key"])

    def deposit(self, user_id: str, **headers: str) -> dict[str, Any]:
        """Make a deposit of 25.00 USD and return the payment."""
        answer = self.api.deposit(user_id=user_id, headers=headers)
        assert answer.status_code in (201, 202), answer.text
        payment: dict[str, Any] = answer.json()
        return payment

    def deliver(self, payment_id: str, secret: str | None = None, **changes: object) -> requests.Response:
        """Deliver a webhook that says the payment was paid, changed as given; signed with the provider's secret."""
        paid = {"event_type": "payment.success", "status": "success", "amount": "25.00", "currency": "USD"}
        fields = {"provider_id": self._run["provider_id"], "transaction_id": payment_id, **paid, **changes}
        body = json.dumps(fields).encode()
        headers = sign_webhook(secret or self._run["webhook_secret"], body)
        return requests.post(f"{self._run['web']}/webhooks/payment-success", data=body, headers=headers, timeout=20)

    def is_completed(self, payment_id: str) -> bool:
        """Return whether a payment was credited."""
        return bool(self.api.read(payment_id)["status"] == "completed")
