"""The Adyen emulator over HTTP, its notifications verified by Adyen's own package."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from Adyen.util import is_valid_hmac_notification

from tests.integration.emulators.emulated_shop import EmulatedShop, new_id
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import Received, WebhookReceiver
from tests.unit.published.adyen_schemas import REFUND_ANSWER, REFUND_ITEM, REFUND_REQUEST


@pytest.fixture
def shop(sandbox: SandboxProcess, receiver: WebhookReceiver) -> EmulatedShop:
    return EmulatedShop(sandbox, receiver, "adyen", f"AQE{secrets.token_hex(20)}", secrets.token_hex(32).upper())


def call(shop: EmulatedShop, method: str, path: str, body: object = None, **headers: str) -> requests.Response:
    """Make a call."""
    headers = {"X-API-Key": shop.key, **headers}
    return requests.request(method, shop.url + path, json=body, headers=headers, timeout=10)


def order(payment_id: str, **changes: Any) -> dict[str, Any]:
    """Return what a call for 25.00 EUR says."""
    return {
        "merchantAccount": "ShopECOM",
        "amount": {"currency": "EUR", "value": 2500},
        "reference": payment_id,
        "returnUrl": "https://shop.example/back",
    } | changes


def create(shop: EmulatedShop, payment_id: str, **headers: str) -> dict[str, Any]:
    """Create a payment link."""
    answer = call(shop, "POST", "/v71/paymentLinks", order(payment_id), **headers)
    assert answer.status_code == 201, answer.text
    link: dict[str, Any] = answer.json()
    return link


def items_of(webhook: Received, key: str) -> list[dict[str, Any]]:
    """Return the items of a notification, each of which Adyen's package finds good."""
    items = json.loads(webhook.body)["notificationItems"]
    found = [each["NotificationRequestItem"] for each in items]
    for item in found:
        # The package takes one item at a time.
        assert is_valid_hmac_notification(item, key)
    return found


def events(shop: EmulatedShop, count: int) -> list[tuple[str, str, int]]:
    """Return code, success and value of the single items of well-signed notifications, sorted."""
    items = [item for webhook in shop.wait(count) for item in items_of(webhook, shop.secret)]
    return sorted((item["eventCode"], item["success"], item["amount"]["value"]) for item in items)


def test_a_link_is_paid_after_an_attempt_that_failed(shop: EmulatedShop) -> None:
    payment_id = new_id()
    link = create(shop, payment_id)
    assert (link["status"], link["reference"]) == ("active", payment_id)
    assert requests.get(link["url"], timeout=5).status_code == 200
    path = f"/v71/paymentLinks/{link['id']}"
    shop.happen(payment_id, "decline", "commit")
    assert call(shop, "GET", path).json()["status"] == "paymentPending"
    shop.happen(payment_id, "pay")
    assert call(shop, "GET", path).json()["status"] == "completed"
    assert events(shop, 3) == [
        ("AUTHORISATION", "false", 2500),
        ("AUTHORISATION", "true", 2500),
        ("PENDING", "true", 2500),
    ]
    bodies = [json.loads(webhook.body) for webhook in shop.receiver.received]
    assert {body["live"] for body in bodies} == {"false"}
    items = [body["notificationItems"][0]["NotificationRequestItem"] for body in bodies]
    assert {item["merchantReference"] for item in items} == {payment_id}
    assert {item["additionalData"]["paymentLinkId"] for item in items} == {link["id"]}
    assert len({item["pspReference"] for item in items}) == 2


def test_a_link_is_ended(shop: EmulatedShop) -> None:
    payment_id = new_id()
    path = f"/v71/paymentLinks/{create(shop, payment_id)['id']}"
    assert call(shop, "PATCH", path, {"status": "expired"}).json()["status"] == "expired"
    assert call(shop, "PATCH", path, {"status": "expired"}).status_code == 422
    assert events(shop, 1) == [("OFFER_CLOSED", "true", 2500)]


def test_a_key_replays_the_first_answer(shop: EmulatedShop) -> None:
    payment_id = new_id()
    key = {"Idempotency-Key": payment_id}
    assert create(shop, payment_id, **key) == create(shop, payment_id, **key)
    other = call(shop, "POST", "/v71/paymentLinks", order(payment_id, description="x"), **key)
    assert (other.status_code, other.json()["errorCode"]) == (422, "704")
    assert len(shop.sandbox.truth(payment_id)["payments"]) == 1


@pytest.mark.parametrize(
    ("currency", "value", "asked"),
    [("IDR", 25, "25.00"), ("CVE", 25, "25.00"), ("CLP", 2500, "25"), ("ISK", 2500, "25")],
)
def test_amounts_have_adyens_digits(shop: EmulatedShop, currency: str, value: int, asked: str) -> None:
    payment_id = new_id()
    amount = {"currency": currency, "value": value}
    link = call(shop, "POST", "/v71/paymentLinks", order(payment_id, amount=amount)).json()
    assert link["amount"] == amount
    assert shop.sandbox.truth(payment_id)["payments"][0]["amount"] == asked


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": {"currency": "EUR", "value": "25.00"}},
        {"amount": {"currency": "ISK", "value": 2501}},
        {"amount": {"currency": "euro", "value": 1}},
        {"merchantAccount": None},
        {"reference": "x" * 81},
        {"expiresAt": (datetime.now(UTC) + timedelta(days=71)).isoformat()},
    ],
)
def test_a_wrong_request_is_refused(shop: EmulatedShop, changes: dict[str, Any]) -> None:
    answer = call(shop, "POST", "/v71/paymentLinks", order(new_id(), **changes))
    assert (answer.status_code, answer.json()["errorType"]) == (422, "validation")


def refund(shop: EmulatedShop, psp_reference: str, value: int, reference: str, **headers: str) -> dict[str, Any]:
    """Ask for a refund, which Adyen receives; call and answer are as Adyen publishes them."""
    body = {"merchantAccount": "ShopECOM", "amount": {"currency": "EUR", "value": value}, "reference": reference}
    REFUND_REQUEST.validate(body)
    answer = call(shop, "POST", f"/v71/payments/{psp_reference}/refunds", body, **headers)
    assert answer.status_code == 201, answer.text
    REFUND_ANSWER.validate(answer.json())
    received: dict[str, Any] = answer.json()
    return received


def test_a_refund_is_received_and_reported_by_notification(shop: EmulatedShop) -> None:
    payment_id = new_id()
    link = create(shop, payment_id)
    shop.happen(payment_id, "pay")
    (item,) = items_of(shop.wait(1)[0], shop.secret)
    received = refund(shop, item["pspReference"], 700, "r1")
    (refunded,) = items_of(shop.wait(2)[1], shop.secret)
    assert (refunded["eventCode"], refunded["pspReference"]) == ("REFUND", received["pspReference"])
    assert (refunded["originalReference"], refunded["merchantReference"]) == (item["pspReference"], "r1")
    shop.happen(payment_id, "fail_refund")
    (failed,) = items_of(shop.wait(3)[2], shop.secret)
    assert (failed["eventCode"], failed["success"], failed["amount"]["value"]) == ("REFUND_FAILED", "true", 700)
    for shown in (refunded, failed):
        REFUND_ITEM.validate(shown)
    assert link["id"].endswith(item["pspReference"])


def test_a_refund_is_refused_by_notification(shop: EmulatedShop) -> None:
    payment_id = new_id()
    create(shop, payment_id)
    shop.happen(payment_id, "pay")
    (item,) = items_of(shop.wait(1)[0], shop.secret)
    too_much = refund(shop, item["pspReference"], 2501, "r1")
    shop.script(payment_id, refund={"outcome": "failed"})
    unlucky = refund(shop, item["pspReference"], 700, "r2")
    refused = [items_of(webhook, shop.secret)[0] for webhook in shop.wait(3)[1:]]
    assert [(each["eventCode"], each["success"], each["amount"]["value"]) for each in refused] == [
        ("REFUND", "false", 2501),
        ("REFUND", "false", 700),
    ]
    assert [each["pspReference"] for each in refused] == [too_much["pspReference"], unlucky["pspReference"]]
    for shown in refused:
        REFUND_ITEM.validate(shown)
    assert shop.sandbox.truth(payment_id)["payments"][0]["refunded_minor"] == 0


def test_a_key_makes_one_refund(shop: EmulatedShop) -> None:
    payment_id, key = new_id(), {"Idempotency-Key": new_id()}
    create(shop, payment_id)
    shop.happen(payment_id, "pay")
    (item,) = items_of(shop.wait(1)[0], shop.secret)
    made = [refund(shop, item["pspReference"], 700, "r1", **key)["pspReference"] for _ in range(2)]
    assert made[0] == made[1]
    assert shop.sandbox.truth(payment_id)["payments"][0]["refunded_minor"] == 700


def test_several_events_come_in_one_notification(shop: EmulatedShop) -> None:
    payment_id = new_id()
    shop.script(payment_id, webhook={"join": 4})
    create(shop, payment_id)
    shop.happen(payment_id, "pay", "dispute", "win_dispute")
    codes = [item["eventCode"] for item in items_of(shop.wait(1)[0], shop.secret)]
    assert codes == ["AUTHORISATION", "NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK", "CHARGEBACK_REVERSED"]
    assert len(shop.sandbox.deliveries(payment_id)) == 1


def test_a_forgery_is_none_of_the_keys(shop: EmulatedShop) -> None:
    payment_id = new_id()
    shop.script(
        payment_id, webhook={"send": [{"signature": "forged"}, {"signature": "missing"}, {"body": "malformed"}]}
    )
    create(shop, payment_id)
    shop.happen(payment_id, "pay")
    forged, missing, malformed = shop.wait(3)
    with pytest.raises(AssertionError):
        items_of(forged, shop.secret)
    (item,) = json.loads(missing.body)["notificationItems"]
    assert "hmacSignature" not in item["NotificationRequestItem"]["additionalData"]
    with pytest.raises(json.JSONDecodeError):
        json.loads(malformed.body)


def test_a_wrong_key_and_unknown_links_are_refused(shop: EmulatedShop) -> None:
    assert call(shop, "POST", "/v71/paymentMethods", {"merchantAccount": "ShopECOM"}).status_code == 200
    assert call(shop, "GET", "/v71/paymentLinks/PLnobody").status_code == 404
    shop.key = "AQEwrong"
    assert call(shop, "GET", "/v71/paymentLinks/PLnobody").json()["errorType"] == "security"
