"""The adapter of Stripe against the emulator, over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import (
    ProviderCallFailed,
    ProviderRefusedUs,
    UnexpectedAnswer,
    WebhookRejected,
)
from app.core.facts import Fact, FactKind
from app.providers import Delivered, Ignored, Told
from app.providers.adapters.stripe import StripeAdapter
from app.providers.adapters.stripe import stripe_adapter as stripe
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


def test_the_same_bytes_twice_are_one_payment(merchant: Merchant) -> None:
    payment_id = new_id()
    request = merchant.order(payment_id)
    first, again = (merchant.adapter.create(merchant.account, payment_id, request) for _ in range(2))
    assert first == again
    assert first.kind is FactKind.ACCEPTED
    assert str(first.redirect_url).startswith("http")
    assert len(merchant.shop.sandbox.truth(str(payment_id))["payments"]) == 1
    found = [merchant.fetch(payment_id, reference) for reference in (first.reference, None)]
    assert [(fact.kind, fact.reference) for fact in found] == [(FactKind.PENDING, first.reference)] * 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 400, "message": "Not a valid URL"}, ProviderRefusedUs),
        ({"status": 409}, UnexpectedAnswer),
        ({"show": {"redirect_url": "javascript:alert(1)"}}, UnexpectedAnswer),
    ],
)
def test_a_failure_is_told_apart(merchant: Merchant, fault: dict[str, Any], error: type[ProviderCallFailed]) -> None:
    payment_id = new_id()
    merchant.shop.script(str(payment_id), create=fault)
    with pytest.raises(error) as failure:
        merchant.create(payment_id)
    assert failure.type is error


def test_every_state_is_read(merchant: Merchant) -> None:
    waiting, settling, done, late = (new_id() for _ in range(4))
    references = {payment_id: merchant.create(payment_id).reference for payment_id in (waiting, settling, done, late)}
    for payment_id, actions in ((waiting, ["attempt"]), (settling, ["commit"]), (done, ["pay"]), (late, ["expire"])):
        merchant.shop.happen(str(payment_id), *actions)
    facts = {payment_id: merchant.fetch(payment_id, reference) for payment_id, reference in references.items()}
    assert facts[waiting].kind is FactKind.PENDING
    assert (facts[settling].kind, facts[settling].settles_within_days) == (FactKind.COMMITTED, 14)
    assert facts[done] == paid(references[done])
    assert (facts[late].kind, facts[late].is_expiry) == (FactKind.CANCELLED, True)


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


def test_a_session_is_closed_once(merchant: Merchant) -> None:
    payment_id, other = new_id(), new_id()
    reference = merchant.create(payment_id).reference
    assert [merchant.cancel(payment_id, reference).kind for _ in range(2)] == [FactKind.CANCELLED] * 2
    merchant.shop.script(str(other), cancel={"capture": True})
    reference = merchant.create(other).reference
    assert merchant.cancel(other, reference) == paid(reference)


def test_the_list_is_the_truth(merchant: Merchant, shop: StripeShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe, "LIST_ROWS", 2)
    made = {payment_id: merchant.create(payment_id).reference for payment_id in (new_id() for _ in range(5))}
    first, *_ = made
    merchant.shop.happen(str(first), "pay")
    shop.client.v1.refunds.create({"payment_intent": paid(made[first]).aliases[0], "amount": 300})
    rows = merchant.list()
    assert [(row.payment_id, row.reference) for row in rows] == list(made.items())[::-1]
    assert {(row.asked_minor, row.currency) for row in rows} == {(2500, "USD")}
    assert (replace(rows[-1].fact, movements=()), rows[-1].refunded_minor) == (paid(made[first]), 300)
    assert moved(rows[-1].fact) == [("reversed", 300)]
    assert {(row.fact.kind, row.refunded_minor) for row in rows[:-1]} == {(FactKind.PENDING, 0)}
    assert merchant.fetch(first).reference == made[first]


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


def test_only_stripes_own_events_are_believed(merchant: Merchant) -> None:
    payment_id = new_id()
    send: list[dict[str, Any]] = [
        {"signature": "forged", "attempts": 1},
        {"timestamp_shift": -3600, "attempts": 1},
        {"change": {"livemode": True}},
        {"stray": True},
    ]
    merchant.shop.put(other_secrets=["whsec_another_secret_in_overlap"])
    merchant.shop.script(str(payment_id), webhook={"send": send, "times": 1})
    merchant.create(payment_id)
    merchant.shop.happen(str(payment_id), "pay")
    forged, stale, live, stray = merchant.shop.wait(4)
    for webhook in (forged, stale):
        with pytest.raises(WebhookRejected):
            merchant.verify(webhook)
    assert merchant.verify(live) == merchant.verify(live, "whsec_another_secret_in_overlap")
    with pytest.raises(WebhookRejected):
        merchant.verify(live, "whsec_a_secret_of_nobody_here")
    (told,), (ignored,) = (
        merchant.adapter.translate(Delivered("provider", webhook.body, {})) for webhook in (live, stray)
    )
    assert isinstance(told, Told)
    assert told.is_live is True
    assert isinstance(ignored, Ignored)
