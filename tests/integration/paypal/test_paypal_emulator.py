"""The sandbox speaks PayPal: tokens, orders and their captures, refunds, the report, and signed webhooks."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

from tests.integration.emulators.emulated_shop import new_id
from tests.integration.paypal.paypal_shop import PayPalShop
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import Received, WebhookReceiver


@pytest.fixture
def shop(sandbox: SandboxProcess, receiver: WebhookReceiver) -> PayPalShop:
    return PayPalShop(sandbox, receiver)


def read_events(webhooks: list[Received]) -> list[tuple[str, dict[str, Any]]]:
    return [(body["event_type"], body["resource"]) for body in (json.loads(each.body) for each in webhooks)]


def issue(answer: Any) -> str:
    return str(answer.json()["details"][0]["issue"])


def test_the_credential_is_exchanged_for_a_token(shop: PayPalShop) -> None:
    token = shop.exchange().json()
    assert (token["token_type"], token["expires_in"] > 3600) == ("Bearer", True)
    assert shop.client_secret not in json.dumps(token)
    wrong = shop.exchange(f"{shop.client_id}:other")
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    for token_sent in ("none", shop.key):
        refused = shop.call("GET", "/v2/checkout/orders/O1", token=token_sent)
        assert (refused.status_code, refused.json()["name"]) == (401, "AUTHENTICATION_FAILURE")


def test_an_order_is_approved_and_captured_once(shop: PayPalShop) -> None:
    payment_id = new_id()
    order = shop.order(payment_id)
    assert (order["status"], order["links"][1]["rel"]) == ("CREATED", "approve")
    assert (issue(shop.capture(order))) == "ORDER_NOT_APPROVED"
    shop.happen(payment_id, "approve")
    assert shop.call("GET", f"/v2/checkout/orders/{order['id']}").json()["status"] == "APPROVED"
    first, again = shop.capture(order, "key-1"), shop.capture(order, "key-1")
    assert (first.status_code, first.content) == (201, again.content)
    (capture,) = first.json()["purchase_units"][0]["payments"]["captures"]
    assert (first.json()["status"], capture["status"]) == ("COMPLETED", "COMPLETED")
    assert capture["amount"] == {"currency_code": "USD", "value": "25.00"}
    assert issue(shop.capture(order, "key-2")) == "ORDER_ALREADY_CAPTURED"
    (truth,) = shop.sandbox.truth(payment_id)["payments"]
    assert (truth["status"], truth["captures"]) == ("paid", 1)
    single = shop.call("GET", f"/v2/payments/captures/{capture['id']}").json()
    assert single["supplementary_data"]["related_ids"]["order_id"] == order["id"]


def test_a_refused_capture_is_answered_the_same_until_the_payer_approves_again(shop: PayPalShop) -> None:
    payment_id = new_id()
    order = shop.order(payment_id)
    shop.script(payment_id, capture={"outcome": "declined", "times": 1})
    shop.happen(payment_id, "approve")
    assert [issue(shop.capture(order, "key-1")) for _ in range(2)] == ["INSTRUMENT_DECLINED"] * 2
    shop.happen(payment_id, "approve")
    assert issue(shop.capture(order, "key-1")) == "INSTRUMENT_DECLINED"
    assert shop.capture(order, "key-2").json()["status"] == "COMPLETED"


def test_a_capture_may_be_reviewed_first(shop: PayPalShop) -> None:
    payment_id = new_id()
    order = shop.order(payment_id)
    shop.script(payment_id, capture={"outcome": "pending"})
    shop.happen(payment_id, "approve")
    (capture,) = shop.capture(order).json()["purchase_units"][0]["payments"]["captures"]
    assert (capture["status"], capture["status_details"]["reason"]) == ("PENDING", "ECHECK")
    shop.happen(payment_id, "decline")
    names = {name for name, _ in read_events(shop.wait(3))}
    assert names == {"CHECKOUT.ORDER.APPROVED", "PAYMENT.CAPTURE.PENDING", "PAYMENT.CAPTURE.DENIED"}


def test_a_lost_answer_to_a_capture_is_repeated(shop: PayPalShop) -> None:
    payment_id = new_id()
    order = shop.order(payment_id)
    shop.script(payment_id, capture={"status": 500, "effect": True, "times": 1})
    shop.happen(payment_id, "approve")
    assert shop.capture(order, "key").status_code == 500
    assert shop.capture(order, "key").json()["status"] == "COMPLETED"
    assert shop.sandbox.truth(payment_id)["payments"][0]["captures"] == 1


@pytest.mark.parametrize(("currency", "value"), [("JPY", "2500"), ("HUF", "2500"), ("TWD", "2500"), ("EUR", "25.00")])
def test_some_currencies_have_no_decimals(shop: PayPalShop, currency: str, value: str) -> None:
    unit = {"amount": {"currency_code": currency, "value": value}}
    order = shop.order(new_id(), purchase_units=[unit])
    assert order["purchase_units"][0]["amount"] == unit["amount"]
    if currency == "HUF":
        unit["amount"]["value"] = "2500.50"
        wrong = shop.call("POST", "/v2/checkout/orders", {"intent": "CAPTURE", "purchase_units": [unit]})
        assert (wrong.status_code, issue(wrong)) == (422, "DECIMAL_PRECISION")


def test_refunds_and_disputes_are_shown_with_the_order_and_reported(shop: PayPalShop) -> None:
    payment_id = new_id()
    order = shop.order(payment_id)
    shop.happen(payment_id, "pay")
    (capture,) = shop.call("GET", f"/v2/checkout/orders/{order['id']}").json()["purchase_units"][0]["payments"][
        "captures"
    ]
    part = {"amount": {"currency_code": "USD", "value": "5.00"}}
    refund = shop.call("POST", f"/v2/payments/captures/{capture['id']}/refund", part, "r-1").json()
    assert (refund["status"], refund["amount"]["value"]) == ("COMPLETED", "5.00")
    shop.happen(payment_id, "dispute", "lose_dispute")
    shown = shop.call("GET", f"/v2/checkout/orders/{order['id']}").json()["purchase_units"][0]["payments"]
    assert [each["amount"]["value"] for each in shown["refunds"]] == ["5.00", "20.00"]
    events = dict(read_events(shop.wait(5)))
    assert events["PAYMENT.CAPTURE.REFUNDED"]["id"] == refund["id"]
    assert events["CUSTOMER.DISPUTE.CREATED"]["disputed_transactions"][0]["seller_transaction_id"] == capture["id"]
    assert events["CUSTOMER.DISPUTE.RESOLVED"]["dispute_outcome"]["outcome_code"] == "RESOLVED_BUYER_FAVOUR"
    assert events["PAYMENT.CAPTURE.REVERSED"]["amount"]["value"] == "20.00"


def test_an_approval_that_nobody_captures_is_reversed(shop: PayPalShop) -> None:
    payment_id = new_id()
    order = shop.order(payment_id)
    shop.happen(payment_id, "approve", "expire")
    (_, (name, resource)) = read_events(shop.wait(2))
    assert (name, resource["order_id"]) == ("CHECKOUT.PAYMENT-APPROVAL.REVERSED", order["id"])


def test_the_report_has_what_was_paid(shop: PayPalShop) -> None:
    paid, unpaid = new_id(), new_id()
    for payment_id in (paid, unpaid):
        shop.order(payment_id)
    shop.happen(paid, "pay")
    now = datetime.datetime.now(datetime.UTC)
    period = [(now + datetime.timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ") for hours in (-1, 1)]
    path = f"/v1/reporting/transactions?start_date={period[0]}&end_date={period[1]}&fields=transaction_info"
    rows = shop.call("GET", path).json()["transaction_details"]
    assert [row["transaction_info"]["custom_field"] for row in rows] == [paid]


def test_webhooks_are_signed_with_a_certificate_over_the_bytes(shop: PayPalShop) -> None:
    payment_id = new_id()
    shop.order(payment_id)
    shop.happen(payment_id, "approve")
    (webhook,) = shop.wait(1)
    shop.check(webhook)
    with pytest.raises(InvalidSignature):
        shop.check(webhook, webhook.body + b" ")
    assert webhook.headers["paypal-auth-algo"] == "SHA256withRSA"
    assert shop.certificate(webhook).count(b"BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize("signature", ["forged", "missing"])
def test_a_script_forges_a_signature_or_leaves_it_out(shop: PayPalShop, signature: str) -> None:
    payment_id = new_id()
    shop.script(payment_id, webhook={"send": [{"signature": signature}]})
    shop.order(payment_id)
    shop.happen(payment_id, "approve")
    (webhook,) = shop.wait(1)
    if signature == "missing":
        assert "paypal-transmission-sig" not in webhook.headers
        return
    with pytest.raises(InvalidSignature):
        shop.check(webhook)


def test_an_address_is_registered_by_its_own_call(shop: PayPalShop) -> None:
    body = {"url": f"{shop.receiver.url}/own", "event_types": [{"name": "PAYMENT.CAPTURE.COMPLETED"}]}
    made = shop.call("POST", "/v1/notifications/webhooks", body)
    assert made.status_code == 201
    payment_id = new_id()
    shop.order(payment_id)
    shop.happen(payment_id, "approve", "pay")
    # Approved and paid at the account's address, paid at this one.
    assert sorted(name for name, _ in read_events(shop.wait(3))) == [
        *("CHECKOUT.ORDER.APPROVED", "PAYMENT.CAPTURE.COMPLETED", "PAYMENT.CAPTURE.COMPLETED")
    ]
