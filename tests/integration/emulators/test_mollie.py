"""The Mollie emulator over HTTP, called and verified by Mollie's own package."""

from __future__ import annotations

import json
import secrets
import uuid
from typing import Any

import pytest
import requests
from mollie import ClientSDK, models
from mollie.utils.webhooks.signature_validator import InvalidSignatureException, SignatureValidator

from testbed.waiting import wait_until
from tests.integration.emulators.emulated_shop import EmulatedShop, new_id
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import Received, WebhookReceiver


@pytest.fixture
def shop(sandbox: SandboxProcess, receiver: WebhookReceiver) -> EmulatedShop:
    return EmulatedShop(sandbox, receiver, "mollie", f"test_{secrets.token_hex(16)}", secrets.token_hex(16))


@pytest.fixture
def client(shop: EmulatedShop) -> ClientSDK:
    return ClientSDK(security=models.Security(api_key=shop.key), server_url=shop.url, retry_config=None)


def order(payment_id: str, **changes: Any) -> dict[str, Any]:
    """Return what a create call for 25.00 EUR says."""
    return {
        "amount": {"currency": "EUR", "value": "25.00"},
        "description": f"Deposit {payment_id}",
        "redirectUrl": "https://shop.example/back",
        "metadata": {"payment_id": payment_id},
    } | changes


def create(client: ClientSDK, payment_id: str, **changes: Any) -> models.PaymentResponse:
    """Create a payment by Mollie's package."""
    return client.payments.create(payment_request=order(payment_id, **changes), idempotency_key=payment_id)


def call(shop: EmulatedShop, method: str, path: str, body: object = None) -> requests.Response:
    """Make a bare call."""
    headers = {"Authorization": f"Bearer {shop.key}"}
    return requests.request(method, shop.url + path, json=body, headers=headers, timeout=10)


def verify(webhook: Received, *known: str) -> models.EntityWebhookEvent:
    """Return the event of a webhook that Mollie's package finds good and can read."""
    signatures = webhook.headers["x-mollie-signature"].split(",")
    assert SignatureValidator.validate(webhook.body.decode(), list(known), signatures)
    return models.EntityWebhookEvent.model_validate_json(webhook.body)


def types(shop: EmulatedShop, count: int) -> list[str]:
    """Return the names of the events that the shop got, sorted."""
    return sorted(str(verify(webhook, shop.secret).webhook_event_types.value) for webhook in shop.wait(count))


@pytest.mark.parametrize(
    ("actions", "status", "event"),
    [
        (("pay",), "paid", "payment.paid"),
        (("attempt", "pay"), "paid", "payment.paid"),
        (("decline",), "failed", "payment.failed"),
        (("cancel",), "canceled", "payment.canceled"),
        (("expire",), "expired", "payment.expired"),
        (("commit",), "pending", "payment.pending"),
    ],
)
def test_each_end_is_a_status_and_an_event(
    shop: EmulatedShop, client: ClientSDK, actions: tuple[str, ...], status: str, event: str
) -> None:
    payment_id = new_id()
    payment = create(client, payment_id)
    assert (payment.status, payment.mode, payment.amount.value) == ("open", "test", "25.00")
    assert payment.links.checkout is not None
    assert requests.get(payment.links.checkout.href, timeout=5).status_code == 200
    shop.happen(payment_id, *actions)
    shown = client.payments.get(payment_id=payment.id)
    assert shown.status == status
    assert shown.metadata == {"payment_id": payment_id}
    assert types(shop, 1) == [event]


def test_the_payments_own_address_only_learns_its_id(shop: EmulatedShop, client: ClientSDK) -> None:
    payment_id = new_id()
    payment = create(client, payment_id, webhookUrl=f"{shop.receiver.url}/classic")
    shop.happen(payment_id, "pay")
    (classic,) = [webhook for webhook in shop.wait(2) if webhook.path == "/classic"]
    assert classic.body == f"id={payment.id}".encode()
    assert classic.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "x-mollie-signature" not in classic.headers


def test_a_key_replays_the_first_answer(shop: EmulatedShop, client: ClientSDK) -> None:
    payment_id = new_id()
    assert create(client, payment_id).id == create(client, payment_id).id
    with pytest.raises(models.APIError) as error:
        create(client, payment_id, description="another")
    assert error.value.status_code == 400
    assert len(shop.sandbox.truth(payment_id)["payments"]) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": {"currency": "EUR", "value": "25"}}, "amount.value"),
        ({"amount": {"currency": "JPY", "value": "25.00"}}, "amount"),
        ({"amount": "25.00"}, "amount"),
        ({"description": None}, "description"),
        ({"redirectUrl": "javascript:alert(1)"}, "redirectUrl"),
        ({"metadata": {"k": "v" * 2000}}, "metadata"),
    ],
)
def test_a_wrong_request_names_its_field(shop: EmulatedShop, changes: dict[str, Any], field: str) -> None:
    answer = call(shop, "POST", "/v2/payments", order(new_id(), **changes))
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.json()["title"] == "Unprocessable Entity"


def test_cancelling_ends_an_open_payment_only(shop: EmulatedShop, client: ClientSDK) -> None:
    payment = create(client, new_id())
    assert client.payments.cancel(payment_id=payment.id).status == "canceled"
    paid_id = new_id()
    shop.script(paid_id, cancel={"capture": True})
    with pytest.raises(models.ErrorResponse) as error:
        client.payments.cancel(payment_id=create(client, paid_id).id)
    assert error.value.data.status == 422
    assert types(shop, 2) == ["payment.canceled", "payment.paid"]


def test_lists_are_newest_first_from_an_id(client: ClientSDK) -> None:
    made = [create(client, new_id()).id for _ in range(3)]
    first: Any = client.payments.list(limit=2)
    assert [each.id for each in first.result.embedded.payments] == made[:0:-1]
    second: Any = client.payments.list(limit=2, from_=made[0])
    assert [each.id for each in second.result.embedded.payments] == [made[0]]
    assert first.result.links.next.href.endswith(f"from={made[0]}&limit=2")


def test_refunds_are_pending_then_done_and_may_fail(shop: EmulatedShop, client: ClientSDK) -> None:
    payment_id = new_id()
    payment = create(client, payment_id)
    shop.happen(payment_id, "pay")
    asked: Any = {"amount": {"currency": "EUR", "value": "7.00"}, "description": "", "metadata": {"refund_id": "r"}}
    key = str(uuid.uuid4())
    first, again = (
        client.refunds.create(payment_id=payment.id, refund_request=asked, idempotency_key=key) for _ in range(2)
    )
    assert (first.id, first.status, first.metadata) == (again.id, "pending", {"refund_id": "r"})
    wait_until(lambda: client.refunds.get(payment_id=payment.id, refund_id=first.id).status == "refunded", "refund")
    shown = client.payments.get(payment_id=payment.id)
    assert shown.amount_refunded is not None
    assert shown.amount_remaining is not None
    assert (shown.amount_refunded.value, shown.amount_remaining.value) == ("7.00", "18.00")
    assert types(shop, 2) == ["payment.paid", "refund.refunded"]
    shop.happen(payment_id, "fail_refund")
    assert types(shop, 3) == ["payment.paid", "refund.failed", "refund.refunded"]
    listed: Any = client.refunds.list(payment_id=payment.id)
    assert [each.status for each in listed.result.embedded.refunds] == ["failed"]
    for amount in ("25.01", "1.0"):
        body = asked | {"amount": {"currency": "EUR", "value": amount}}
        answer = call(shop, "POST", f"/v2/payments/{payment.id}/refunds", body)
        assert answer.status_code == 422


def test_a_chargeback_is_received_and_reversed(shop: EmulatedShop, client: ClientSDK) -> None:
    payment_id = new_id()
    payment = create(client, payment_id)
    shop.happen(payment_id, "pay", "dispute")
    shown = client.payments.get(payment_id=payment.id)
    assert shown.amount_charged_back is not None
    assert shown.amount_charged_back.value == "25.00"
    shop.happen(payment_id, "win_dispute")
    listed: Any = client.chargebacks.list(payment_id=payment.id)
    (chargeback,) = listed.result.embedded.chargebacks
    assert chargeback.reversed_at is not None
    assert types(shop, 3) == ["chargeback.received", "chargeback.reversed", "payment.paid"]
    assert client.payments.get(payment_id=payment.id).amount_charged_back is None


def test_a_webhook_is_registered_and_both_secrets_sign(shop: EmulatedShop, client: ClientSDK) -> None:
    body = {"name": "Sluice", "url": f"{shop.receiver.url}/connected", "eventTypes": "payment.paid,refund.refunded"}
    connected = models.CreateWebhook.model_validate(call(shop, "POST", "/v2/webhooks", body).json())
    shop.put(other_secrets=["old"])
    payment_id = new_id()
    create(client, payment_id)
    shop.happen(payment_id, "pay")
    webhooks = {webhook.path: webhook for webhook in shop.wait(2)}
    assert verify(webhooks["/connected"], connected.webhook_secret) == verify(webhooks["/mollie"], "old")
    assert verify(webhooks["/mollie"], "old") == verify(webhooks["/mollie"], shop.secret)
    with pytest.raises(InvalidSignatureException):
        verify(webhooks["/connected"], shop.secret)


def test_a_payment_shows_its_refunds_and_chargebacks_where_asked(shop: EmulatedShop, client: ClientSDK) -> None:
    payment_id = new_id()
    payment = create(client, payment_id)
    shop.happen(payment_id, "pay")
    shop.sandbox.happen(payment_id, "refund", amount="7.00")
    shop.happen(payment_id, "dispute")
    path = f"/v2/payments/{payment.id}"
    assert "_embedded" not in call(shop, "GET", path).json()
    shown = call(shop, "GET", path + "?embed=refunds,chargebacks").json()["_embedded"]
    amounts = {name: [each["amount"]["value"] for each in rows] for name, rows in shown.items()}
    assert amounts == {"refunds": ["7.00"], "chargebacks": ["18.00"]}
    assert list(call(shop, "GET", path + "?embed=refunds").json()["_embedded"]) == ["refunds"]


def test_scripts_misbehave_in_mollies_words(shop: EmulatedShop, client: ClientSDK) -> None:
    payment_id = new_id()
    send: list[dict[str, Any]] = [
        {"signature": "forged", "attempts": 1},
        {"change": {"amount": "1.00", "currency": "USD", "_embedded.entity.mode": "live"}},
        {"stray": True},
    ]
    shop.script(
        payment_id,
        create={"status": 503, "times": 1},
        fetch={"show": {"status": "expired"}, "times": 1},
        webhook={"send": send},
    )
    answer = call(shop, "POST", "/v2/payments", order(payment_id))
    assert (answer.status_code, answer.json()["title"]) == (503, "Service Unavailable")
    payment = create(client, payment_id)
    assert client.payments.get(payment_id=payment.id).status == "expired"
    shop.happen(payment_id, "pay")
    forged, changed, stray = shop.wait(3)
    with pytest.raises(InvalidSignatureException):
        verify(forged, shop.secret)
    entity = json.loads(changed.body)["_embedded"]["entity"]
    assert (entity["amount"], entity["mode"]) == ({"currency": "USD", "value": "1.00"}, "live")
    assert json.loads(stray.body)["type"] == "payment-link.paid"


def test_a_wrong_key_and_unknown_payments_are_refused(shop: EmulatedShop, client: ClientSDK) -> None:
    assert call(shop, "GET", "/v2/methods").status_code == 200
    assert call(shop, "GET", "/v2/payments/tr_nobody").json()["title"] == "Not Found"
    shop.key = "test_wrong"
    for path in ("/v2/methods", "/v2/payments", "/v2/payments/tr_nobody"):
        assert call(shop, "GET", path).status_code == 401
