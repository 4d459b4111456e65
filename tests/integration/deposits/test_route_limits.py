"""A deposit that the first provider of its route does not take is made at the first one that takes it."""

from __future__ import annotations

import uuid

import pytest

from app.services.payments.calls import breaker
from app.services.tenants import provider_routes, providers
from app.services.tenants.providers import NewProvider
from testbed.shop import ACTOR, NOWHERE, ORIGIN, Shop
from tests.support.clients.api import Api, fields_of, problem_of
from tests.support.engine import Engine

TEST_KEY = {"api_key": "sk_test_" + "a" * 40}
TWO_DAYS = 2 * 86_400


def add_provider(shop: Shop, adapter: str, name: str) -> uuid.UUID:
    new = NewProvider(shop.tenant_id, name, adapter, NOWHERE, TEST_KEY)
    return providers.create_provider(shop.runtime, new, ACTOR)[0]


def route(shop: Shop, currency: str, *provider_ids: uuid.UUID) -> None:
    provider_routes.set_route(shop.runtime, shop.tenant_id, currency, provider_ids, ACTOR)


def pause(shop: Shop, provider_id: uuid.UUID) -> None:
    with shop.runtime.database.transaction("worker") as connection:
        breaker.pause(connection, shop.tenant_id, provider_id, RuntimeError("away"), 60)


def forget(engine: Engine, shop: Shop) -> None:
    """Take away calls to providers that are not there: nobody is to claim them."""
    engine.databases.rows("delete from payment_work where tenant_id = :id", id=shop.tenant_id)


@pytest.mark.parametrize(
    ("adapter", "seconds", "asked", "lacking", "fields"),
    [
        ("paystack", 1_800, {}, {"customer": {"email": "ann@shop.example"}}, {"customer.email"}),
        ("stripe", 1_800, {}, {"success_url": f"{ORIGIN}/done"}, {"success_url"}),
        ("stripe", 1_800, {"success_url": f"{ORIGIN}/", "amount": "25.001"}, {"amount": "25.000"}, {"amount"}),
        ("stripe", TWO_DAYS, {"success_url": f"{ORIGIN}/done"}, None, {"provider_id"}),
    ],
    ids=["a field", "a return URL", "digits", "a lifetime"],
)
def test_a_provider_that_does_not_take_the_deposit_is_passed_over_when_it_is_made(
    engine: Engine,
    shop: Shop,
    api: Api,
    adapter: str,
    seconds: int,
    asked: dict[str, object],
    lacking: dict[str, object] | None,
    fields: set[str],
) -> None:
    currency = "KWD" if fields == {"amount"} else "USD"
    engine.databases.rows("update tenants set payment_seconds = :n where id = :id", n=seconds, id=shop.tenant_id)
    first = add_provider(shop, adapter, "first")
    route(shop, currency, first, shop.provider_id)
    try:
        made = api.deposit(currency=currency, **asked)
        assert (made.status_code, made.json()["provider_id"]) == (202, str(shop.provider_id))
        # The deposit that names it is refused there, and so is one whose route has no other.
        named = api.deposit(currency=currency, provider_id=str(first), **asked)
        assert fields_of(named) == fields
        route(shop, currency, first)
        refused = api.deposit(currency=currency, **asked)
        assert (fields_of(refused), problem_of(refused, 422)["errors"]) == (fields, problem_of(named, 422)["errors"])
        if lacking is not None:
            taken = api.deposit(currency=currency, **asked | lacking)
            assert (taken.status_code, taken.json()["provider_id"]) == (202, str(first))
    finally:
        forget(engine, shop)


def test_a_deposit_that_no_provider_takes_hears_what_the_first_one_says(engine: Engine, shop: Shop, api: Api) -> None:
    stripe, paystack = add_provider(shop, "stripe", "stripe"), add_provider(shop, "paystack", "paystack")
    route(shop, "USD", stripe, paystack)
    assert fields_of(api.deposit()) == {"success_url"}
    route(shop, "USD", paystack, stripe)
    assert fields_of(api.deposit()) == {"customer.email"}
    # A refusal of the tenant's own is one at every provider, and no refusal uses the key up.
    assert fields_of(api.deposit("key-1", failure_url="https://foreign.example/")) == {"failure_url", "customer.email"}
    assert fields_of(api.deposit("key-1")) == {"customer.email"}
    route(shop, "USD", paystack, shop.provider_id)
    assert api.deposit("key-1").status_code == 202
    forget(engine, shop)


def test_one_that_takes_the_deposit_waits_rather_than_that_one_is_refused(engine: Engine, shop: Shop, api: Api) -> None:
    paystack = add_provider(shop, "paystack", "paystack")
    route(shop, "USD", paystack, shop.provider_id)
    pause(shop, shop.provider_id)
    try:
        made = api.deposit()
        assert (made.status_code, made.json()["provider_id"]) == (202, str(shop.provider_id))
        # Of two that take it, the one that is not paused.
        made = api.deposit(customer={"email": "ann@shop.example"})
        assert made.json()["provider_id"] == str(paystack)
    finally:
        forget(engine, shop)
