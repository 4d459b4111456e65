"""The Razorpay emulator over HTTP, called and verified by Razorpay's own package."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

import pytest
import razorpay
import requests
from razorpay.errors import BadRequestError, ServerError, SignatureVerificationError

from tests.integration.emulators.emulated_shop import EmulatedShop, new_id
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import Received, WebhookReceiver


@pytest.fixture
def shop(sandbox: SandboxProcess, receiver: WebhookReceiver) -> EmulatedShop:
    return EmulatedShop(sandbox, receiver, "razorpay", f"rzp_test_{secrets.token_hex(7)}:s3cret", "a-chosen-secret")


@pytest.fixture
def client(shop: EmulatedShop) -> razorpay.Client:
    key_id, _, key_secret = shop.key.partition(":")
    return razorpay.Client(auth=(key_id, key_secret), base_url=shop.url)


def order(payment_id: str, **changes: Any) -> dict[str, Any]:
    """Return what a call for 2,500.00 INR says."""
    return {
        "amount": 250_000,
        "currency": "INR",
        "accept_partial": False,
        "reference_id": payment_id,
        "description": "Deposit",
        "expire_by": int(time.time()) + 1800,
        "callback_url": "https://shop.example/back",
        "callback_method": "get",
        "notes": {"payment_id": payment_id},
        "notify": {"sms": False, "email": False},
    } | changes


def verify(client: razorpay.Client, webhook: Received, secret: str) -> dict[str, Any]:
    """Return the body of a webhook that Razorpay's package finds good."""
    signature = webhook.headers.get("x-razorpay-signature", "")
    assert client.utility.verify_webhook_signature(webhook.body.decode(), signature, secret)
    body: dict[str, Any] = json.loads(webhook.body)
    return body


def events(shop: EmulatedShop, client: razorpay.Client, count: int) -> dict[str, dict[str, Any]]:
    """Return the payloads of the webhooks by the names of their events."""
    bodies = [verify(client, webhook, shop.secret) for webhook in shop.wait(count)]
    assert all(set(body["contains"]) == set(body["payload"]) for body in bodies)
    return {body["event"]: {name: each["entity"] for name, each in body["payload"].items()} for body in bodies}


def test_a_link_is_paid_after_an_attempt_that_failed(shop: EmulatedShop, client: razorpay.Client) -> None:
    payment_id = new_id()
    link = client.payment_link.create(order(payment_id))
    assert (link["status"], link["amount"], link["amount_paid"]) == ("created", 250_000, 0)
    assert requests.get(link["short_url"], timeout=5).status_code == 200
    shop.happen(payment_id, "decline")
    assert client.payment_link.fetch(link["id"])["status"] == "created"
    shop.happen(payment_id, "pay")
    paid = client.payment_link.fetch(link["id"])
    assert (paid["status"], paid["amount_paid"], paid["reference_id"]) == ("paid", 250_000, payment_id)
    reported = events(shop, client, 2)
    assert sorted(reported) == ["payment.failed", "payment_link.paid"]
    assert reported["payment_link.paid"]["payment_link"]["id"] == link["id"]
    assert reported["payment_link.paid"]["payment"]["id"] == paid["payments"][0]["payment_id"]
    failed = reported["payment.failed"]["payment"]
    assert (failed["status"], failed["notes"]) == ("failed", {"payment_id": payment_id})
    assert len({webhook.headers["x-razorpay-event-id"] for webhook in shop.receiver.received}) == 2


def test_a_link_is_partly_paid_cancelled_or_expires(shop: EmulatedShop, client: razorpay.Client) -> None:
    partly, cancelled, expired = ids = [new_id() for _ in range(3)]
    links = {payment_id: client.payment_link.create(order(payment_id))["id"] for payment_id in ids}
    shop.sandbox.happen(partly, "pay", amount="10.00")
    assert client.payment_link.cancel(links[cancelled])["status"] == "cancelled"
    shop.happen(expired, "expire")
    found = {payment_id: client.payment_link.fetch(link)["status"] for payment_id, link in links.items()}
    assert found == {partly: "partially_paid", cancelled: "cancelled", expired: "expired"}
    ends = ("cancelled", "expired", "partially_paid")
    assert sorted(events(shop, client, 3)) == [f"payment_link.{end}" for end in ends]
    for link in links.values():
        with pytest.raises(BadRequestError):
            client.payment_link.cancel(link)


def test_a_link_is_found_by_our_reference_which_is_unique(shop: EmulatedShop, client: razorpay.Client) -> None:
    payment_id = new_id()
    link = client.payment_link.create(order(payment_id))
    client.payment_link.create(order(new_id()))
    with pytest.raises(BadRequestError):
        client.payment_link.create(order(payment_id))
    found = client.payment_link.all({"reference_id": payment_id})["payment_links"]
    assert [each["id"] for each in found] == [link["id"]]
    assert client.payment_link.all({"reference_id": "nobody"})["payment_links"] == []
    both = client.payment_link.all({"count": 1, "skip": 1, "from": int(time.time()) - 60})["payment_links"]
    assert [each["id"] for each in both] == [link["id"]]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": "10.00"}, "amount"),
        ({"currency": "rupees"}, "currency"),
        ({"currency": "KWD", "amount": 1_001}, "amount"),
        ({"reference_id": "x" * 41}, "reference_id"),
        ({"expire_by": 1_000}, "expire_by"),
        ({"callback_method": "post"}, "callback_method"),
        ({"notes": {str(number): "v" for number in range(16)}}, "notes"),
    ],
)
def test_a_wrong_request_names_its_field(shop: EmulatedShop, changes: dict[str, Any], field: str) -> None:
    auth = tuple(shop.key.split(":"))
    answer = requests.post(shop.url + "/v1/payment_links", json=order(new_id(), **changes), auth=auth, timeout=5)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)
    assert answer.json()["error"]["code"] == "BAD_REQUEST_ERROR"


def test_refunds_are_made_listed_and_fail_later(shop: EmulatedShop, client: razorpay.Client) -> None:
    payment_id = new_id()
    link = client.payment_link.create(order(payment_id))
    shop.happen(payment_id, "pay")
    paid = client.payment_link.fetch(link["id"])["payments"][0]["payment_id"]
    refund = client.payment.refund(paid, {"amount": 70_000, "receipt": "r1"})
    assert (refund["status"], refund["amount"], refund["receipt"]) == ("processed", 70_000, "r1")
    assert [each["id"] for each in client.payment.fetch_multiple_refund(paid)["items"]] == [refund["id"]]
    reported = events(shop, client, 2)["refund.processed"]
    assert (reported["refund"]["id"], reported["payment"]["amount_refunded"]) == (refund["id"], 70_000)
    with pytest.raises(BadRequestError):
        client.payment.refund(paid, {"amount": 180_001})
    shop.happen(payment_id, "fail_refund")
    assert client.refund.fetch(refund["id"])["status"] == "failed"
    assert "refund.failed" in events(shop, client, 3)


def test_disputes_are_won_and_lost(shop: EmulatedShop, client: razorpay.Client) -> None:
    won, lost = new_id(), new_id()
    for payment_id, end in ((won, "win_dispute"), (lost, "lose_dispute")):
        client.payment_link.create(order(payment_id))
        shop.happen(payment_id, "pay", "dispute", end)
    reported = events(shop, client, 6)
    assert reported["payment.dispute.won"]["dispute"]["amount_deducted"] == 0
    assert reported["payment.dispute.lost"]["dispute"]["amount_deducted"] == 250_000
    assert reported["payment.dispute.lost"]["payment"]["notes"] == {"payment_id": lost}


def test_scripts_misbehave_in_razorpays_words(shop: EmulatedShop, client: razorpay.Client) -> None:
    payment_id = new_id()
    send = [{"signature": "forged"}, {"signature": "missing"}, {"change": {"amount": "1.00"}}, {"stray": True}]
    shop.script(payment_id, create={"status": 500, "times": 1}, webhook={"send": send})
    with pytest.raises(ServerError):
        client.payment_link.create(order(payment_id))
    client.payment_link.create(order(payment_id))
    shop.happen(payment_id, "pay")
    forged, missing, changed, stray = shop.wait(4)
    for webhook in (forged, missing):
        with pytest.raises(SignatureVerificationError):
            verify(client, webhook, shop.secret)
    assert verify(client, changed, shop.secret)["payload"]["payment_link"]["entity"]["amount_paid"] == 100
    assert verify(client, stray, shop.secret)["event"] == "payment.downtime.started"


def test_a_wrong_key_and_unknown_links_are_refused(shop: EmulatedShop, client: razorpay.Client) -> None:
    assert client.payment.all()["items"] == []
    with pytest.raises(BadRequestError):
        client.payment_link.fetch("plink_nobody")
    stranger = razorpay.Client(auth=("rzp_test_wrong", "x"), base_url=shop.url)
    with pytest.raises(BadRequestError, match="API key is wrong"):
        stranger.payment.all()
