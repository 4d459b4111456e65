"""The sandbox's webhooks, received by a real HTTP server."""

from __future__ import annotations

import base64
import json
import secrets
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from standardwebhooks import Webhook, WebhookVerificationError

from testbed.waiting import wait_until
from tests.integration.sandbox.sandbox_process import SandboxProcess, callback_urls
from tests.support.webhook_receiver import Received, WebhookReceiver


def verified(webhook: Received, secret: str) -> dict[str, Any]:
    """Give the body of a webhook that the reference library finds good."""
    body: dict[str, Any] = Webhook(secret).verify(webhook.body, webhook.headers)
    return body


@pytest.mark.serial
def test_a_success_is_reported_at_once_and_signed(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    payment = sandbox.payment(callback_urls=callback_urls(receiver))
    assert receiver.received == []
    paid = sandbox.post(f"/v1/payments/{payment['reference']}/pay").json()
    answered_at = time.monotonic()
    (webhook,) = receiver.wait_for(1)
    # Far below any polling interval, far above what a busy machine needs.
    assert webhook.at - answered_at < 0.5
    assert webhook.path == "/success"
    assert webhook.headers["webhook-id"].startswith("msg_")
    assert abs(int(webhook.headers["webhook-timestamp"]) - time.time()) < 5
    body = verified(webhook, sandbox.secret)
    assert body.pop("event_id").startswith("evt_")
    assert body == {
        "provider_id": "sandbox",
        "event_type": "payment.success",
        "transaction_id": payment["merchant_reference"],
        "provider_reference": payment["reference"],
        "status": "success",
        "amount": "25.00",
        "currency": "USD",
        "occurred_at": paid["updated_at"],
    }
    (delivery,) = wait_until(
        lambda: [d for d in sandbox.deliveries(payment["merchant_reference"]) if d["state"] == "delivered"], "delivery"
    )
    assert json.loads(delivery["body"]) == json.loads(webhook.body)
    assert [attempt["status"] for attempt in delivery["attempts"]] == [200]


@pytest.mark.parametrize(
    ("actions", "path", "event", "amount"),
    [
        (["decline"], "/failed", "failed", "25.00"),
        (["cancel"], "/failed", "cancelled", "25.00"),
        (["pay", "refund"], "/provider", "refunded", "25.00"),
    ],
)
def test_each_event_goes_to_its_address(
    sandbox: SandboxProcess, receiver: WebhookReceiver, actions: list[str], path: str, event: str, amount: str
) -> None:
    payment = sandbox.payment(callback_urls=callback_urls(receiver))
    for action in actions:
        assert sandbox.post(f"/v1/payments/{payment['reference']}/{action}", key=sandbox.key).status_code == 200
    webhook = next(found for found in receiver.wait_for(len(actions)) if found.path == path)
    body = verified(webhook, sandbox.secret)
    assert (body["event_type"], body["status"], body["amount"]) == (f"payment.{event}", event, amount)
    assert ("error_message" in body) == (event == "failed")


def test_parts_report_the_total_and_the_callback_address_stands_in(
    sandbox: SandboxProcess, receiver: WebhookReceiver
) -> None:
    payment = sandbox.payment(callback_urls={"callback": receiver.url + "/callback", "success": None})
    path = f"/v1/payments/{payment['reference']}"
    sandbox.post(path + "/pay", {"amount": "10.00"})
    receiver.wait_for(1)
    sandbox.post(path + "/pay", {"amount": "16.50"})
    receiver.wait_for(2)
    sandbox.post(path + "/refund", {"amount": "1.50"})
    bodies = [verified(webhook, sandbox.secret) for webhook in receiver.wait_for(3)]
    assert [(body["status"], body["amount"]) for body in bodies] == [
        ("success", "10.00"),
        ("success", "26.50"),
        ("refunded", "1.50"),
    ]
    assert {webhook.path for webhook in receiver.received} == {"/callback"}
    assert len({body["event_id"] for body in bodies}) == 3


def test_a_failed_attempt_is_repeated_with_the_same_id_and_bytes(
    sandbox: SandboxProcess, receiver: WebhookReceiver
) -> None:
    answers = iter([500, 302, 200])
    receiver.answer = lambda webhook: next(answers)
    payment = sandbox.payment(callback_urls=callback_urls(receiver))
    sandbox.post(f"/v1/payments/{payment['reference']}/pay")
    webhooks = receiver.wait_for(3)
    assert len({(webhook.headers["webhook-id"], webhook.body, webhook.path) for webhook in webhooks}) == 1
    for webhook in webhooks:
        verified(webhook, sandbox.secret)
    # The waits of the schedule this process was given.
    assert webhooks[1].at - webhooks[0].at >= 0.2
    (delivery,) = wait_until(
        lambda: [d for d in sandbox.deliveries(payment["merchant_reference"]) if d["state"] == "delivered"], "delivery"
    )
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 302, 200]


def test_it_gives_up_after_the_schedule_and_can_be_asked_to_send_again(
    sandbox: SandboxProcess, receiver: WebhookReceiver
) -> None:
    receiver.answer = lambda webhook: 500
    payment = sandbox.payment(callback_urls=callback_urls(receiver))
    sandbox.post(f"/v1/payments/{payment['reference']}/pay")
    reference = payment["merchant_reference"]
    (given_up,) = wait_until(lambda: [d for d in sandbox.deliveries(reference) if d["state"] == "given_up"], "the end")
    assert len(given_up["attempts"]) == 4
    receiver.answer = lambda webhook: 200
    copy = requests.post(f"{sandbox.url}/control/deliveries/{given_up['id']}/resend", timeout=5).json()
    assert (copy["webhook_id"], copy["body"]) == (given_up["webhook_id"], given_up["body"])
    again = receiver.wait_for(5)[-1]
    assert again.headers["webhook-id"] == given_up["webhook_id"]
    verified(again, sandbox.secret)
    assert requests.post(f"{sandbox.url}/control/deliveries/999999/resend", timeout=5).status_code == 404


@pytest.mark.parametrize("host", ["127.0.0.1:1", "a" * 70 + ".invalid"])
def test_an_address_that_cannot_be_reached_is_a_failed_attempt(sandbox: SandboxProcess, host: str) -> None:
    payment = sandbox.payment(callback_urls={"callback": f"http://{host}/"})
    sandbox.post(f"/v1/payments/{payment['reference']}/pay")
    (delivery,) = wait_until(
        lambda: [d for d in sandbox.deliveries(payment["merchant_reference"]) if d["attempts"]], "the first attempt"
    )
    assert delivery["attempts"][0]["status"] is None
    assert delivery["attempts"][0]["error"]


def test_a_rotated_secret_signs_what_is_still_to_be_sent(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    receiver.answer = lambda webhook: 500
    key, old, new = "key_rotating", *(f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}" for _ in range(2))
    sandbox.put_merchant("rotating", key, old, "first")
    order = {
        "amount": "1.00",
        "currency": "EUR",
        "merchant_reference": "rotating-1",
        "callback_urls": callback_urls(receiver),
    }
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "rotating-1"}
    payment = requests.post(sandbox.url + "/v1/payments", json=order, headers=headers, timeout=5).json()
    sandbox.post(f"/v1/payments/{payment['reference']}/pay")
    (first,) = receiver.wait_for(1)
    sandbox.put_merchant("rotating", key, new, "first")
    receiver.answer = lambda webhook: 200
    last = wait_until(lambda: receiver.received[-1] if len(receiver.received) > 1 else None, "the next attempt")
    assert verified(first, old) == verified(wait_until(lambda: _signed_with(receiver, new), "new secret"), new)
    assert last.headers["webhook-id"] == first.headers["webhook-id"]


def _signed_with(receiver: WebhookReceiver, secret: str) -> Received | None:
    for webhook in receiver.received:
        try:
            verified(webhook, secret)
        except WebhookVerificationError:
            continue
        return webhook
    return None


def test_a_slow_receiver_does_not_hold_up_another(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    opened = threading.Event()
    slow = WebhookReceiver(answer=lambda webhook: 200 if opened.wait(20) else 500)
    try:
        # More than there are threads, so that only a limit per receiver leaves one for the other.
        for _ in range(20):
            payment = sandbox.payment(callback_urls=callback_urls(slow))
            sandbox.post(f"/v1/payments/{payment['reference']}/pay")
        slow.wait_for(8)
        prompt = sandbox.payment(callback_urls=callback_urls(receiver))
        sandbox.post(f"/v1/payments/{prompt['reference']}/pay")
        receiver.wait_for(1, seconds=3)
        assert len(slow.received) == 8
        opened.set()
        slow.wait_for(20)
    finally:
        opened.set()
        slow.close()


def test_a_flood_for_one_receiver_does_not_hide_another(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    opened = threading.Event()
    flooded = WebhookReceiver(answer=lambda webhook: 200 if opened.wait(20) else 500)
    try:
        # The flood is due first and is longer than the batch that the courier reads; nothing else wakes the courier.
        for address, send in ((flooded, {"copies": 100, "parallel": True, "delay": 0.5}), (receiver, {"delay": 0.6})):
            payment = sandbox.payment(callback_urls=callback_urls(address))
            match = {"merchant_reference": payment["merchant_reference"]}
            sandbox.script(match=match, webhook={"send": [send]})
            sandbox.post(f"/v1/payments/{payment['reference']}/pay")
        receiver.wait_for(1, seconds=5)
        opened.set()
        flooded.wait_for(100)
    finally:
        opened.set()
        flooded.close()


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_lost_when_the_process_ends(tmp_path: Path, receiver: WebhookReceiver, kind: signal.Signals) -> None:
    sandbox = SandboxProcess(tmp_path, SANDBOX_RETRY_SECONDS="1,1")
    try:
        receiver.answer = lambda webhook: 503
        payment = sandbox.payment(callback_urls=callback_urls(receiver))
        reference = payment["merchant_reference"]
        order_again = {name: payment[name] for name in ("amount", "currency", "merchant_reference", "metadata")}
        sandbox.script(match={"merchant_reference": reference}, auto={"action": "refund", "after": 1.2})
        sandbox.post(f"/v1/payments/{payment['reference']}/pay")
        (first,) = receiver.wait_for(1)
        wait_until(lambda: sandbox.deliveries(reference)[0]["attempts"], "the first attempt is stored")
        sandbox.stop(kind)
        receiver.answer = lambda webhook: 200
        sandbox.start()
        # The key is known, its bytes were others: what was promised under it stays promised.
        assert sandbox.create(order_again, idempotency_key=reference).status_code == 409
        assert sandbox.get(f"/v1/payments/{payment['reference']}")["status"] == "paid"
        second, third = receiver.wait_for(3)[1:]
        assert (second.headers["webhook-id"], second.body) == (first.headers["webhook-id"], first.body)
        assert verified(third, sandbox.secret)["status"] == "refunded"
        truth = sandbox.truth(reference)["payments"][0]
        assert (truth["captures"], truth["refunds"], truth["refunded_minor"]) == (1, 1, 2500)
    finally:
        sandbox.close()
