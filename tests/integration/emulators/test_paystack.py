"""The Paystack emulator over HTTP."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from typing import Any

import pytest
import requests

from testbed.waiting import wait_until
from tests.integration.emulators.emulated_shop import EmulatedShop, new_id
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import Received, WebhookReceiver


@pytest.fixture
def shop(sandbox: SandboxProcess, receiver: WebhookReceiver) -> EmulatedShop:
    key = f"sk_test_{secrets.token_hex(20)}"
    return EmulatedShop(sandbox, receiver, "paystack", key, key)


def call(shop: EmulatedShop, method: str, path: str, body: object = None, **query: Any) -> requests.Response:
    """Make a call."""
    headers = {"Authorization": f"Bearer {shop.key}"}
    return requests.request(method, shop.url + path, json=body, params=query, headers=headers, timeout=10)


def order(payment_id: str, **changes: Any) -> dict[str, Any]:
    """Return what a call for 2,500.00 NGN says."""
    return {
        "email": "payer@example.com",
        "amount": 250_000,
        "currency": "NGN",
        "reference": payment_id,
        "callback_url": "https://shop.example/back",
        "metadata": {"basket": "7"},
    } | changes


def create(shop: EmulatedShop, payment_id: str) -> dict[str, Any]:
    """Create a transaction."""
    answer = call(shop, "POST", "/transaction/initialize", order(payment_id))
    assert (answer.status_code, answer.json()["status"]) == (200, True), answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def read(shop: EmulatedShop, payment_id: str) -> dict[str, Any]:
    """Return the transaction."""
    data: dict[str, Any] = call(shop, "GET", f"/transaction/verify/{payment_id}").json()["data"]
    return data


def is_signed(webhook: Received, key: str) -> bool:
    """Whether a webhook is signed with the key, computed as Paystack documents it."""
    made = hmac.new(key.encode(), webhook.body, hashlib.sha512).hexdigest()
    return hmac.compare_digest(made, webhook.headers.get("x-paystack-signature", ""))


def events(shop: EmulatedShop, count: int) -> list[dict[str, Any]]:
    """Return the bodies of well-signed webhooks, sorted by the names of their events."""
    received = shop.wait(count)
    assert all(is_signed(webhook, shop.key) for webhook in received)
    return sorted((json.loads(webhook.body) for webhook in received), key=lambda body: str(body["event"]))


def test_a_transaction_is_paid_and_found_by_our_reference(shop: EmulatedShop) -> None:
    payment_id = new_id()
    access = create(shop, payment_id)
    assert access["reference"] == payment_id
    assert requests.get(access["authorization_url"], timeout=5).status_code == 200
    assert read(shop, payment_id)["status"] == "abandoned"
    shop.happen(payment_id, "decline")
    assert read(shop, payment_id)["status"] == "failed"
    shop.happen(payment_id, "commit")
    assert read(shop, payment_id)["status"] == "pending"
    shop.happen(payment_id, "pay")
    paid = read(shop, payment_id)
    assert (paid["status"], paid["amount"], paid["currency"], paid["domain"]) == ("success", 250_000, "NGN", "test")
    assert paid["metadata"] == {"basket": "7"}
    (event,) = events(shop, 1)
    assert (event["event"], event["data"]) == ("charge.success", paid)


def test_a_second_transaction_of_one_reference_is_refused(shop: EmulatedShop) -> None:
    payment_id = new_id()
    create(shop, payment_id)
    again = call(shop, "POST", "/transaction/initialize", order(payment_id))
    assert (again.status_code, again.json()["code"]) == (400, "duplicate_reference")
    truth = shop.sandbox.truth(payment_id)
    assert (len(truth["payments"]), truth["create_calls"][0]["calls"]) == (1, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"email": None},
        {"email": "nobody"},
        {"amount": 0},
        {"amount": "25.00"},
        {"amount": 1.5},
        {"currency": "EUR"},
        {"reference": "a b"},
        {"callback_url": "javascript:alert(1)"},
    ],
)
def test_a_wrong_request_is_refused(shop: EmulatedShop, changes: dict[str, Any]) -> None:
    answer = call(shop, "POST", "/transaction/initialize", order(new_id(), **changes))
    assert (answer.status_code, answer.json()["status"]) == (400, False)


def test_lists_have_times_pages_and_cursors(shop: EmulatedShop) -> None:
    made = [new_id() for _ in range(3)]
    for payment_id in made:
        create(shop, payment_id)
    moments = [read(shop, payment_id)["created_at"] for payment_id in made]
    first = call(shop, "GET", "/transaction", perPage=2).json()
    assert [row["reference"] for row in first["data"]] == made[:0:-1]
    for query in ({"page": 2}, {"next": first["meta"]["next"]}):
        rest = call(shop, "GET", "/transaction", perPage=2, **query).json()
        assert [row["reference"] for row in rest["data"]] == made[:1]
        assert rest["meta"]["next"] is None
    one = {"from": moments[1], "to": moments[2]}
    assert [row["reference"] for row in call(shop, "GET", "/transaction", **one).json()["data"]] == [made[1]]
    assert call(shop, "GET", "/transaction", **{"from": "yesterday"}).status_code == 400


def test_refunds_are_queued_processed_and_may_fail(shop: EmulatedShop) -> None:
    payment_id = new_id()
    create(shop, payment_id)
    shop.happen(payment_id, "pay")
    body = {"transaction": payment_id, "amount": 70_000, "merchant_note": "r1"}
    refund = call(shop, "POST", "/refund", body).json()["data"]
    assert (refund["status"], refund["amount"], refund["transaction"]["reference"]) == ("pending", 70_000, payment_id)
    path = f"/refund/{refund['id']}"
    wait_until(lambda: call(shop, "GET", path).json()["data"]["status"] == "processed", "the refund")
    _, processed = events(shop, 2)
    assert (processed["event"], processed["data"]["amount"]) == ("refund.processed", "70000")
    assert (processed["data"]["transaction_reference"], "id" in processed["data"]) == (payment_id, False)
    (listed,) = call(shop, "GET", "/refund", transaction=refund["transaction"]["id"]).json()["data"]
    assert (listed["id"], listed["merchant_note"]) == (refund["id"], "r1")
    assert call(shop, "POST", "/refund", body | {"amount": 180_001}).status_code == 400
    shop.happen(payment_id, "fail_refund")
    assert call(shop, "GET", path).json()["data"]["status"] == "failed"
    assert events(shop, 3)[1]["event"] == "refund.failed"


def test_a_refund_takes_its_outcome_from_a_script(shop: EmulatedShop) -> None:
    pending, failed = new_id(), new_id()
    for payment_id, outcome in ((pending, "pending"), (failed, "failed")):
        shop.script(payment_id, refund={"outcome": outcome})
        create(shop, payment_id)
        shop.happen(payment_id, "pay")
        assert call(shop, "POST", "/refund", {"transaction": payment_id}).status_code == 200
    assert [body["event"] for body in events(shop, 3)] == ["charge.success"] * 2 + ["refund.failed"]
    assert read(shop, pending)["status"] == "reversed"
    assert read(shop, failed)["status"] == "success"
    shop.happen(pending, "settle_refund")
    assert events(shop, 4)[3]["event"] == "refund.processed"


def test_a_dispute_says_only_how_it_ended(shop: EmulatedShop) -> None:
    won, lost = new_id(), new_id()
    for payment_id, end in ((won, "win_dispute"), (lost, "lose_dispute")):
        create(shop, payment_id)
        shop.happen(payment_id, "pay", "dispute", end)
    resolved = [body["data"] for body in events(shop, 6) if body["event"] == "charge.dispute.resolve"]
    assert {data["transaction"]["reference"]: data["resolution"] for data in resolved} == {
        won: "declined",
        lost: "merchant-accepted",
    }


def test_a_forgery_is_none_of_the_keys(shop: EmulatedShop) -> None:
    payment_id = new_id()
    shop.script(payment_id, webhook={"send": [{"signature": "forged"}, {"signature": "missing"}, {}]})
    create(shop, payment_id)
    shop.happen(payment_id, "pay")
    assert [is_signed(webhook, shop.key) for webhook in shop.wait(3)] == [False, False, True]


def test_a_wrong_key_and_unknown_transactions_are_refused(shop: EmulatedShop) -> None:
    assert call(shop, "GET", "/balance").json()["status"] is True
    assert call(shop, "GET", "/transaction/verify/nobody").status_code == 404
    assert call(shop, "GET", "/refund/17").status_code == 404
    shop.key = "sk_test_wrong"
    answer = call(shop, "GET", "/balance")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_Key")
