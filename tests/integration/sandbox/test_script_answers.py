"""The answers a script can spoil, seen from outside."""

from __future__ import annotations

import time

import pytest
import requests

from testbed.waiting import wait_until
from tests.integration.sandbox.sandbox_process import SandboxProcess, body_of, pay, scripted_order, stored
from tests.support.webhook_receiver import WebhookReceiver


@pytest.mark.parametrize("effect", [False, True])
def test_create_fails_n_times_and_then_succeeds(sandbox: SandboxProcess, effect: bool) -> None:
    section = {"status": 503, "retry_after": 2, "times": 2} | ({"effect": True} if effect else {})
    order = scripted_order(sandbox, create=section)
    for _ in range(2):
        answer = sandbox.create(order)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert answer.json()["error"]["code"] == "scripted"
        assert stored(sandbox, order) == int(effect)
    assert sandbox.create(order).status_code == 201
    truth = sandbox.truth(order["merchant_reference"])
    assert (len(truth["payments"]), truth["create_calls"][0]["calls"]) == (1, 3)


@pytest.mark.parametrize("status", [401, 422])
def test_create_refuses(sandbox: SandboxProcess, status: int) -> None:
    order = scripted_order(sandbox, create={"status": status, "message": "not you"})
    answer = sandbox.create(order)
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, "not you")
    assert stored(sandbox, order) == 0


def test_create_answers_late(sandbox: SandboxProcess) -> None:
    order = scripted_order(sandbox, create={"delay": 0.4})
    started = time.monotonic()
    assert sandbox.create(order).status_code == 201
    assert time.monotonic() - started >= 0.4


@pytest.mark.parametrize("effect", [True, False])
def test_create_times_out_with_and_without_effect(sandbox: SandboxProcess, effect: bool) -> None:
    order = scripted_order(sandbox, create={"answer": "timeout", "hold": 1, "effect": effect, "times": 1})
    with pytest.raises(requests.Timeout):
        sandbox.create(order, timeout=0.4)
    # A busy machine may begin with the request only after its sender gave up.
    wait_until(lambda: stored(sandbox, order) == int(effect), "the order is as the script says")
    assert sandbox.create(order).json()["merchant_reference"] == order["merchant_reference"]
    assert stored(sandbox, order) == 1


@pytest.mark.parametrize("answer", ["timeout", "torn"])
def test_create_is_cut_off(sandbox: SandboxProcess, answer: str) -> None:
    order = scripted_order(sandbox, create={"answer": answer, "hold": 0.1, "times": 1})
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        sandbox.create(order)
    assert stored(sandbox, order) == 1
    assert sandbox.create(order).status_code == 201


def test_create_redirects_swells_and_babbles(sandbox: SandboxProcess) -> None:
    order = scripted_order(sandbox, create={"answer": "redirect", "location": "http://127.0.0.1:1/x"})
    answer = sandbox.create(order)
    assert (answer.status_code, answer.headers["Location"]) == (307, "http://127.0.0.1:1/x")
    assert stored(sandbox, order) == 0
    large = scripted_order(sandbox, create={"answer": "oversized", "bytes": 3_000_000})
    answer = sandbox.create(large)
    assert (answer.status_code, len(answer.content)) == (201, 3_000_000)
    assert answer.json()["status"] == "open"
    babbling = sandbox.create(scripted_order(sandbox, create={"answer": "not_json"}))
    assert babbling.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        babbling.json()


def test_fetch_fails_then_answers(sandbox: SandboxProcess) -> None:
    order = scripted_order(sandbox, fetch={"status": 500, "times": 1})
    path = f"/v1/payments/{sandbox.create(order).json()['reference']}"
    assert [sandbox.fetch(path).status_code for _ in range(2)] == [500, 200]


def test_fetch_says_still_open_and_hides(sandbox: SandboxProcess) -> None:
    order = scripted_order(sandbox, fetch={"show": {"status": "open", "received_amount": "0.00"}})
    payment = pay(sandbox, order)
    path, query = f"/v1/payments/{payment['reference']}", {"merchant_reference": order["merchant_reference"]}
    assert sandbox.get(path)["status"] == "open"
    assert sandbox.get("/v1/payments", **query)["data"][0]["received_amount"] == "0.00"
    sandbox.script(match=query, fetch={"status": 404, "delay": 0.2})
    started = time.monotonic()
    assert sandbox.fetch(path).status_code == 404
    assert time.monotonic() - started >= 0.2
    assert sandbox.get("/v1/payments", **query)["data"] == []
    listed = sandbox.get("/v1/payments", created_after=payment["created_at"])["data"]
    assert payment["reference"] not in [shown["reference"] for shown in listed]
    assert sandbox.truth(order["merchant_reference"])["payments"][0]["status"] == "paid"


def test_cancel_is_refused_because_the_money_just_came(sandbox: SandboxProcess, receiver: WebhookReceiver) -> None:
    order = scripted_order(sandbox, receiver, cancel={"capture": True})
    payment = sandbox.create(order).json()
    answer = sandbox.post(f"/v1/payments/{payment['reference']}/cancel", key=sandbox.key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_captured")
    assert body_of(sandbox, receiver.wait_for(1)[0])["status"] == "success"


def test_cancel_fails_without_and_with_effect(sandbox: SandboxProcess) -> None:
    for section, status in (({"status": 503}, "open"), ({"answer": "torn"}, "cancelled")):
        payment = sandbox.create(scripted_order(sandbox, cancel=section)).json()
        path = f"/v1/payments/{payment['reference']}"
        try:
            assert sandbox.post(path + "/cancel").status_code == 503
        except requests.RequestException:
            assert section == {"answer": "torn"}
        assert sandbox.get(path)["status"] == status


def test_a_create_call_shows_what_the_script_says_and_the_truth_is_kept(sandbox: SandboxProcess) -> None:
    order = scripted_order(sandbox, create={"show": {"redirect_url": "javascript:alert(1)"}, "times": 1})
    shown, true = (sandbox.create(order).json() for _ in range(2))
    assert shown["redirect_url"] == "javascript:alert(1)"
    assert true["redirect_url"].startswith("http")
    assert shown["reference"] == true["reference"]
