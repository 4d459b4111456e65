"""Deposits over HTTP: fields, idempotency, waiting, and what is refused (CONTRACT section 3)."""

from __future__ import annotations

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from testbed.servers import Databases
from testbed.shop import ORIGIN, Shop
from testbed.stack import Stack
from tests.support.clients.api import Api, fields_of, problem_of
from tests.support.engine import Engine

FIELDS = {
    *("id", "version", "user_id", "amount", "amount_minor", "currency", "status", "exception", "provider_id"),
    *("provider_reference", "redirect_url", "failure_reason", "metadata", "created_at", "updated_at", "expires_at"),
    *("completed_at", "received_amount", "received_currency", "reversed_amount_minor"),
    *("pending_reason", "committed_until", "last_attempt_error", "next_action"),
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def stored(databases: Databases, shop: Shop) -> dict[str, int]:
    """How many rows of each kind the tenant has."""
    tables = ("payment_transactions", "payment_work", "wallet_temp_logs", "wallets", "notifications")
    return {
        table: databases.value(f"select count(*) from {table} where tenant_id = :id", id=shop.tenant_id)
        for table in tables
    }


def test_a_new_deposit_is_accepted_and_pending(api: Api, shop: Shop, front: Stack) -> None:
    answer = api.deposit(metadata={"order": "7"})
    assert answer.status_code == 202
    payment = answer.json()
    assert answer.headers["Location"] == f"/api/payments/{payment['id']}"
    assert "Idempotent-Replayed" not in answer.headers
    assert payment.keys() == FIELDS
    uuid.UUID(payment["id"])
    for name in ("created_at", "updated_at", "expires_at"):
        assert TIME.fullmatch(payment[name])
    lives = datetime.fromisoformat(payment["expires_at"]) - datetime.fromisoformat(payment["created_at"])
    assert lives == timedelta(minutes=30)
    known = {name: payment[name] for name in FIELDS - {"id", "created_at", "updated_at", "expires_at"}}
    assert known == {
        "version": 1,
        "user_id": "ann",
        "amount": "25.00",
        "amount_minor": 2500,
        "currency": "USD",
        "status": "pending",
        "exception": None,
        "provider_id": str(shop.provider_id),
        "provider_reference": None,
        "redirect_url": None,
        "next_action": None,
        "failure_reason": None,
        "metadata": {"order": "7"},
        "completed_at": None,
        "received_amount": None,
        "received_currency": None,
        "reversed_amount_minor": 0,
        "pending_reason": None,
        "committed_until": None,
        "last_attempt_error": None,
    }
    assert api.get(answer.headers["Location"]).json() == payment
    expected = {"payment_transactions": 1, "payment_work": 1, "wallet_temp_logs": 1, "wallets": 0, "notifications": 0}
    assert stored(front.databases, shop) == expected


@pytest.mark.parametrize(
    ("amount", "currency", "minor", "shown"),
    [
        ("25", "USD", 2500, "25.00"),
        ("1500", "JPY", 1500, "1500"),
        ("0.001", "KWD", 1, "0.001"),
        ("10000000000000", "EUR", 10**15, "10000000000000.00"),
    ],
)
def test_amounts_come_back_with_the_currencys_digits(
    api: Api, amount: str, currency: str, minor: int, shown: str
) -> None:
    payment = api.deposit(amount=amount, currency=currency).json()
    assert (payment["amount_minor"], payment["amount"]) == (minor, shown)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"amount": 25}, "amount"),
    ({"amount": 25.5}, "amount"),
    ({"amount": "25.001"}, "amount"),
    ({"amount": "1e3"}, "amount"),
    ({"amount": "+1"}, "amount"),
    ({"amount": "-1"}, "amount"),
    ({"amount": " 1"}, "amount"),
    ({"amount": "NaN"}, "amount"),
    ({"amount": "0"}, "amount"),
    ({"amount": "0.00"}, "amount"),
    ({"amount": "10000000000000.01"}, "amount"),
    ({"amount": None}, "amount"),
    ({"amount": "1.0", "currency": "JPY"}, "amount"),
    ({"currency": "usd"}, "currency"),
    ({"currency": "XXX"}, "currency"),
    ({"currency": "XAU"}, "currency"),
    ({"currency": 840}, "currency"),
    ({"user_id": ""}, "user_id"),
    ({"user_id": "a b"}, "user_id"),
    ({"user_id": "x" * 129}, "user_id"),
    ({"user_id": "ann\n"}, "user_id"),
    ({"user_id": 5}, "user_id"),
    ({"provider_id": "sandbox"}, "provider_id"),
    ({"provider_id": str(uuid.uuid4())}, "provider_id"),
    ({"success_url": "/thanks"}, "success_url"),
    ({"success_url": "javascript:alert(1)"}, "success_url"),
    ({"success_url": "https://shop.example.evil.example/"}, "success_url"),
    ({"success_url": "https://shop.example@evil.example/"}, "success_url"),
    ({"success_url": "http://shop.example/"}, "success_url"),
    ({"success_url": "https://shop.example:444/"}, "success_url"),
    ({"failure_url": "https://evil.example\\@shop.example/"}, "failure_url"),
    ({"failure_url": ORIGIN + "/" + "x" * 2048}, "failure_url"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"metadata": {"": "x"}}, "metadata."),
    ({"metadata": {"k" * 41: "x"}}, "metadata." + "k" * 41),
    ({"metadata": {"a": "x" * 501}}, "metadata.a"),
    ({"metadata": {str(index): "x" for index in range(51)}}, "metadata"),
    ({"metadata": []}, "metadata"),
    ({"amout": "25.00"}, "amout"),
    ({"without": ("amount",)}, "amount"),
    ({"without": ("currency",)}, "currency"),
    ({"without": ("user_id",)}, "user_id"),
]


def test_bad_input_names_its_field_and_stores_nothing(api: Api, shop: Shop, front: Stack) -> None:
    wrong = {}
    for body, field in BAD:
        answer = api.deposit(key="one-key", **body)
        if fields_of(answer) != {field}:
            wrong[str(body)[:80]] = answer.json()["errors"]
    assert wrong == {}
    assert set(stored(front.databases, shop).values()) == {0}
    # A refused body has not used the key up.
    assert api.deposit(key="one-key").status_code == 202


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"user_id": "ann", "user_id": "bob", "amount": "1", "currency": "USD"}', "application/json", 400),
        (b'{"user_id": "ann", "amount": NaN, "currency": "USD"}', "application/json", 400),
        (b'{"user_id": "\\u0000", "amount": "1", "currency": "USD"}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 5000, "application/json", 400),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b'"text"', "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"a=1", "application/x-www-form-urlencoded", 415),
        (b'{"a": "' + b"x" * 400_000 + b'"}', "application/json", 413),
        (b'{"a": "' + b"x" * 2_000_000 + b'"}', "application/json", 413),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bodies_that_are_no_deposit(
    api: Api, shop: Shop, front: Stack, body: bytes, media_type: str, status: int
) -> None:
    headers = {"Content-Type": media_type, "Idempotency-Key": "k"}
    problem_of(api.send("POST", "/api/payments/deposit", headers, data=body), status)
    assert set(stored(front.databases, shop).values()) == {0}


@pytest.mark.parametrize("key", [None, "", "x" * 256, "ké", "a\tb"])
def test_an_idempotency_key_is_needed(api: Api, key: str | None) -> None:
    headers = {} if key is None else {"Idempotency-Key": key.encode("latin-1")}
    answer = api.post("/api/payments/deposit", {"user_id": "ann", "amount": "1", "currency": "USD"}, headers)  # type: ignore[arg-type]
    assert fields_of(answer, 400) == {"Idempotency-Key"}


def test_limits_and_currencies_of_tenant_and_provider(front: Stack) -> None:
    shop = front.make_shop(amount_minor_max=1000)
    api = Api(front.web, shop.secret_key)
    assert fields_of(api.deposit(amount="10.01")) == {"amount"}
    assert api.deposit(amount="10.00").status_code == 202
    front.databases.rows("update payment_providers set currencies = '{EUR}' where id = :id", id=shop.provider_id)
    assert fields_of(api.deposit(amount="1.00")) == {"currency"}
    front.databases.rows("update payment_providers set disabled_at = now() where id = :id", id=shop.provider_id)
    assert fields_of(api.deposit(amount="1.00", currency="EUR")) == {"provider_id"}


def test_the_same_key_and_body_gives_the_same_payment(api: Api, shop: Shop, front: Stack, engine: Engine) -> None:
    first = api.deposit(key="k")
    again = api.deposit(key="k", amount="25")
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    engine.call()
    # As it is now, with the status that the first call would have had.
    later = api.deposit(key="k")
    assert (later.status_code, later.json()["status"]) == (202, "processing")
    assert api.deposit(key="k", headers={"Prefer": "wait=5"}).status_code == 201
    assert stored(front.databases, shop)["payment_transactions"] == 1


def test_the_same_key_with_another_body_is_refused(api: Api, shop: Shop, front: Stack) -> None:
    api.deposit(key="k")
    for change in ({"amount": "25.01"}, {"currency": "EUR"}, {"user_id": "bob"}, {"metadata": {"a": "b"}}):
        problem_of(api.deposit(key="k", **change), 422)
    problem_of(api.deposit(key="k", success_url=ORIGIN + "/x"), 422)
    assert stored(front.databases, shop)["payment_transactions"] == 1


def test_keys_of_different_callers_do_not_meet(front: Stack, shop: Shop, api: Api) -> None:
    other = front.make_shop()
    callers = [
        *(api, Api(front.web, other.secret_key)),
        *(Api(front.web, shop.token("ann")), Api(front.web, shop.token("bob"))),
    ]
    made = [caller.deposit(key="k", without=("user_id",) if index > 1 else ()) for index, caller in enumerate(callers)]
    assert [answer.status_code for answer in made] == [202] * 4
    assert len({answer.json()["id"] for answer in made}) == 4
    assert [answer.json()["user_id"] for answer in made] == ["ann", "ann", "ann", "bob"]
    # Another token of the same user is the same caller, and so is another key of the same tenant.
    assert Api(front.web, shop.token("bob")).deposit(key="k", user_id="bob").json()["id"] == made[3].json()["id"]
    assert Api(front.web, shop.key("operator")).deposit(key="k").json()["id"] == made[0].json()["id"]


def test_fifty_parallel_deposits_with_one_key_are_one_payment(api: Api, shop: Shop, front: Stack) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: api.deposit(key="k"), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 49
    counts = stored(front.databases, shop)
    assert (counts["payment_transactions"], counts["payment_work"], counts["wallet_temp_logs"]) == (1, 1, 1)


def test_of_parallel_deposits_with_different_bodies_one_wins(api: Api, shop: Shop, front: Stack) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda cents: api.deposit(key="k", amount=f"1.{cents:02}"), range(20)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [202] + [422] * 19
    assert stored(front.databases, shop)["payment_transactions"] == 1


def test_a_repeat_may_write_its_ids_in_another_letter_case(api: Api, shop: Shop) -> None:
    first = api.deposit(key="k", provider_id=str(shop.provider_id))
    assert first.status_code == 202, first.text
    repeat = api.deposit(key="k", provider_id=str(shop.provider_id).upper())
    assert (repeat.status_code, repeat.json()["id"]) == (202, first.json()["id"])
    assert repeat.headers["Idempotent-Replayed"] == "true"


def test_a_return_url_may_name_the_schemes_own_port(api: Api) -> None:
    assert api.deposit(success_url="https://shop.example:443/paid").status_code == 202
    assert api.deposit(success_url="https://SHOP.example/paid").status_code == 202
    assert fields_of(api.deposit(success_url="https://shop.example:444/paid")) == {"success_url"}
    assert fields_of(api.deposit(success_url="http://shop.example:443/paid")) == {"success_url"}
