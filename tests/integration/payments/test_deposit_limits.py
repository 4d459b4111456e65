"""What a deposit's provider cannot take is refused at once: 422 with the field, nothing stored, no key used up."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from app.services.tenants.providers import NewProvider, create_provider
from testbed.shop import ACTOR, ORIGIN, Shop
from testbed.stack import Stack
from tests.support.clients.api import Api, fields_of, problem_of
from tests.support.engine import Engine

RETURN = {"success_url": f"{ORIGIN}/ok"}
PAYER = {"customer": {"email": "ann@example.com"}}


def become(front: Stack, shop: Shop, adapter: str) -> None:
    """Let the shop's provider be one of another kind, which takes all currencies of its adapter."""
    front.databases.rows(
        "update payment_providers set adapter = :adapter, currencies = null where id = :id",
        adapter=adapter,
        id=shop.provider_id,
    )


def set_life(front: Stack, shop: Shop, seconds: int) -> None:
    front.databases.rows("update tenants set payment_seconds = :s where id = :id", s=seconds, id=shop.tenant_id)


# Adapter, what the deposit has, and the field that is wrong with what is said of it.
REFUSED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "no way back": ("stripe", {}, "success_url", "is needed by this provider"),
    "no payer": ("paystack", {"currency": "NGN"}, "customer.email", "is needed by this provider"),
    "unknown currency": ("stripe", {"currency": "IRR", **RETURN}, "currency", "is not one that this provider takes"),
    "too fine": (
        "stripe",
        {"currency": "KWD", "amount": "1.234", **RETURN},
        "amount",
        "cannot be paid at this provider: it must be a multiple of 10 of the provider's units of KWD",
    ),
    "no decimals": (
        "stripe",
        {"currency": "MGA", "amount": "25.50", **RETURN},
        "amount",
        "cannot be paid at this provider: it cannot be told in MGA with 0 decimals",
    ),
    "too little": (
        "razorpay",
        {"currency": "INR", "amount": "0.99"},
        "amount",
        "cannot be paid at this provider: it must be at least 1.00 INR",
    ),
    "too much": (
        "stripe",
        {"amount": "10000000000.00", **RETURN},
        "amount",
        "cannot be paid at this provider: it must be at most 9999999999.99 USD",
    ),
}
# The same, so that it can be paid.
MENDED: dict[str, dict[str, Any]] = {
    "no way back": RETURN,
    "no payer": {"currency": "NGN", **PAYER},
    "unknown currency": RETURN,
    "too fine": {"currency": "KWD", "amount": "1.230", **RETURN},
    "no decimals": {"currency": "MGA", "amount": "25.00", **RETURN},
    "too little": {"currency": "INR", "amount": "1.00"},
    "too much": {"amount": "9999999999.99", **RETURN},
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_provider_cannot_take_is_refused_with_its_field(front: Stack, shop: Shop, api: Api, what: str) -> None:
    adapter, body, name, message = REFUSED[what]
    become(front, shop, adapter)
    answer = api.deposit("key", **body)
    assert problem_of(answer, 422)["errors"] == [{"field": name, "message": message}]
    for table in ("payment_transactions", "wallet_temp_logs", "payment_work"):
        assert front.databases.value(f"select count(*) from {table} where tenant_id = :id", id=shop.tenant_id) == 0
    mended = api.deposit("key", **MENDED[what])
    assert mended.status_code == 202, mended.text


def test_all_that_is_wrong_is_said_at_once(front: Stack, shop: Shop, api: Api) -> None:
    become(front, shop, "stripe")
    front.databases.rows("update tenants set amount_minor_max = 100 where id = :id", id=shop.tenant_id)
    answer = api.deposit(currency="KWD", amount="1.234", failure_url="https://strange.example/")
    errors = {error["field"]: error["message"] for error in problem_of(answer, 422)["errors"]}
    assert errors.keys() == {"amount", "success_url", "failure_url"}
    # Our own limit comes before the provider's.
    assert errors["amount"] == "is above your limit"


def test_the_tenants_own_return_url_suffices(front: Stack, shop: Shop, api: Api) -> None:
    become(front, shop, "stripe")
    front.databases.rows(
        "update tenants set default_success_url = :url where id = :id", url=f"{ORIGIN}/thanks", id=shop.tenant_id
    )
    assert api.deposit().status_code == 202


def test_a_page_lives_as_long_as_the_tenants_payments(front: Stack, shop: Shop, api: Api) -> None:
    become(front, shop, "stripe")
    set_life(front, shop, 24 * 3600 + 1)
    answer = api.deposit(**RETURN)
    (error,) = problem_of(answer, 422)["errors"]
    assert error == {
        "field": "provider_id",
        "message": "keeps payments open for a shorter time than yours have to be paid",
    }
    set_life(front, shop, 24 * 3600)
    assert api.deposit(**RETURN).status_code == 202


def test_each_provider_has_its_own_limits(front: Stack, shop: Shop, api: Api) -> None:
    # The sandbox takes what others refuse.
    assert api.deposit(currency="IRR", amount="1.00").status_code == 202
    become(front, shop, "paystack")
    assert fields_of(api.deposit(currency="IRR", amount="1.00")) == {"currency", "customer.email"}


def test_a_payment_without_a_way_back_holds_up_no_other(front: Stack, shop: Shop, engine: Engine) -> None:
    become(front, shop, "stripe")
    payment = shop.deposit(success_url=f"{ORIGIN}/ok")
    front.databases.rows("update payment_transactions set success_url = null where id = :id", id=payment.id)
    engine.call()
    (work,) = front.databases.rows("select attempts from payment_work where payment_id = :id", id=payment.id)
    assert work == {"attempts": 1}
    paused = "select paused_until > now() as is_paused from provider_breakers where provider_id = :id"
    assert not any(row["is_paused"] for row in front.databases.rows(paused, id=shop.provider_id))
    assert front.databases.rows("select 1 from alerts where tenant_id = :id", id=shop.tenant_id) == []


def test_of_a_provider_that_a_browser_may_not_name_nothing_is_said(front: Stack, shop: Shop) -> None:
    new = NewProvider(shop.tenant_id, "hidden", "stripe", "https://api.stripe.com", {"api_key": "sk_test_a"})
    provider_id, _ = create_provider(shop.runtime, new, ACTOR)
    browser = Api(front.web, shop.token("ann"))
    for named in (provider_id, uuid.uuid4()):
        answer = browser.deposit(provider_id=str(named), currency="KWD", amount="1.234")
        assert fields_of(answer) == {"provider_id"}
