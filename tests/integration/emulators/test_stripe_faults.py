"""The Stripe emulator's webhooks as Stripe's own package verifies them, and scripts in Stripe's spelling."""

from __future__ import annotations

import json
from typing import Any

import pytest
import stripe
from stripe import StripeClient

from tests.integration.emulators.emulated_shop import new_id
from tests.integration.emulators.stripe_shop import StripeShop, order, verify
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import WebhookReceiver


@pytest.fixture
def shop(sandbox: SandboxProcess, receiver: WebhookReceiver) -> StripeShop:
    return StripeShop(sandbox, receiver)


@pytest.fixture
def client(shop: StripeShop) -> StripeClient:
    return shop.client


def test_a_webhook_endpoint_gets_the_events_that_it_names(shop: StripeShop, client: StripeClient) -> None:
    connected = client.v1.webhook_endpoints.create(
        {"url": f"{shop.receiver.url}/connected", "enabled_events": ["checkout.session.completed"]}
    )
    payment_id = new_id()
    client.v1.checkout.sessions.create(order(payment_id))
    shop.happen(payment_id, "attempt", "pay")
    received = shop.wait(3)
    (webhook,) = [each for each in received if each.path == "/connected"]
    assert verify(shop, webhook, connected.secret).type == "checkout.session.completed"
    with pytest.raises(stripe.SignatureVerificationError):
        verify(shop, webhook)


def test_old_and_new_secret_sign_while_they_overlap(shop: StripeShop, client: StripeClient) -> None:
    shop.put(other_secrets=["whsec_old"])
    payment_id = new_id()
    client.v1.checkout.sessions.create(order(payment_id))
    shop.happen(payment_id, "pay")
    (webhook,) = shop.wait(1)
    assert verify(shop, webhook) == verify(shop, webhook, "whsec_old")
    assert webhook.headers["stripe-signature"].count(",v1=") == 2


def test_scripts_misbehave_in_stripes_words(shop: StripeShop, client: StripeClient) -> None:
    payment_id = new_id()
    send: list[dict[str, Any]] = [
        {"signature": "forged", "attempts": 1},
        {"timestamp_shift": -3600, "attempts": 1},
        {"change": {"amount": "1.00", "livemode": True}},
        {"change": {"transaction_id": "nobody", "data.object.mode": None}},
        {"opposite": True},
        {"stray": True},
    ]
    shop.script(
        payment_id,
        create={"status": 429, "times": 1},
        fetch={"show": {"status": "processing", "body.object": "x"}, "times": 1},
        webhook={"send": send, "times": 1},
    )
    with pytest.raises(stripe.RateLimitError):
        client.v1.checkout.sessions.create(order(payment_id))
    session = client.v1.checkout.sessions.create(order(payment_id))
    shown = client.v1.checkout.sessions.retrieve(session.id)
    assert (shown.status, shown.payment_status, shown.object) == ("complete", "unpaid", "x")
    shop.happen(payment_id, "pay")
    bodies = [json.loads(webhook.body) for webhook in shop.wait(6)]
    for webhook in shop.receiver.received[:2]:
        with pytest.raises(stripe.SignatureVerificationError):
            verify(shop, webhook)
    changed, renamed = (body["data"]["object"] for body in bodies[2:4])
    assert (changed["amount_total"], bodies[2]["livemode"]) == (100, True)
    assert renamed["client_reference_id"] == payment_id
    assert "mode" not in renamed
    assert [body["type"] for body in bodies[4:]] == ["checkout.session.async_payment_failed", "product.updated"]


@pytest.mark.parametrize(
    "fault", [{"answer": "timeout", "hold": 0}, {"answer": "torn"}, {"status": 500, "effect": True}]
)
def test_a_lost_answer_is_found_under_its_key(shop: StripeShop, client: StripeClient, fault: dict[str, Any]) -> None:
    payment_id = new_id()
    shop.script(payment_id, create={**fault, "times": 1})
    with pytest.raises(stripe.StripeError):
        client.v1.checkout.sessions.create(order(payment_id), {"idempotency_key": payment_id})
    client.v1.checkout.sessions.create(order(payment_id), {"idempotency_key": payment_id})
    assert len(shop.sandbox.truth(payment_id)["payments"]) == 1


def test_a_wrong_key_and_unknown_payments_are_refused(shop: StripeShop, client: StripeClient) -> None:
    stranger = shop.open_client("sk_test_wrong")
    with pytest.raises(stripe.AuthenticationError):
        stranger.v1.checkout.sessions.list()
    assert client.v1.accounts.retrieve_current().object == "account"
    for call in (client.v1.checkout.sessions.retrieve, client.v1.refunds.retrieve):
        with pytest.raises(stripe.InvalidRequestError) as error:
            call("cs_test_nobody")
        assert (error.value.http_status, error.value.code) == (404, "resource_missing")
