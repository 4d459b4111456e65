"""The adapter of Stripe against the emulator, over HTTP."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.core.facts import Fact, FactKind
from app.providers import Told
from app.providers.adapters.stripe import StripeAdapter
from models import new_id
from tests.integration.adapters.merchant import Merchant
from tests.integration.emulators.stripe_shop import StripeShop
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import WebhookReceiver


@pytest.fixture
def shop(sandbox: SandboxProcess, receiver: WebhookReceiver) -> StripeShop:
    return StripeShop(sandbox, receiver)


@pytest.fixture
def merchant(shop: StripeShop) -> Merchant:
    return Merchant(shop, StripeAdapter)


def paid(reference: str | None) -> Fact:
    alias = f"pi_{str(reference).rpartition('_')[2]}"
    return Fact(FactKind.SUCCEEDED, reference, amount_minor=2500, currency="USD", aliases=(alias,))


def moved(fact: Fact) -> list[tuple[str, int]]:
    return sorted((one.kind, one.amount_minor) for one in fact.movements)


def test_what_was_given_back_comes_with_the_state(merchant: Merchant, shop: StripeShop) -> None:
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), "pay")
    intent = paid(reference).aliases[0]
    for amount in (700, 100):
        shop.client.v1.refunds.create({"payment_intent": intent, "amount": amount})
    assert moved(merchant.fetch(payment_id, reference)) == [("reversed", 100), ("reversed", 700)]
    merchant.shop.happen(str(payment_id), "fail_refund", "dispute", "win_dispute")
    fact = merchant.fetch(payment_id, reference)
    assert replace(fact, movements=(), disputes=()) == paid(reference)
    assert [one.state for one in fact.disputes] == ["won"]
    assert moved(fact) == [
        *(("reinstated", 100), ("reinstated", 1800)),
        *(("reversed", 100), ("reversed", 700), ("reversed", 1800)),
    ]


@pytest.mark.parametrize(
    ("currency", "minor", "units"),
    [("USD", 2550, 2550), ("JPY", 500, 500), ("ISK", 5, 500), ("UGX", 5, 500), ("MGA", 500, 5), ("KWD", 2550, 2550)],
)
def test_amounts_arrive_as_asked(merchant: Merchant, shop: StripeShop, currency: str, minor: int, units: int) -> None:
    payment_id = new_id()
    reference = merchant.create(payment_id, minor, currency).reference
    merchant.shop.happen(str(payment_id), "pay")
    assert shop.client.v1.checkout.sessions.retrieve(str(reference)).amount_total == units
    fetched = merchant.fetch(payment_id, reference)
    (told,) = merchant.events(1)
    assert isinstance(told, Told)
    assert (fetched.amount_minor, fetched.currency) == (told.fact.amount_minor, told.fact.currency) == (minor, currency)


STORIES: dict[str, tuple[list[str], int, list[FactKind]]] = {
    "paid": (["pay"], 1, [FactKind.SUCCEEDED]),
    "a second attempt pays": (["attempt", "pay"], 2, [FactKind.ATTEMPT_DECLINED, FactKind.SUCCEEDED]),
    "a slow method is paid": (["commit", "pay"], 2, [FactKind.COMMITTED, FactKind.SUCCEEDED]),
    "a slow method fails": (["commit", "decline"], 2, [FactKind.COMMITTED, FactKind.DECLINED]),
    "nobody pays": (["expire"], 1, [FactKind.CANCELLED]),
    "given back": (["pay", "refund"], 3, [FactKind.REVERSED, FactKind.SUCCEEDED]),
    "disputed and won": (
        ["pay", "dispute", "win_dispute"],
        5,
        # Money that came again is reported together with its withdrawal, whose own event may be lost.
        [FactKind.SUCCEEDED, *2 * [FactKind.DISPUTE], *2 * [FactKind.REVERSED], FactKind.REINSTATED],
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_each_story_is_told_by_its_events(merchant: Merchant, story: str) -> None:
    actions, count, kinds = STORIES[story]
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), *actions)
    told = [event for event in merchant.events(count) if isinstance(event, Told)]
    assert sorted(one.fact.kind for one in told) == sorted(kinds)
    assert {(one.name, one.is_live) for one in told} <= {(payment_id, False), (paid(reference).aliases[0], False)}
    for fact in (one.fact for one in told):
        assert fact.reference in (None, reference)
        if fact.kind is FactKind.SUCCEEDED:
            assert fact == paid(reference)
        if fact.kind in (FactKind.REVERSED, FactKind.REINSTATED):
            assert (fact.amount_minor, fact.currency) == (2500, "USD")
        if fact.kind is FactKind.ATTEMPT_DECLINED:
            assert fact.message
