"""The webhooks a script can spoil, seen from the receiving end."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from testbed.waiting import wait_until
from tests.integration.sandbox.sandbox_process import SandboxProcess, body_of, pay, scripted_order
from tests.support.webhook_receiver import Received, WebhookReceiver


def test_the_webhook_can_come_before_the_create_answer(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    order = scripted_order(sandbox, receiver, auto={"action": "pay"}, create={"after_webhook": True})
    answer = sandbox.create(order)
    answered_at = time.monotonic()
    (webhook,) = receiver.received
    assert webhook.at < answered_at
    assert answer.json()["status"] == "open"
    assert body_of(sandbox, webhook)["provider_reference"] == answer.json()["reference"]


def test_a_webhook_never_comes(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    order = scripted_order(sandbox, receiver, webhook={"send": [], "times": 1})
    payment = pay(sandbox, order)
    assert sandbox.deliveries(order["merchant_reference"]) == []
    # Only one event was to be kept back; the next one arrives, and it arrives alone.
    sandbox.post(f"/v1/payments/{payment['reference']}/refund")
    assert [body_of(sandbox, webhook)["status"] for webhook in receiver.wait_for(1)] == ["refunded"]


def test_a_webhook_comes_late(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    order = scripted_order(sandbox, receiver, webhook={"send": [{"delay": 0.5}]})
    pay(sandbox, order)
    paid_at = time.monotonic()
    assert receiver.wait_for(1)[0].at - paid_at >= 0.4


def test_copies_come_one_after_the_other(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    single, crowded = threading.Lock(), threading.Event()

    def answer(_: Received) -> int:
        if not single.acquire(blocking=False):
            crowded.set()
            return 500
        # Long enough for a copy that does not wait to come in meanwhile.
        time.sleep(0.05)
        single.release()
        return 200

    receiver.answer = answer
    pay(sandbox, scripted_order(sandbox, receiver, webhook={"send": [{"copies": 4}]}))
    copies = receiver.wait_for(4)
    assert len({(copy.headers["webhook-id"], copy.body) for copy in copies}) == 1
    assert not crowded.is_set()


def test_copies_come_all_at_once(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    together = threading.Barrier(4)

    def answer(_: Received) -> int:
        # Nobody is answered before the fourth has come, which it does only if none waits for another.
        together.wait(10)
        return 200

    receiver.answer = answer
    order = scripted_order(sandbox, receiver, webhook={"send": [{"copies": 4, "parallel": True}]})
    pay(sandbox, order)
    copies = receiver.wait_for(4)
    assert len({(copy.headers["webhook-id"], copy.body) for copy in copies}) == 1
    deliveries = wait_until(lambda: _delivered(sandbox, order["merchant_reference"], 4), "four deliveries")
    assert [len(delivery["attempts"]) for delivery in deliveries] == [1, 1, 1, 1]


def _delivered(sandbox: SandboxProcess, merchant_reference: str, count: int) -> list[dict[str, Any]] | None:
    found = sandbox.deliveries(merchant_reference)
    return found if [delivery["state"] for delivery in found] == ["delivered"] * count else None


def test_webhooks_come_in_reversed_order(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    order = scripted_order(sandbox, receiver, webhook={"reverse": 2})
    payment = pay(sandbox, order)
    assert [held["state"] for held in sandbox.deliveries(order["merchant_reference"])] == ["held"]
    sandbox.post(f"/v1/payments/{payment['reference']}/refund")
    assert [body_of(sandbox, webhook)["status"] for webhook in receiver.wait_for(2)] == ["refunded", "success"]


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "20.00"},
        {"amount": "30.00"},
        {"currency": "EUR"},
        {"provider_reference": "sbx_other"},
        {"transaction_id": "018f0000-0000-7000-8000-000000000000"},
        {"provider_id": "somebody-else"},
    ],
)
def test_a_webhook_says_something_else(
    sandbox: SandboxProcess, receiver: WebhookReceiver, change: dict[str, str]
) -> None:
    payment = pay(sandbox, scripted_order(sandbox, receiver, webhook={"send": [{"change": change}]}))
    body = body_of(sandbox, receiver.wait_for(1)[0])
    honest = {"amount": "25.00", "currency": "USD", "provider_reference": payment["reference"]}
    assert {name: body[name] for name in honest | change} == honest | change


def test_a_change_to_null_takes_the_field_away(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    pay(sandbox, scripted_order(sandbox, receiver, webhook={"send": [{"change": {"event_id": None}}]}))
    assert "event_id" not in body_of(sandbox, receiver.wait_for(1)[0])


@pytest.mark.parametrize(
    ("action", "send", "statuses"),
    [
        ("pay", [{}, {"opposite": True}], ["success", "failed"]),
        ("pay", [{"opposite": True}, {}], ["failed", "success"]),
        ("decline", [{}, {"opposite": True}], ["failed", "success"]),
    ],
)
def test_webhooks_contradict_each_other(
    sandbox: SandboxProcess, receiver: WebhookReceiver, action: str, send: list[dict[str, Any]], statuses: list[str]
) -> None:
    pay(sandbox, scripted_order(sandbox, receiver, webhook={"send": send}), action)
    webhooks = receiver.wait_for(2)
    assert [body_of(sandbox, webhook)["status"] for webhook in webhooks] == statuses
    assert len({webhook.headers["webhook-id"] for webhook in webhooks}) == 2
    assert [webhook.path for webhook in webhooks] == [f"/{status}" for status in statuses]


def test_the_same_id_comes_with_other_bytes(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    send = [{}, {"same_id": True, "change": {"amount": "9.99"}}]
    pay(sandbox, scripted_order(sandbox, receiver, webhook={"send": send}))
    first, second = receiver.wait_for(2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [body_of(sandbox, webhook)["amount"] for webhook in (first, second)] == ["25.00", "9.99"]


@pytest.mark.parametrize("variant", [{"signature": "forged"}, {"signature": "missing"}, {"timestamp_shift": -3600}])
def test_a_webhook_cannot_be_verified(
    sandbox: SandboxProcess, receiver: WebhookReceiver, variant: dict[str, Any]
) -> None:
    receiver.answer = lambda webhook: 400
    order = scripted_order(sandbox, receiver, webhook={"send": [variant | {"attempts": 2}]})
    pay(sandbox, order)
    for webhook in receiver.wait_for(2):
        with pytest.raises(WebhookVerificationError):
            body_of(sandbox, webhook)
    (delivery,) = wait_until(
        lambda: [d for d in sandbox.deliveries(order["merchant_reference"]) if d["state"] == "given_up"], "the end"
    )
    assert len(delivery["attempts"]) == 2


def test_a_webhook_is_signed_but_malformed(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    pay(sandbox, scripted_order(sandbox, receiver, webhook={"send": [{"body": "malformed"}]}))
    (webhook,) = receiver.wait_for(1)
    # The reference library verifies before it parses, so only the parsing fails.
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        body_of(sandbox, webhook)


def test_only_the_named_events_misbehave(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    order = scripted_order(sandbox, receiver, webhook={"events": ["refunded"], "send": []})
    payment = pay(sandbox, order)
    sandbox.post(f"/v1/payments/{payment['reference']}/refund")
    assert [found["event"] for found in sandbox.deliveries(order["merchant_reference"])] == ["success"]
