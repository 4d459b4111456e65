"""A backend lists its tenant's providers; a browser names only those that it may."""

from __future__ import annotations

from app.services.payments.calls import breaker
from app.services.tenants import provider_changes, providers
from app.services.tenants.provider_changes import ProviderChanges
from app.services.tenants.providers import NewProvider
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.clients.api import Api, fields_of, problem_of


def add_provider(front: Stack, shop: Shop, name: str, *currencies: str) -> str:
    new = NewProvider(shop.tenant_id, name, "sandbox", front.sandbox.url, {"api_key": "sbx_key"}, currencies=currencies)
    return str(providers.create_provider(shop.runtime, new, ACTOR)[0])


def test_a_backend_lists_its_providers_and_their_state(front: Stack, api: Api, shop: Shop) -> None:
    paused = add_provider(front, shop, "paused", "EUR", "CHF")
    disabled = add_provider(front, shop, "disabled")
    with shop.runtime.database.transaction("worker") as connection:
        breaker.pause(connection, shop.tenant_id, paused, RuntimeError("away"), 60)
    providers.disable_provider(shop.runtime, disabled, ACTOR)
    first, second, third = api.get("/api/providers").json()["data"]
    assert (first["id"], first["status"], first["is_default"]) == (str(shop.provider_id), "ok", True)
    assert "USD" in first["currencies"]
    assert second == {
        "id": paused,
        "name": "paused",
        "adapter": "sandbox",
        "currencies": ["CHF", "EUR"],
        "status": "paused",
        "is_default": False,
    }
    assert (third["id"], third["status"]) == (disabled, "disabled")
    problem_of(Api(front.web, shop.token("ann")).get("/api/providers"), 403)


def test_a_browser_names_the_default_provider_and_those_it_may(front: Stack, api: Api, shop: Shop) -> None:
    other = add_provider(front, shop, "other")
    browser = Api(front.web, shop.token("ann"))
    assert browser.deposit(provider_id=str(shop.provider_id)).status_code == 202
    assert fields_of(browser.deposit(provider_id=other)) == {"provider_id"}
    # A backend chooses freely.
    assert api.deposit(provider_id=other).status_code == 202
    provider_changes.update_provider(shop.runtime, other, ProviderChanges(client_selectable=True), ACTOR)
    assert browser.deposit(provider_id=other).json()["provider_id"] == other
