"""What a script triggers automatically, and which payments it applies to."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from testbed.waiting import wait_until
from tests.integration.sandbox.sandbox_process import SandboxProcess, body_of, new_order, pay, scripted_order
from tests.support.webhook_receiver import WebhookReceiver


def test_the_sandbox_acts_by_itself_when_its_script_says_so(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    steps = [
        {"action": "pay", "amount": "10.00"},
        {"action": "pay", "after": 0.2},
        {"action": "refund", "after": 0.4, "amount": "5.00"},
        {"action": "cancel", "after": 0.5},
    ]
    order = scripted_order(sandbox, receiver, auto=steps)
    reference = sandbox.create(order).json()["reference"]
    bodies = [body_of(sandbox, webhook) for webhook in receiver.wait_for(3)]
    assert [(body["status"], body["amount"]) for body in bodies] == [
        ("success", "10.00"),
        ("success", "25.00"),
        ("refunded", "5.00"),
    ]
    assert sandbox.get(f"/v1/payments/{reference}")["status"] == "paid"


def test_late_money_comes_after_a_cancel(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    steps = [{"action": "cancel"}, {"action": "pay", "after": 0.3, "even_if_ended": True}]
    sandbox.create(scripted_order(sandbox, receiver, auto=steps))
    assert [body_of(sandbox, webhook)["status"] for webhook in receiver.wait_for(2)] == ["cancelled", "success"]


def test_a_script_can_come_after_its_payment(sandbox: SandboxProcess) -> None:
    payment = sandbox.payment()
    sandbox.script(match={"merchant_reference": payment["merchant_reference"]}, auto={"action": "decline"})
    path = f"/v1/payments/{payment['reference']}"
    wait_until(lambda: sandbox.get(path)["status"] == "declined", "the decline")


def test_a_script_matches_metadata(sandbox: SandboxProcess) -> None:
    sandbox.script(match={"metadata": {"case": "refused"}}, create={"status": 422})
    assert sandbox.create(new_order(metadata={"case": "refused", "more": "x"})).status_code == 422
    assert sandbox.create(new_order(metadata={"case": "other"})).status_code == 201


def test_a_script_takes_the_next_payments_and_each_as_often_as_it_says(sandbox: SandboxProcess) -> None:
    known = new_order()
    sandbox.create(known)
    script = sandbox.script(match={"next": 2}, create={"status": 500}, times=2)
    assert sandbox.create(known).status_code == 201
    first, second, third = (new_order() for _ in range(3))
    calls = [first, first, second, third, first, second, second]
    statuses = [sandbox.create(order).status_code for order in calls]
    assert statuses == [500, 500, 500, 201, 201, 500, 201]
    (shown,) = [found for found in sandbox.get("/control/script")["data"] if found["id"] == script["id"]]
    assert (shown["next_left"], shown["uses"]) == (0, {"create": 4})


def test_the_newest_script_wins_and_clearing_ends_all(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    order = scripted_order(sandbox, receiver, create={"status": 500}, webhook={"reverse": 3})
    match = {"merchant_reference": order["merchant_reference"]}
    sandbox.script(match=match, create={"status": 503, "times": 1})
    assert [sandbox.create(order).status_code for _ in range(2)] == [503, 500]
    sandbox.script(match=match, create={"delay": 0})
    pay(sandbox, order)
    assert receiver.received == []
    assert requests.delete(sandbox.url + "/control/script", timeout=5).json()["deleted"] >= 3
    assert sandbox.get("/control/script")["data"] == []
    # What a script held back belongs to the merchant again.
    assert body_of(sandbox, receiver.wait_for(1)[0])["status"] == "success"


@pytest.mark.parametrize(
    ("script", "named"),
    [
        ({}, "match"),
        ({"match": {}}, "match"),
        ({"match": {"next": 1}}, "needs one of"),
        ({"match": {"next": 0}, "create": {}}, "match.next"),
        ({"match": {"next": 1, "merchant_reference": "x"}, "create": {}}, "match"),
        ({"match": {"metadata": {}}, "create": {}}, "match.metadata"),
        ({"match": {"next": 1}, "create": {"stauts": 500}}, "stauts"),
        ({"match": {"next": 1}, "create": {"status": 200}}, "create.status"),
        ({"match": {"next": 1}, "create": {"delay": 1e9}}, "create.delay"),
        ({"match": {"next": 1}, "webhook": {"send": {}}}, "webhook.send"),
        ({"match": {"next": 1}, "webhook": {"send": [{"copies": True}]}}, "webhook.send.copies"),
        ({"match": {"next": 1}, "auto": []}, "auto"),
        ({"match": {"next": 1}, "auto": {"after": 1}}, "auto.action"),
        ({"match": {"next": 1}, "auto": {"action": "pay", "currency": "EUR", "amount": "1.001"}}, "auto.amount"),
        ({"match": {"next": 1}, "create": {}, "times": 0}, "times"),
        ({"match": {"next": 1}, "other": {}}, "other"),
    ],
)
def test_a_slip_in_a_script_is_named(sandbox: SandboxProcess, script: dict[str, Any], named: str) -> None:
    answer = requests.put(sandbox.url + "/control/script", json=script, timeout=5)
    assert answer.status_code == 422
    assert named in answer.json()["error"]["message"]
