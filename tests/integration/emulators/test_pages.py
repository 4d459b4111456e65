"""The pay page of emulated payments: what a button does is the provider's way."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.integration.emulators.emulated_shop import EmulatedShop, new_id
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import WebhookReceiver

BACK, AWAY = "https://shop.example/ok", "https://shop.example/no"
STRIPE = {
    "mode": "payment",
    "line_items[0][quantity]": "1",
    "line_items[0][price_data][currency]": "usd",
    "line_items[0][price_data][unit_amount]": "2500",
    "line_items[0][price_data][product_data][name]": "Deposit",
    "success_url": BACK + "?s={CHECKOUT_SESSION_ID}",
    "cancel_url": AWAY,
}
MOLLIE = {
    "amount": {"currency": "EUR", "value": "25.00"},
    "description": "Deposit",
    "redirectUrl": BACK,
    "cancelUrl": AWAY,
}
PAYSTACK = {"email": "payer@example.com", "amount": 2500, "callback_url": BACK}


class Opened:
    """A payment of one emulator with its page open."""

    def __init__(self, sandbox: SandboxProcess, receiver: WebhookReceiver, protocol: str) -> None:
        prefix = {"mollie": "test_"}.get(protocol, "sk_test_")
        shop = EmulatedShop(sandbox, receiver, protocol, prefix + secrets.token_hex(16), secrets.token_hex(16))
        self.sandbox, self.payment_id = sandbox, new_id()
        headers = {"Authorization": f"Bearer {shop.key}"}
        if protocol == "stripe":
            form = STRIPE | {"client_reference_id": self.payment_id}
            created = requests.post(shop.url + "/v1/checkout/sessions", form, headers=headers, timeout=5).json()
            self.reference, self.page = created["id"], created["url"]
        elif protocol == "mollie":
            body: dict[str, Any] = MOLLIE | {"metadata": {"payment_id": self.payment_id}}
            created = requests.post(shop.url + "/v2/payments", json=body, headers=headers, timeout=5).json()
            self.reference, self.page = created["id"], created["_links"]["checkout"]["href"]
        else:
            body = PAYSTACK | {"reference": self.payment_id}
            created = requests.post(shop.url + "/transaction/initialize", json=body, headers=headers, timeout=5).json()
            self.reference, self.page = self.payment_id, created["data"]["authorization_url"]

    def press(self, action: str) -> str:
        """Press a button and return where the browser is led."""
        split = urlsplit(self.page)
        url = f"{split.scheme}://{split.netloc}{split.path}/{action}"
        form = {"token": parse_qs(split.query)["token"][0]}
        answer = requests.post(url, form, allow_redirects=False, timeout=5)
        assert answer.status_code == 303
        return answer.headers["Location"]

    @property
    def status(self) -> str:
        """What is true of the payment."""
        return str(self.sandbox.truth(self.payment_id)["payments"][0]["status"])


@pytest.mark.parametrize("protocol", ["stripe", "paystack"])
def test_a_declined_payer_tries_again(sandbox: SandboxProcess, receiver: WebhookReceiver, protocol: str) -> None:
    opened = Opened(sandbox, receiver, protocol)
    assert opened.press("decline").startswith("/pay/")
    assert "You can try again." in requests.get(opened.page, timeout=5).text
    assert opened.status == "open"
    added = {"stripe": f"?s={opened.reference}", "paystack": f"?trxref={opened.reference}&reference={opened.reference}"}
    assert opened.press("pay") == BACK + added[protocol]
    assert opened.status == "paid"


@pytest.mark.parametrize(
    ("protocol", "action", "target", "status"),
    [
        ("stripe", "cancel", AWAY, "open"),
        ("mollie", "cancel", AWAY, "cancelled"),
        ("mollie", "decline", AWAY, "declined"),
        ("mollie", "commit", BACK, "processing"),
        ("mollie", "pay", BACK, "paid"),
    ],
)
def test_a_button_leads_back_and_ends_what_the_provider_ends(
    sandbox: SandboxProcess, receiver: WebhookReceiver, protocol: str, action: str, target: str, status: str
) -> None:
    opened = Opened(sandbox, receiver, protocol)
    assert opened.press(action) == target
    assert opened.status == status


def test_the_page_offers_a_slow_method(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    opened = Opened(sandbox, receiver, "stripe")
    assert "Pay by bank, settled later" in requests.get(opened.page, timeout=5).text
    opened.press("commit")
    assert opened.status == "processing"
    assert "Pay by bank, settled later" not in requests.get(opened.page, timeout=5).text
