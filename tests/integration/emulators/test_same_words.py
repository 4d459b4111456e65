"""Every behaviour is demanded of every emulator in the same words: of creating, of paying and of webhooks."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import requests

from tests.integration.emulators.emulated_shop import EmulatedShop, new_id
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import WebhookReceiver

NAMED = "payment_id"


class Emulator(NamedTuple):
    """How one emulator's payment is created, and where its errors say what is wrong."""

    key: str
    path: str
    body: Callable[[str], dict[str, Any]]
    error_at: tuple[str, ...]


def stripe(payment_id: str) -> dict[str, Any]:
    item = "line_items[0]"
    return {
        "mode": "payment",
        f"{item}[quantity]": "1",
        f"{item}[price_data][currency]": "usd",
        f"{item}[price_data][unit_amount]": "2500",
        f"{item}[price_data][product_data][name]": "Deposit",
        "success_url": "https://shop.example/ok",
        "client_reference_id": payment_id,
    }


EMULATORS = {
    "stripe": Emulator("sk_test_", "/v1/checkout/sessions", stripe, ("error", "message")),
    "mollie": Emulator(
        "test_",
        "/v2/payments",
        lambda payment_id: {
            "amount": {"currency": "EUR", "value": "25.00"},
            "description": "Deposit",
            "redirectUrl": "https://shop.example/ok",
            "metadata": {NAMED: payment_id},
        },
        ("detail",),
    ),
    "paystack": Emulator(
        "sk_test_",
        "/transaction/initialize",
        lambda payment_id: {"email": "payer@example.com", "amount": 2500, "reference": payment_id},
        ("message",),
    ),
    "razorpay": Emulator(
        "rzp_test_",
        "/v1/payment_links",
        lambda payment_id: {"amount": 2500, "currency": "INR", "reference_id": payment_id},
        ("error", "description"),
    ),
    "adyen": Emulator(
        "AQE",
        "/v71/paymentLinks",
        lambda payment_id: {
            "merchantAccount": "ShopECOM",
            "amount": {"currency": "EUR", "value": 2500},
            "reference": payment_id,
        },
        ("message",),
    ),
    "gocardless": Emulator(
        "sandbox_",
        "/billing_requests",
        lambda payment_id: {
            "billing_requests": {
                "payment_request": {"amount": 2500, "currency": "GBP"},
                "metadata": {NAMED: payment_id},
            }
        },
        ("error", "message"),
    ),
    "paypal": Emulator(
        "client_",
        "/v2/checkout/orders",
        lambda payment_id: {
            "intent": "CAPTURE",
            "purchase_units": [{"amount": {"currency_code": "USD", "value": "25.00"}, "custom_id": payment_id}],
        },
        ("message",),
    ),
}


@pytest.fixture(params=sorted(EMULATORS))
def shop(request: pytest.FixtureRequest, sandbox: SandboxProcess, receiver: WebhookReceiver) -> EmulatedShop:
    key = EMULATORS[request.param].key + secrets.token_hex(16)
    key += ":secret" if request.param in ("paypal", "razorpay") else ""
    return EmulatedShop(sandbox, receiver, request.param, key, secrets.token_hex(32))


def authorize(shop: EmulatedShop) -> str:
    """Return the header with the account's credential, or with a token that it was exchanged for."""
    basic = f"Basic {base64.b64encode(shop.key.encode()).decode()}"
    if shop.protocol != "paypal":
        return basic if ":" in shop.key else f"Bearer {shop.key}"
    answer = requests.post(f"{shop.url}/v1/oauth2/token", headers={"Authorization": basic}, timeout=10)
    return f"Bearer {answer.json()['access_token']}"


def create(shop: EmulatedShop, payment_id: str) -> requests.Response:
    """Make a create call with every kind of credential, of which each emulator reads its own."""
    emulator = EMULATORS[shop.protocol]
    headers = {"Authorization": authorize(shop), "X-API-Key": shop.key}
    headers |= dict.fromkeys(("Idempotency-Key", "PayPal-Request-Id"), payment_id)
    body = {"data" if shop.protocol == "stripe" else "json": emulator.body(payment_id)}
    return requests.post(shop.url + emulator.path, headers=headers, timeout=10, allow_redirects=False, **body)


@pytest.mark.parametrize("fault", [{"answer": "timeout", "hold": 0}, {"answer": "torn"}])
def test_an_answer_is_lost_after_the_effect(shop: EmulatedShop, fault: dict[str, Any]) -> None:
    payment_id = new_id()
    shop.script(payment_id, create={**fault, "times": 1})
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        create(shop, payment_id)
    create(shop, payment_id)
    truth = shop.sandbox.truth(payment_id)
    assert (len(truth["payments"]), truth["create_calls"][0]["calls"]) == (1, 2)


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_an_error_has_the_providers_form_and_then_all_is_well(shop: EmulatedShop, status: int) -> None:
    payment_id = new_id()
    shop.script(payment_id, create={"status": status, "message": "as scripted", "retry_after": 3, "times": 1})
    refused = create(shop, payment_id)
    assert (refused.status_code, refused.headers["Retry-After"]) == (status, "3")
    found = refused.json()
    for name in EMULATORS[shop.protocol].error_at:
        found = found[name]
    assert found == "as scripted"
    assert create(shop, payment_id).status_code in (200, 201)
    assert len(shop.sandbox.truth(payment_id)["payments"]) == 1


def test_a_payment_goes_the_same_ways(shop: EmulatedShop) -> None:
    ways = {
        ("attempt", "pay"): ("paid", 2500, 0),
        ("commit", "pay"): ("paid", 2500, 0),
        ("commit", "decline"): ("declined", 0, 0),
        ("cancel",): ("cancelled", 0, 0),
        ("expire",): ("expired", 0, 0),
        ("pay", "refund", "fail_refund"): ("paid", 2500, 0),
        ("pay", "dispute", "win_dispute"): ("paid", 2500, 0),
        ("pay", "dispute", "lose_dispute"): ("paid", 2500, 2500),
    }
    for actions, (status, received, gone) in ways.items():
        payment_id = new_id()
        create(shop, payment_id)
        shop.happen(payment_id, *actions)
        (truth,) = shop.sandbox.truth(payment_id)["payments"]
        assert (truth["status"], truth["received_minor"]) == (status, received), actions
        assert truth["refunded_minor"] + truth["disputed_minor"] == gone, actions


def test_webhooks_are_lost_doubled_late_malformed_and_sent_again(shop: EmulatedShop) -> None:
    lost, sent = new_id(), new_id()
    send = [{"copies": 2}, {"delay": 0.1, "body": "malformed"}, {"stray": True}]
    shop.script(lost, webhook={"send": []})
    shop.script(sent, webhook={"send": send})
    for payment_id in (lost, sent):
        create(shop, payment_id)
        shop.happen(payment_id, "pay")
    first, second, malformed, stray = (webhook.body for webhook in shop.wait(4))
    assert first == second
    with pytest.raises(json.JSONDecodeError):
        json.loads(malformed)
    assert json.loads(stray) != json.loads(first)
    assert shop.sandbox.deliveries(lost) == []
    delivery = shop.sandbox.deliveries(sent)[0]
    assert requests.post(f"{shop.sandbox.url}/control/deliveries/{delivery['id']}/resend", timeout=5).status_code == 200
    assert shop.wait(5)[4].body == first


def test_webhooks_come_in_reversed_order(shop: EmulatedShop) -> None:
    payment_id = new_id()
    shop.script(payment_id, webhook={"reverse": 2})
    create(shop, payment_id)
    shop.happen(payment_id, "pay", "refund")
    # Stripe sends two events about a refund.
    deliveries = shop.sandbox.deliveries(payment_id)
    assert {delivery["event"] for delivery in deliveries[1:]} == {"refunded"}
    shop.wait(len(deliveries))
    order = [json.loads(webhook.body) for webhook in shop.receiver.received]
    # What Adyen signs stands in the body itself.
    for body in order if shop.protocol == "adyen" else ():
        body["notificationItems"][0]["NotificationRequestItem"]["additionalData"].pop("hmacSignature")
    assert order == [json.loads(delivery["body"]) for delivery in reversed(deliveries)]
