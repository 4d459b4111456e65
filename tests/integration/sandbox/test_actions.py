"""What happens to a payment outside the merchant's calls: attempts, expiry, refunds that fail, disputes."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.integration.sandbox.sandbox_process import SandboxProcess, body_of, callback_urls
from tests.support.webhook_receiver import WebhookReceiver


def act(sandbox: SandboxProcess, name: str, action: str, **words: Any) -> requests.Response:
    """Let an action happen."""
    return requests.post(f"{sandbox.url}/control/payments/{name}/{action}", json=words, timeout=10)


def reports(sandbox: SandboxProcess, receiver: WebhookReceiver, count: int) -> list[tuple[str, str]]:
    """Return event type and amount of the webhooks, in the order of their storing."""
    receiver.wait_for(count)
    bodies = [body_of(sandbox, webhook) for webhook in receiver.received]
    return sorted((body["event_type"], body["amount"]) for body in bodies)


def test_an_attempt_is_declined_and_the_payment_stays_open(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    payment = sandbox.payment(callback_urls=callback_urls(receiver))
    assert act(sandbox, payment["reference"], "attempt", message="No cover.").json()["status"] == "open"
    assert sandbox.get(f"/v1/payments/{payment['reference']}")["error_message"] == "No cover."
    assert act(sandbox, payment["merchant_reference"], "pay").json()["status"] == "paid"
    assert reports(sandbox, receiver, 1) == [("payment.success", "25.00")]


def test_time_runs_out_without_a_webhook(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    payment = sandbox.payment(callback_urls=callback_urls(receiver))
    assert act(sandbox, payment["reference"], "expire").json()["status"] == "expired"
    for action in ("expire", "pay", "attempt"):
        assert act(sandbox, payment["reference"], action).status_code == 409
    assert sandbox.deliveries(payment["merchant_reference"]) == []


def test_a_refund_fails_later_and_its_money_is_back(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    payment = sandbox.payment(callback_urls=callback_urls(receiver))
    name = payment["reference"]
    assert act(sandbox, name, "fail_refund").status_code == 409
    for action, words in (("pay", {}), ("refund", {"amount": "5.00"}), ("refund", {"amount": "7.00"})):
        assert act(sandbox, name, action, **words).status_code == 200
    assert act(sandbox, name, "fail_refund").json()["refunded_minor"] == 500
    assert act(sandbox, name, "refund", amount="21.00").status_code == 422
    assert reports(sandbox, receiver, 4) == [
        ("payment.refunded", "12.00"),
        ("payment.refunded", "5.00"),
        ("payment.reinstated", "7.00"),
        ("payment.success", "25.00"),
    ]


@pytest.mark.parametrize(("action", "gone"), [("win_dispute", "0.00"), ("lose_dispute", "20.00")])
def test_a_dispute_withdraws_money_until_it_is_won(
    sandbox: SandboxProcess, receiver: WebhookReceiver, action: str, gone: str
) -> None:
    payment = sandbox.payment(callback_urls=callback_urls(receiver))
    name = payment["reference"]
    act(sandbox, name, "pay")
    assert act(sandbox, name, "dispute", amount="20.00").json()["disputed_minor"] == 2000
    assert sandbox.get(f"/v1/payments/{name}")["refunded_amount"] == "20.00"
    assert act(sandbox, name, "refund", amount="5.01").status_code == 422
    outcome = action.removesuffix("_dispute").replace("win", "won").replace("lose", "lost")
    assert act(sandbox, name, action).json()["disputes"] == [{"status": outcome, "amount_minor": 2000}]
    assert act(sandbox, name, action).status_code == 409
    assert sandbox.get(f"/v1/payments/{name}")["refunded_amount"] == gone
    count = 5 if action == "win_dispute" else 4
    bodies = [body_of(sandbox, webhook) for webhook in receiver.wait_for(count)]
    assert {body["outcome"] for body in bodies if body["status"] == "disputed"} == {"opened", outcome}
    assert len({body.get("dispute_id") or body.get("reversal_id") for body in bodies} - {None}) == 1
    assert len({body["event_id"] for body in bodies}) == count


def test_a_stray_event_comes_beside_the_true_one(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    payment = sandbox.payment(callback_urls=callback_urls(receiver))
    match = {"merchant_reference": payment["merchant_reference"]}
    sandbox.script(match=match, webhook={"send": [{"stray": True}, {}]})
    act(sandbox, payment["reference"], "pay")
    assert reports(sandbox, receiver, 2) == [("payment.noted", "25.00"), ("payment.success", "25.00")]


@pytest.mark.parametrize(
    ("path", "words", "status"),
    [
        ("nobody/pay", {}, 404),
        ("{}/steal", {}, 404),
        ("{}/pay", {"after": 1}, 422),
        ("{}/pay", {"amount": 5}, 422),
        ("{}/dispute", {}, 409),
    ],
)
def test_what_cannot_happen_is_refused(sandbox: SandboxProcess, path: str, words: dict[str, Any], status: int) -> None:
    name, _, action = path.format(sandbox.payment()["reference"]).partition("/")
    assert act(sandbox, name, action, **words).status_code == status
