"""The adapter of Razorpay against the emulator, over HTTP."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import replace

import pytest
import razorpay

from app.core.facts import Fact, FactKind
from app.providers import Told
from app.providers.adapters.razorpay import RazorpayAdapter, razorpay_adapter
from app.providers.calls.given_back import sum_movements
from models import new_id
from tests.integration.adapters.merchant import Merchant
from tests.integration.emulators.emulated_shop import EmulatedShop
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import WebhookReceiver


@pytest.fixture
def merchant(sandbox: SandboxProcess, receiver: WebhookReceiver) -> Merchant:
    key = f"rzp_test_{secrets.token_hex(7)}:{secrets.token_hex(12)}"
    shop = EmulatedShop(sandbox, receiver, "razorpay", key, secrets.token_hex(16))
    key_id, _, key_secret = key.partition(":")
    credentials = {"key_id": key_id, "key_secret": key_secret}
    return Merchant(
        shop, RazorpayAdapter, "INR", {"name": "Ann", "email": "ann@example.com", "phone": "+919900000000"}, credentials
    )


@pytest.fixture
def client(merchant: Merchant) -> razorpay.Client:
    """Razorpay's own package."""
    return razorpay.Client(auth=tuple(merchant.shop.key.split(":")), base_url=merchant.shop.url)


def paid(reference: str | None) -> Fact:
    digits = str(reference).rpartition("_")[2]
    aliases = (f"order_{digits}", f"pay_{digits}")
    return Fact(FactKind.SUCCEEDED, reference, None, 2500, "INR", aliases=aliases)


def given_back(fact: Fact, reference: str | None) -> int:
    """Return what of a payment is given back, by the movements of its success."""
    assert replace(fact, movements=(), disputes=()) == paid(reference)
    return sum_movements(fact)


def payment_of(reference: str | None) -> str:
    return paid(reference).aliases[1]


def test_the_same_bytes_twice_are_one_payment(merchant: Merchant, client: razorpay.Client) -> None:
    payment_id = new_id()
    request = merchant.order(payment_id)
    first, again = (merchant.adapter.create(merchant.account, payment_id, request) for _ in range(2))
    assert first == again
    assert first.kind is FactKind.ACCEPTED
    assert str(first.redirect_url).startswith("http")
    assert len(merchant.shop.sandbox.truth(str(payment_id))["payments"]) == 1
    found = [merchant.fetch(payment_id, reference) for reference in (first.reference, None)]
    assert [(fact.kind, fact.reference) for fact in found] == [(FactKind.PENDING, first.reference)] * 2
    link = client.payment_link.fetch(first.reference)
    assert (link["reference_id"], link["accept_partial"]) == (str(payment_id), False)
    assert link["notes"] == {"order": "7", "payment_id": str(payment_id)}
    assert link["customer"] == {"name": "Ann", "email": "ann@example.com", "contact": "+919900000000"}
    assert 75 * 60 < link["expire_by"] - time.time() < 77 * 60


def test_what_was_given_back_comes_with_the_state(merchant: Merchant, client: razorpay.Client) -> None:
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), "pay")
    for amount in (700, 100):
        client.payment.refund(payment_of(reference), {"amount": amount})
    done = merchant.fetch(payment_id, reference)
    assert given_back(done, reference) == 800
    merchant.shop.happen(str(payment_id), "fail_refund")
    failed = merchant.fetch(payment_id)
    assert given_back(failed, reference) == 700
    assert set(done.movements) < set(failed.movements)


@pytest.mark.parametrize(("end", "taken", "state"), [("win_dispute", 0, "won"), ("lose_dispute", 2500, "lost")])
def test_a_dispute_takes_money_once_it_is_lost(merchant: Merchant, end: str, taken: int, state: str) -> None:
    payment_id, other = new_id(), new_id()
    references = {one: merchant.create(one).reference for one in (payment_id, other)}
    for one in references:
        merchant.shop.happen(str(one), "pay", "dispute")
        shown = merchant.fetch(one, references[one])
        assert replace(shown, disputes=()) == paid(references[one])
        assert [each.state for each in shown.disputes] == ["opened"]
    merchant.shop.happen(str(payment_id), end)
    ended = merchant.fetch(payment_id)
    assert [each.state for each in ended.disputes] == [state]
    assert given_back(ended, references[payment_id]) == taken
    assert [each.state for each in merchant.fetch(other).disputes] == ["opened"]


def test_the_list_is_the_truth(merchant: Merchant, client: razorpay.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(razorpay_adapter, "LIST_ROWS", 2)
    made = {payment_id: merchant.create(payment_id).reference for payment_id in (new_id() for _ in range(5))}
    first, second, *_ = made
    for one in (first, second):
        merchant.shop.happen(str(one), "pay")
    client.payment.refund(payment_of(made[first]), {"amount": 300})
    merchant.shop.happen(str(second), "dispute", "lose_dispute")
    rows = merchant.list()
    assert [(row.payment_id, row.reference) for row in rows] == list(made.items())[::-1]
    assert {(row.asked_minor, row.currency) for row in rows} == {(2500, "INR")}
    assert [row.refunded_minor for row in rows[:2:-1]] == [300, 2500]
    assert [given_back(row.fact, row.reference) for row in rows[:2:-1]] == [300, 2500]
    assert {(row.fact.kind, row.refunded_minor) for row in rows[:3]} == {(FactKind.PENDING, 0)}


STORIES: dict[str, tuple[list[str], list[FactKind]]] = {
    "paid": (["pay"], [FactKind.SUCCEEDED]),
    "a second attempt pays": (["attempt", "pay"], [FactKind.ATTEMPT_DECLINED, FactKind.SUCCEEDED]),
    "nobody pays": (["expire"], [FactKind.CANCELLED]),
    "cancelled": (["cancel"], [FactKind.CANCELLED]),
}


@pytest.mark.parametrize("story", STORIES)
def test_each_story_is_told_by_its_events(merchant: Merchant, story: str) -> None:
    actions, kinds = STORIES[story]
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), *actions)
    told = [event for event in merchant.events(len(kinds)) if isinstance(event, Told)]
    assert sorted(one.fact.kind for one in told) == sorted(kinds)
    assert {one.name for one in told} == {payment_id}
    for fact in (one.fact for one in told):
        assert fact.reference == (None if fact.kind is FactKind.ATTEMPT_DECLINED else reference)
        assert (fact.message is not None) == (fact.kind is FactKind.ATTEMPT_DECLINED)
        if fact.kind is FactKind.SUCCEEDED:
            assert (fact.amount_minor, set(fact.aliases)) == (2500, set(paid(reference).aliases))


def test_money_that_goes_back_is_told_by_its_id(merchant: Merchant, client: razorpay.Client) -> None:
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    merchant.shop.happen(str(payment_id), "pay")
    client.payment.refund(payment_of(reference), {"amount": 700})
    merchant.shop.happen(str(payment_id), "fail_refund", "dispute", "lose_dispute")
    told = [event for event in merchant.events(5) if isinstance(event, Told)]
    assert {one.name for one in told} == {payment_id}
    assert {one.fact.dispute_state for one in told} == {None, "opened", "lost"}
    moved = {(one.fact.kind, one.fact.reversal_id, one.fact.amount_minor) for one in told if one.fact.reversal_id}
    assert moved == {(one.kind, one.reversal_id, one.amount_minor) for one in merchant.fetch(payment_id).movements}
    assert len(moved) == 3


def test_an_event_is_signed_as_razorpays_package_has_it(merchant: Merchant, client: razorpay.Client) -> None:
    payment_id = new_id()
    merchant.create(payment_id)
    merchant.shop.happen(str(payment_id), "pay")
    (good,) = merchant.shop.wait(1)
    signature = good.headers["x-razorpay-signature"]
    assert client.utility.verify_webhook_signature(good.body.decode(), signature, merchant.shop.secret)
    # The header with the event's id is not signed.
    assert merchant.verify(good) == f"sha256:{hashlib.sha256(good.body).hexdigest()}"
