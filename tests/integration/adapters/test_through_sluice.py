"""A deposit with each emulated provider, through web and workers: page, webhook, credit, and money that goes back."""

from __future__ import annotations

import secrets
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from app.providers.registry import load_builder
from app.services.tenants.providers import NewProvider, create_provider
from testbed.shop import ACTOR
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import Api

RETURN = {"success_url": "https://shop.example/ok", "failure_url": "https://shop.example/no"}


@dataclass(frozen=True)
class Provider:
    """A provider as an operator connects it; the base URL's path is the emulator's."""

    adapter: str
    path: str
    currency: str
    credentials: dict[str, str]
    # None: the one credential is the webhook secret.
    webhook_secret: str | None
    deposit: dict[str, Any] = field(default_factory=dict)
    # Otherwise it sends only what nobody signs, to the URL that each payment names.
    is_signed: bool = True

    @property
    def account_key(self) -> str:
        """The credential as the emulator's account has it: key and secret as basic authentication joins them."""
        return self.credentials.get("api_key") or ":".join(self.credentials.values())


def random(prefix: str = "") -> str:
    return prefix + secrets.token_hex(20)


PROVIDERS = [
    Provider("adyen", "/adyen", "EUR", {"api_key": random("AQE"), "merchant_account": "ShopECOM"}, "5F" * 32),
    Provider("gocardless", "/gocardless", "GBP", {"api_key": random("sandbox_")}, random()),
    Provider("mollie", "/mollie", "EUR", {"api_key": random("test_")}, random()),
    Provider("mollie", "/mollie", "EUR", {"api_key": random("test_")}, random(), is_signed=False),
    Provider("paypal", "/paypal", "USD", {"client_id": random("id_"), "client_secret": random()}, random()),
    Provider(
        *("paystack", "/paystack", "NGN", {"api_key": random("sk_test_")}, None),
        {"customer": {"email": "payer@example.com"}},
    ),
    Provider("razorpay", "/razorpay", "INR", {"key_id": random("rzp_test_"), "key_secret": random()}, random()),
    Provider("stripe", "/stripe", "USD", {"api_key": random("sk_test_")}, random("whsec_")),
]


class Connected:
    """A tenant whose one provider is an emulator."""

    def __init__(self, stack: Stack, provider: Provider) -> None:
        self.stack, self.provider = stack, provider
        shop = stack.make_shop()
        self.api = Api(stack.web, shop.secret_key)
        key, secret = provider.account_key, provider.webhook_secret or provider.account_key
        url = stack.sandbox.url + provider.path
        account = (url, provider.credentials, secret)
        new = NewProvider(shop.tenant_id, "real", provider.adapter, *account, is_default=True)
        provider_id, _ = create_provider(stack.runtime, new, ACTOR)
        hook = f"{stack.web}/webhooks/{provider_id}" if provider.is_signed else None
        stack.sandbox.put_merchant(provider_id, key, secret, protocol=provider.adapter, webhook_url=hook)

    def deposit(self) -> dict[str, Any]:
        """Make a deposit of 25.00, and return the payment once it has a page."""
        answer = self.api.deposit(currency=self.provider.currency, **RETURN, **self.provider.deposit)
        assert answer.status_code == 202, answer.text
        payment_id = answer.json()["id"]
        self.wait(payment_id, "redirect_url", lambda url: url is not None)
        return self.api.read(payment_id)

    def press(self, payment: dict[str, Any], button: str) -> None:
        """Press a button of the payment's page."""
        page = urllib.parse.urlsplit(payment["redirect_url"])
        form = {"token": urllib.parse.parse_qs(page.query)["token"][0]}
        url = f"{page.scheme}://{page.netloc}{page.path}/{button}"
        assert requests.post(url, form, allow_redirects=False, timeout=10).status_code == 303

    def wait(self, payment_id: str, name: str, holds: Any) -> None:
        """Wait until a field of the payment is as wanted."""
        wait_until(lambda: holds(self.api.read(payment_id)[name]), f"{name} of the payment", 30.0)

    def balance(self) -> int:
        """Return what the user has."""
        (wallet,) = self.api.get("/api/wallets/ann").json()["data"]
        return int(wallet["balance_minor"])


def makes_refunds(provider: Provider) -> bool:
    """Return whether the adapter makes refunds."""
    return load_builder(provider.adapter)(frozenset()).capabilities.can_refund


def refund(connected: Connected, payment: dict[str, Any]) -> int:
    """Ask for a refund of 4.00, and return its minor units once the provider has made it."""
    key = {"Idempotency-Key": "back"}
    made = connected.api.post(f"/api/payments/{payment['id']}/refunds", {"amount": "4.00"}, key)
    assert made.status_code == 202, made.text
    path = f"/api/refunds/{made.json()['id']}"
    wait_until(lambda: connected.api.get(path).json()["status"] == "completed", "it is refunded", 30.0)
    after = connected.api.read(payment["id"])
    assert (after["reversed_amount_minor"], after["exception"]) == (400, None)
    return 400


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.adapter)
def test_a_deposit_is_paid_credited_and_given_back(working: Stack, provider: Provider) -> None:
    connected = Connected(working, provider)
    payment = connected.deposit()
    connected.press(payment, "pay")
    connected.wait(payment["id"], "status", lambda status: status == "completed")
    paid = connected.api.read(payment["id"])
    assert (paid["received_amount"], paid["received_currency"], paid["exception"]) == ("25.00", provider.currency, None)
    assert connected.balance() == 2500
    refunded = refund(connected, payment) if makes_refunds(provider) else 0
    assert connected.balance() == 2500 - refunded
    working.sandbox.happen(payment["id"], "refund", amount="7.00")
    connected.wait(payment["id"], "reversed_amount_minor", lambda minor: minor == refunded + 700)
    assert connected.balance() == 1800 - refunded
    assert working.databases.rows("select kind, detail from dead_letters") == []
    assert {row["kind"] for row in working.databases.rows("select kind from alerts")} == {"payment_reversed"}
