"""What the payer has to do next: a page, a device, or nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.core.facts import Fact
from app.providers import Account
from app.providers.adapters.sandbox import SandboxAdapter
from testbed.shop import Shop
from testbed.stack import Stack
from tests.support.clients.api import Api
from tests.support.engine import Engine

PROMPT = "Confirm the payment on your phone"


class PromptingAdapter(SandboxAdapter):
    """The sandbox's adapter for a provider without a page, which asks the payer on a device."""

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        return replace(super().create(account, payment_id, request), redirect_url=None, prompt=PROMPT)


@pytest.fixture
def prompting(engine: Engine) -> Iterator[Engine]:
    # Deposits of other tests are not claimed in place of this test's.
    engine.call()
    own = engine.runtime.adapters["sandbox"]
    engine.runtime.adapters["sandbox"] = PromptingAdapter(frozenset(engine.runtime.settings.private_providers))
    yield engine
    engine.runtime.adapters["sandbox"] = own


def test_a_page_is_the_next_action_until_the_payment_ends(front: Stack, engine: Engine, api: Api, shop: Shop) -> None:
    payment_id = api.deposit().json()["id"]
    assert api.read(payment_id)["next_action"] is None
    engine.call()
    started = api.read(payment_id)
    assert started["next_action"] == {"type": "redirect", "url": started["redirect_url"]}
    front.sandbox.act(started["provider_reference"], "pay")
    engine.run_until(lambda: api.read(payment_id)["status"] == "completed", "it is credited")
    done = api.read(payment_id)
    assert (done["next_action"], done["redirect_url"]) == (None, started["redirect_url"])


def test_a_prompt_is_shown_and_reported(prompting: Engine, api: Api, shop: Shop) -> None:
    payment_id = api.deposit().json()["id"]
    prompting.call()
    prompting.number()
    started = api.read(payment_id)
    assert (started["status"], started["redirect_url"]) == ("processing", None)
    assert started["next_action"] == {"type": "prompt", "message": PROMPT}
    (event,) = api.get("/api/events").json()["data"]
    assert (event["type"], event["payment"]["next_action"]) == ("payment.redirect_ready", started["next_action"])


def test_a_payer_who_has_committed_has_nothing_to_do(front: Stack, engine: Engine, api: Api, shop: Shop) -> None:
    payment_id = api.deposit().json()["id"]
    engine.call()
    front.sandbox.act(api.read(payment_id)["provider_reference"], "commit")
    engine.run_until(lambda: api.read(payment_id)["committed_until"], "the payer has committed")
    committed = api.read(payment_id)
    assert (committed["status"], committed["next_action"]) == ("processing", None)
