"""A shop's provider whose notifications nobody signs: Mollie, with its emulator or with nobody behind it."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass
from typing import Any

import requests

from app.core.payment import Payment
from app.providers.credentials import API_KEY
from app.providers.poke_urls import new_token
from app.services.tenants import providers
from app.services.tenants.providers import NewProvider
from testbed.shop import ACTOR, NOWHERE, Shop
from testbed.stack import Stack

FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class MollieProvider:
    """A provider of `shop`; who knows `token` may send it pokes."""

    web: str
    shop: Shop
    id: uuid.UUID
    token: str
    secret: str
    api_key: str

    @property
    def url(self) -> str:
        """The URL of its pokes."""
        return f"{self.web}/webhooks/{self.id}/{self.token}"

    def poke(self, body: str | bytes, url: str | None = None, headers: dict[str, str] = FORM) -> requests.Response:
        """Send a notification; a text is the reference that it names."""
        sent = body if isinstance(body, bytes) else f"id={body}".encode()
        return requests.post(url or self.url, data=sent, headers=headers, timeout=20)

    def deposit(self, amount: str = "25.00", **more: Any) -> Payment:
        """Make a payment with this provider."""
        chosen = {"provider_id": self.id, "success_url": "https://shop.example/ok"} | more
        return self.shop.deposit(amount, "EUR", **chosen)


def make_mollie(stack: Stack, shop: Shop, url: str = NOWHERE) -> MollieProvider:
    """Make the provider, and its account at the emulator where the stack's sandbox runs."""
    api_key, token = f"test_{secrets.token_hex(16)}", new_token()
    if "sandbox" in stack.running:
        url = f"{stack.sandbox.url}/mollie"
    secret = secrets.token_hex(16)
    new = NewProvider(shop.tenant_id, "mollie", "mollie", url, {API_KEY: api_key}, secret, poke_token=token)
    provider_id, _ = providers.create_provider(shop.runtime, new, ACTOR)
    if "sandbox" in stack.running:
        webhook_url = f"{stack.web}/webhooks/{provider_id}"
        stack.sandbox.put_merchant(
            f"mollie-{provider_id}", api_key, secret, provider_id, protocol="mollie", webhook_url=webhook_url
        )
    return MollieProvider(stack.web, shop, provider_id, token, secret, api_key)
