"""Refunds that a merchant makes through the sandbox's own API, with its id of the refund and a key."""

from __future__ import annotations

from typing import Any

import requests

from tests.integration.sandbox.sandbox_process import SandboxProcess, new_order, pay, scripted_order


def refund(sandbox: SandboxProcess, reference: str, key: str | None, **body: Any) -> requests.Response:
    """Make the refund call, with an idempotency key where one is given."""
    headers = {"Authorization": f"Bearer {sandbox.key}"} | ({} if key is None else {"Idempotency-Key": key})
    return requests.post(f"{sandbox.url}/v1/payments/{reference}/refund", json=body, headers=headers, timeout=20)


def test_a_key_makes_one_refund(sandbox: SandboxProcess) -> None:
    reference = pay(sandbox, new_order())["reference"]
    first = refund(sandbox, reference, "key-1", amount="5.00", refund_id="mine-1")
    assert (first.status_code, first.json()["refunded_amount"]) == (200, "5.00")
    made = first.json()["refund"]
    expected = {"payment": reference, "refund_id": "mine-1", "amount": "5.00", "currency": "USD", "status": "completed"}
    assert {name: made[name] for name in expected} == expected
    assert refund(sandbox, reference, "key-1", amount="5.00", refund_id="mine-1").content == first.content
    assert refund(sandbox, reference, "key-1", amount="6.00", refund_id="mine-1").status_code == 409
    # Without a key each call is a refund of its own.
    assert refund(sandbox, reference, None, amount="1.00", refund_id="mine-2").status_code == 200
    assert sandbox.post(f"/v1/payments/{reference}/refund", {"amount": "2.00"}).json()["refunded_amount"] == "8.00"
    listed = sandbox.get("/v1/refunds", payment=reference)["data"]
    assert [(one["refund_id"], one["amount"]) for one in listed] == [
        ("mine-1", "5.00"),
        ("mine-2", "1.00"),
        (None, "2.00"),
    ]
    assert listed[0] == made
    assert sandbox.fetch("/v1/refunds", payment="sbx_none").status_code == 404


def test_a_refusal_is_kept_with_its_key(sandbox: SandboxProcess) -> None:
    reference = sandbox.create(new_order()).json()["reference"]
    assert refund(sandbox, reference, "early").status_code == 409
    assert sandbox.post(f"/v1/payments/{reference}/pay").status_code == 200
    assert refund(sandbox, reference, "early").status_code == 409
    assert refund(sandbox, reference, "large", amount="25.01").json()["error"]["code"] == "refund_too_large"
    assert refund(sandbox, reference, "named", refund_id="").status_code == 422
    assert refund(sandbox, reference, "kurz\tkey").status_code == 400
    assert refund(sandbox, reference, "whole").json()["refunded_amount"] == "25.00"


def test_scripts_are_for_the_merchants_calls(sandbox: SandboxProcess) -> None:
    order = scripted_order(sandbox, refund={"outcome": "pending", "times": 1})
    reference = pay(sandbox, order)["reference"]
    # What a test does for the customer uses no script up.
    shown = sandbox.post(f"/v1/payments/{reference}/refund", {"amount": "1.00"}).json()["refund"]
    assert shown["status"] == "completed"
    assert refund(sandbox, reference, "a", amount="1.00").json()["refund"]["status"] == "processing"
    assert refund(sandbox, reference, "b", amount="1.00").json()["refund"]["status"] == "completed"
