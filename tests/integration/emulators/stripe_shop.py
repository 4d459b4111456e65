"""A shop with an account at the Stripe emulator, which speaks by Stripe's own package."""

from __future__ import annotations

import secrets
import time
from typing import Any

import stripe
from stripe import StripeClient

from tests.integration.emulators.emulated_shop import EmulatedShop
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import Received, WebhookReceiver


class StripeShop(EmulatedShop):
    """One account of a test's own, with a client."""

    def __init__(self, sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
        key, secret = f"sk_test_{secrets.token_hex(12)}", f"whsec_{secrets.token_hex(16)}"
        super().__init__(sandbox, receiver, "stripe", key, secret)
        self.client = self.open_client(key)

    def open_client(self, key: str) -> StripeClient:
        """Return Stripe's client with a key."""
        return StripeClient(key, base_addresses={"api": self.url}, max_network_retries=0)


def order(payment_id: str, **changes: Any) -> dict[str, Any]:
    """Return what a create call for 25.00 USD says."""
    price = {"currency": "usd", "unit_amount": 2500, "product_data": {"name": "Deposit"}}
    return {
        "mode": "payment",
        "line_items": [{"quantity": 1, "price_data": price}],
        "client_reference_id": payment_id,
        "metadata": {"payment_id": payment_id},
        "payment_intent_data": {"metadata": {"payment_id": payment_id}},
        "success_url": "https://shop.example/ok?s={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://shop.example/no",
        "expires_at": int(time.time()) + 1800,
    } | changes


def verify(shop: StripeShop, webhook: Received, secret: str | None = None) -> stripe.Event:
    """Return the event of a webhook that Stripe's package finds good."""
    return stripe.Webhook.construct_event(webhook.body, webhook.headers["stripe-signature"], secret or shop.secret)


def types(shop: StripeShop, count: int) -> list[str]:
    """Return the names of the events that the shop got, sorted."""
    return sorted(verify(shop, webhook).type for webhook in shop.wait(count))
