"""The sandbox's payment API over HTTP, on a real process."""

from __future__ import annotations

import base64
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from testbed.waiting import wait_until
from tests.integration.sandbox.sandbox_process import SandboxProcess, new_order


def test_a_new_payment_has_every_field(sandbox: SandboxProcess) -> None:
    order = new_order(metadata={"basket": "7"}, expires_at="2099-01-01T01:00:00+01:00")
    answer = sandbox.create(order)
    assert answer.status_code == 201
    payment = answer.json()
    assert payment["reference"].startswith("sbx_")
    assert payment["redirect_url"].startswith(f"{sandbox.url}/pay/{payment['reference']}?token=")
    expected = {
        "status": "open",
        "amount": "25.00",
        "currency": "USD",
        "merchant_reference": order["merchant_reference"],
        "metadata": {"basket": "7"},
        "received_amount": "0.00",
        "received_currency": None,
        "refunded_amount": "0.00",
        "error_message": None,
        "expires_at": "2099-01-01T00:00:00.000000Z",
    }
    assert {name: payment[name] for name in expected} == expected
    assert payment["created_at"] == payment["updated_at"]
    assert sandbox.get(f"/v1/payments/{payment['reference']}") == payment


@pytest.mark.parametrize(("currency", "amount", "nothing"), [("JPY", "2500", "0"), ("KWD", "2.500", "0.000")])
def test_amounts_have_the_digits_of_their_currency(
    sandbox: SandboxProcess, currency: str, amount: str, nothing: str
) -> None:
    payment = sandbox.payment(currency=currency, amount=amount)
    assert (payment["amount"], payment["received_amount"]) == (amount, nothing)
    paid = sandbox.post(f"/v1/payments/{payment['reference']}/pay").json()
    assert (paid["received_amount"], paid["received_currency"]) == (amount, currency)


def test_the_same_key_and_bytes_give_the_stored_answer_even_after_the_payment_moved_on(sandbox: SandboxProcess) -> None:
    order = new_order()
    first = sandbox.create(order)
    assert sandbox.post(f"/v1/payments/{first.json()['reference']}/pay").status_code == 200
    again = sandbox.create(order)
    assert (again.status_code, again.content) == (201, first.content)
    truth = sandbox.truth(order["merchant_reference"])
    assert len(truth["payments"]) == 1
    assert truth["create_calls"] == [
        {"merchant_reference": order["merchant_reference"], "calls": 2, "idempotency_keys": 1, "bodies": 1}
    ]


def test_the_same_key_with_other_bytes_is_refused(sandbox: SandboxProcess) -> None:
    order = new_order()
    sandbox.create(order)
    answer = sandbox.create(order | {"amount": "26.00"})
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "idempotency_mismatch"
    assert sandbox.truth(order["merchant_reference"])["create_calls"][0]["bodies"] == 2


def test_a_refused_body_does_not_use_its_key_up(sandbox: SandboxProcess) -> None:
    order = new_order()
    assert sandbox.create(order | {"amount": "0.00"}).status_code == 422
    assert sandbox.create(order).status_code == 201


def test_parallel_calls_with_one_key_make_one_payment(sandbox: SandboxProcess) -> None:
    order = new_order()
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: sandbox.create(order), range(24)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len(sandbox.truth(order["merchant_reference"])["payments"]) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 25}, "amount"),
        ({"amount": "25.001"}, "amount"),
        ({"amount": "-1.00"}, "amount"),
        ({"amount": "1e2"}, "amount"),
        ({"amount": "10000000000000.01"}, "amount"),
        ({"currency": "usd"}, "currency"),
        ({"merchant_reference": ""}, "merchant_reference"),
        ({"merchant_reference": None}, "merchant_reference"),
        ({"success_url": "javascript:alert(1)"}, "success_url"),
        ({"success_url": "https://shop.example;script-src/x"}, "success_url"),
        ({"failure_url": "https://shop.example/a b"}, "failure_url"),
        ({"failure_url": "https://user:word@shop.example/"}, "failure_url"),
        ({"callback_urls": {"success": "ftp://shop.example/"}}, "callback_urls.success"),
        ({"callback_urls": {"other": "https://shop.example/"}}, "callback_urls"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2099-01-01T00:00:00"}, "expires_at"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_fields_are_named(sandbox: SandboxProcess, change: dict[str, Any], field: str) -> None:
    answer = sandbox.create(new_order() | change, idempotency_key=secrets.token_hex(8))
    assert answer.status_code == 422
    assert field in answer.json()["error"]["message"]


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"amount": NaN}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_400(sandbox: SandboxProcess, raw: bytes) -> None:
    headers = {"Idempotency-Key": "x"}
    answer = requests.post(sandbox.url + "/v1/payments", data=raw, headers=headers, timeout=5)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


def test_a_create_call_needs_an_idempotency_key(sandbox: SandboxProcess) -> None:
    answer = sandbox.post("/v1/payments", new_order(), sandbox.key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "idempotency_key_needed")


def test_errors_have_one_form(sandbox: SandboxProcess) -> None:
    for answer, status in (
        (requests.get(sandbox.url + "/nowhere", timeout=5), 404),
        (requests.delete(sandbox.url + "/v1/payments", timeout=5), 405),
        (sandbox.fetch("/v1/payments/sbx_none"), 404),
        (requests.post(sandbox.url + "/v1/payments/x/pay", data=b"x" * 300_000, timeout=5), 413),
    ):
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"code", "message"}


def test_a_merchant_sees_and_touches_only_its_own(sandbox: SandboxProcess) -> None:
    payment = sandbox.payment()
    path = f"/v1/payments/{payment['reference']}"
    # With one account registered no key is needed; the second account below ends that.
    assert requests.get(sandbox.url + path, timeout=5).status_code == 200
    other = "key_" + secrets.token_hex(8)
    sandbox.put_merchant("other", other, "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    assert requests.get(sandbox.url + path, timeout=5).status_code == 401
    for key, status in ((other, 404), ("wrong", 401)):
        headers = {"Authorization": f"Bearer {key}"}
        assert requests.get(sandbox.url + path, headers=headers, timeout=5).status_code == status
        for action in ("pay", "decline", "cancel", "refund"):
            assert sandbox.post(f"{path}/{action}", key=key).status_code == status
    listed = requests.get(sandbox.url + "/v1/payments", headers={"Authorization": f"Bearer {other}"}, timeout=5)
    assert listed.json() == {"data": [], "next_cursor": None}
    assert sandbox.get(path)["status"] == "open"
    taken = {"api_key": sandbox.key, "provider_id": "x", "webhook_secret": sandbox.secret}
    assert requests.put(sandbox.url + "/control/merchants/third", json=taken, timeout=5).status_code == 409


def test_paying_twice_at_once_captures_once(sandbox: SandboxProcess) -> None:
    payment = sandbox.payment()
    path = f"/v1/payments/{payment['reference']}/pay"
    with ThreadPoolExecutor(12) as pool:
        statuses = sorted(answer.status_code for answer in pool.map(lambda _: sandbox.post(path), range(12)))
    assert statuses == [200] + [409] * 11
    truth = sandbox.truth(payment["merchant_reference"])["payments"][0]
    assert (truth["captures"], truth["received_minor"], truth["status"]) == (1, 2500, "paid")


def test_a_payment_can_be_paid_in_parts_and_over(sandbox: SandboxProcess) -> None:
    path = f"/v1/payments/{sandbox.payment()['reference']}"
    part = sandbox.post(path + "/pay", {"amount": "10.00"}).json()
    assert (part["status"], part["received_amount"], part["received_currency"]) == ("underpaid", "10.00", "USD")
    assert sandbox.post(path + "/cancel").json()["error"]["code"] == "already_captured"
    assert sandbox.post(path + "/pay", {"amount": "5", "currency": "EUR"}).status_code == 409
    rest = sandbox.post(path + "/pay").json()
    assert (rest["status"], rest["received_amount"]) == ("paid", "25.00")
    over = f"/v1/payments/{sandbox.payment()['reference']}/pay"
    paid = sandbox.post(over, {"amount": "30.00"}).json()
    assert (paid["status"], paid["received_amount"]) == ("paid", "30.00")


def test_another_currency_is_taken_with_its_own_digits(sandbox: SandboxProcess) -> None:
    path = f"/v1/payments/{sandbox.payment()['reference']}/pay"
    assert sandbox.post(path, {"currency": "JPY"}).status_code == 422
    paid = sandbox.post(path, {"currency": "JPY", "amount": "2500"}).json()
    assert (paid["status"], paid["received_amount"], paid["received_currency"]) == ("paid", "2500", "JPY")
    assert paid["refunded_amount"] == "0"


def test_refunds_add_up_and_never_pass_what_was_received(sandbox: SandboxProcess) -> None:
    path = f"/v1/payments/{sandbox.payment()['reference']}"
    assert sandbox.post(path + "/refund").status_code == 409
    sandbox.post(path + "/pay")
    assert sandbox.post(path + "/refund", {"amount": "5.00"}).json()["refunded_amount"] == "5.00"
    assert sandbox.post(path + "/refund", {"amount": "20.01"}).status_code == 422
    refunded = sandbox.post(path + "/refund").json()
    assert (refunded["status"], refunded["refunded_amount"]) == ("paid", "25.00")
    assert sandbox.post(path + "/refund").status_code == 409


def test_a_payment_ends_once(sandbox: SandboxProcess) -> None:
    declined = f"/v1/payments/{sandbox.payment()['reference']}"
    answer = sandbox.post(declined + "/decline", {"message": "No cover."}).json()
    assert (answer["status"], answer["error_message"]) == ("declined", "No cover.")
    cancelled = f"/v1/payments/{sandbox.payment()['reference']}"
    assert sandbox.post(cancelled + "/cancel", key=sandbox.key).json()["status"] == "cancelled"
    assert sandbox.post(cancelled + "/cancel", key=sandbox.key).status_code == 200
    for path in (declined, cancelled):
        assert sandbox.post(path + "/pay").json()["error"]["code"] == "wrong_state"
        assert sandbox.post(path + "/decline").status_code == 409
    assert sandbox.post(declined + "/cancel").status_code == 409
    late = sandbox.post(cancelled + "/pay", {"even_if_ended": True}).json()
    assert (late["status"], late["received_amount"]) == ("paid", "25.00")


def test_an_unpaid_payment_expires(sandbox: SandboxProcess) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=0.5)
    payment = sandbox.payment(expires_at=expires_at.isoformat())
    path = f"/v1/payments/{payment['reference']}"
    assert payment["status"] == "open"
    expired = wait_until(lambda: (now := sandbox.get(path))["status"] == "expired" and now, "expiry")
    assert expired["updated_at"] == payment["expires_at"]
    assert sandbox.post(path + "/pay").status_code == 409
    assert sandbox.post(path + "/cancel").status_code == 409
    assert sandbox.post(path + "/pay", {"even_if_ended": True}).json()["status"] == "paid"


def test_lists_are_oldest_first_and_paged(sandbox: SandboxProcess) -> None:
    created = [sandbox.payment() for _ in range(5)]
    since = created[0]["created_at"]
    first = sandbox.get("/v1/payments", created_after=since, limit="2")
    second = sandbox.get("/v1/payments", created_after=since, limit="2", cursor=first["next_cursor"])
    third = sandbox.get("/v1/payments", created_after=since, limit="2", cursor=second["next_cursor"])
    assert first["data"] + second["data"] + third["data"] == created
    assert third["next_cursor"] is None
    window = sandbox.get("/v1/payments", created_after=since, created_before=created[2]["created_at"])
    assert window == {"data": created[:2], "next_cursor": None}
    wanted = created[3]["merchant_reference"]
    assert sandbox.get("/v1/payments", merchant_reference=wanted) == {"data": [created[3]], "next_cursor": None}
    for query in ({"limit": "0"}, {"limit": "501"}, {"cursor": "x"}, {"created_after": "yesterday"}):
        assert sandbox.fetch("/v1/payments", **query).status_code == 422


def test_a_control_key_locks_the_levers(tmp_path: Path) -> None:
    locked = SandboxProcess(tmp_path, SANDBOX_CONTROL_KEY="open sesame")
    try:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer no"}, 401),
            ({"Authorization": "Bearer open sesame"}, 200),
        ):
            assert requests.get(locked.url + "/control/truth", headers=headers, timeout=5).status_code == status
        # No merchant is registered, so nobody can be meant by a call without a key.
        assert requests.get(locked.url + "/v1/payments", timeout=5).status_code == 401
    finally:
        locked.close()
