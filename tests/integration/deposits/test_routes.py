"""Deposits go to the next provider of their currency's route, for as long as surely no provider has them."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator

import pytest

from app.core.payment import Payment
from app.services.payments.calls import breaker
from app.services.tenants import provider_routes, providers
from app.services.tenants.changes import ConfigurationError
from app.services.tenants.providers import NewProvider
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.clients.api import Api
from tests.support.commands import Commands
from tests.support.engine import Engine, call_and_settle, claim_call


@pytest.fixture
def away(engine: Engine, shop: Shop) -> Iterator[str]:
    """Yield the URL of a provider that takes no connections: its port is held and not listened on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"
    # Calls that can never succeed are not left to be claimed by other tests.
    engine.databases.rows("delete from payment_work where tenant_id = :id", id=shop.tenant_id)


def add_provider(shop: Shop, url: str, name: str) -> uuid.UUID:
    new = NewProvider(shop.tenant_id, name, "sandbox", url, {"api_key": "sbx_other"}, currencies=("USD",))
    return providers.create_provider(shop.runtime, new, ACTOR)[0]


def route(shop: Shop, *provider_ids: uuid.UUID) -> None:
    provider_routes.set_route(shop.runtime, shop.tenant_id, "USD", provider_ids, ACTOR)


def pause(shop: Shop, provider_id: uuid.UUID) -> None:
    with shop.runtime.database.transaction("worker") as connection:
        breaker.pause(connection, shop.tenant_id, provider_id, RuntimeError("away"), 60)


def start(engine: Engine, shop: Shop) -> Payment:
    engine.call()
    return shop.deposit()


def test_a_call_that_was_surely_not_sent_goes_to_the_next_provider(
    front: Stack, engine: Engine, shop: Shop, api: Api, away: str
) -> None:
    first = add_provider(shop, away, "first")
    route(shop, first, shop.provider_id)
    payment = start(engine, shop)
    assert payment.provider_id == first
    engine.run_until(lambda: shop.payment(payment.id).status == "processing", "the second provider has it")
    moved = shop.payment(payment.id)
    assert (moved.provider_id, moved.version > payment.version) == (shop.provider_id, True)
    assert len(front.sandbox.truth(payment.id)["payments"]) == 1
    events = api.get(f"/api/payments/{payment.id}/timeline").json()["data"]
    (reason,) = [one["detail"]["reason"] for one in events if one["detail"].get("given") == "reroute"]
    assert reason == f"the provider was not reached, {shop.provider_id} is next"
    front.sandbox.act(str(moved.provider_reference), "pay")
    engine.run_until(lambda: shop.payment(payment.id).status == "completed", "it is credited")
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]


@pytest.mark.parametrize("customer", [None, {"email": "ann@shop.example"}])
def test_a_provider_that_does_not_take_the_deposit_is_passed_over(
    front: Stack, engine: Engine, shop: Shop, api: Api, away: str, customer: dict[str, str] | None
) -> None:
    """Paystack needs an address of the payer."""
    first = add_provider(shop, away, "first")
    credentials = {"api_key": "sk_test_" + "a" * 40}
    new = NewProvider(shop.tenant_id, "paystack", "paystack", away, credentials, currencies=("USD",))
    paystack, _ = providers.create_provider(shop.runtime, new, ACTOR)
    route(shop, first, paystack, shop.provider_id)
    engine.call()
    body = {"user_id": "ann", "amount": "25.00", "currency": "USD"} | ({"customer": customer} if customer else {})
    payment = shop.payment(uuid.UUID(api.post("/api/payments/deposit", body, {"Idempotency-Key": "k"}).json()["id"]))
    assert payment.provider_id == first
    engine.run_until(lambda: shop.payment(payment.id).provider_id != first, "another provider is next")
    events = api.get(f"/api/payments/{payment.id}/timeline").json()["data"]
    reasons = [one["detail"]["reason"] for one in events if one["detail"].get("given") == "reroute"]
    assert reasons[0] == f"the provider was not reached, {paystack if customer else shop.provider_id} is next"
    engine.run_until(lambda: shop.payment(payment.id).provider_id == shop.provider_id, "the sandbox is next")
    assert engine.dead_letters(payment.id) == []


def test_a_paused_provider_is_passed_over_when_the_deposit_is_made(engine: Engine, shop: Shop, away: str) -> None:
    first = add_provider(shop, away, "first")
    route(shop, first, shop.provider_id)
    pause(shop, first)
    assert shop.deposit().provider_id == shop.provider_id


def test_what_waits_for_a_provider_that_was_never_called_goes_on(engine: Engine, shop: Shop, away: str) -> None:
    first = add_provider(shop, away, "first")
    route(shop, first, shop.provider_id)
    payment = start(engine, shop)
    pause(shop, first)
    engine.run_until(lambda: shop.payment(payment.id).status == "processing", "the second provider has it")
    assert shop.payment(payment.id).provider_id == shop.provider_id


def test_a_deposit_whose_details_cannot_be_read_holds_up_no_other(
    front: Stack, engine: Engine, shop: Shop, away: str
) -> None:
    first = add_provider(shop, away, "first")
    route(shop, first, shop.provider_id)
    engine.call()
    unreadable, readable = shop.deposit(description="Lamp"), shop.deposit()
    engine.databases.rows("update payment_details set details_encrypted = 'x' where payment_id = :id", id=unreadable.id)
    pause(shop, first)
    engine.run_until(lambda: shop.payment(readable.id).status == "processing", "the second provider has it")
    assert shop.payment(unreadable.id).provider_id == first


def test_an_unknown_outcome_stays_with_its_provider(front: Stack, engine: Engine, shop: Shop, away: str) -> None:
    second = add_provider(shop, away, "second")
    route(shop, shop.provider_id, second)
    payment = start(engine, shop)
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, create={"status": 503})
    engine.call()
    pause(shop, shop.provider_id)
    engine.make_due(payment.id)
    engine.call()
    assert shop.payment(payment.id).provider_id == shop.provider_id


def test_a_call_whose_worker_died_stays_with_its_provider(engine: Engine, shop: Shop, away: str) -> None:
    first = add_provider(shop, away, "first")
    route(shop, first, shop.provider_id)
    payment = start(engine, shop)
    # Its worker died in the middle: nobody knows whether the call was sent. The next one surely is not.
    assert claim_call(engine.runtime) is not None
    engine.databases.rows("update payment_work set due_at = now() where payment_id = :id", id=payment.id)
    again = claim_call(engine.runtime)
    assert again is not None
    assert again.route_position is None
    call_and_settle(engine.runtime, again)
    assert shop.payment(payment.id).provider_id == first


def test_the_last_provider_is_asked_again(engine: Engine, shop: Shop, away: str) -> None:
    first, second = (add_provider(shop, away, name) for name in ("first", "second"))
    route(shop, first, second)
    payment = start(engine, shop)
    engine.run_until(lambda: shop.payment(payment.id).provider_id == second, "the second one is next")
    engine.ask(payment.id)
    kept = shop.payment(payment.id)
    assert (kept.provider_id, kept.status, engine.action(payment.id)) == (second, "pending", "create")


def test_a_deposit_that_names_its_provider_stays_there(engine: Engine, shop: Shop, away: str) -> None:
    first = add_provider(shop, away, "first")
    route(shop, first, shop.provider_id)
    engine.call()
    payment = shop.deposit(provider_id=first)
    engine.call()
    assert shop.payment(payment.id).provider_id == first


def test_routes_are_checked_and_changed_by_command(front: Stack, shop: Shop, away: str) -> None:
    other = add_provider(shop, away, "other")
    for currency, provider_ids in (
        ("USX", [other]),
        ("EUR", [other]),
        ("USD", [other, other]),
        ("USD", [uuid.uuid4()]),
    ):
        with pytest.raises(ConfigurationError):
            provider_routes.set_route(shop.runtime, shop.tenant_id, currency, provider_ids, ACTOR)
    commands, tenant = Commands(front.databases), ("--tenant", str(shop.tenant_id))
    words = ("routes", "set", *tenant, "usd", str(other), str(shop.provider_id))
    assert [row["position"] for row in commands.json(*words)["data"]] == [1, 2]
    assert len(commands.json("routes", "list", *tenant)["data"]) == 2
    assert commands.json("routes", "clear", *tenant, "USD")["data"] == []
    assert shop.deposit().provider_id == shop.provider_id
