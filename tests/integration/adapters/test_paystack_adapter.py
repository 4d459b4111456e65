"""The adapter of Paystack against the emulator, over HTTP."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

import pytest
import requests

from app.core.errors import (
    OutcomeUnknown,
    Unavailable,
)
from app.core.facts import Fact, FactKind
from app.providers import Asks, Told
from app.providers.adapters.paystack import PaystackAdapter
from app.providers.calls.given_back import sum_movements
from models import new_id
from testbed.waiting import wait_until
from tests.integration.adapters.merchant import Merchant
from tests.integration.emulators.emulated_shop import EmulatedShop
from tests.integration.sandbox.sandbox_process import SandboxProcess
from tests.support.webhook_receiver import WebhookReceiver


@pytest.fixture
def merchant(sandbox: SandboxProcess, receiver: WebhookReceiver) -> Merchant:
    key = f"sk_test_{secrets.token_hex(20)}"
    shop = EmulatedShop(sandbox, receiver, "paystack", key, key)
    return Merchant(shop, PaystackAdapter, "NGN", {"email": "payer@example.com"})


def refund(merchant: Merchant, payment_id: uuid.UUID, amount: int) -> None:
    """Refund a part of a payment, and wait until it is done."""
    headers = {"Authorization": f"Bearer {merchant.shop.key}"}
    body = {"transaction": str(payment_id), "amount": amount}
    made = requests.post(f"{merchant.shop.url}/refund", json=body, headers=headers, timeout=10).json()["data"]
    url = f"{merchant.shop.url}/refund/{made['id']}"
    wait_until(
        lambda: requests.get(url, headers=headers, timeout=10).json()["data"]["status"] == "processed", "the refund"
    )


def paid(payment_id: uuid.UUID, fact: Fact, given_back: int = 0) -> None:
    """Assert that a fact is the payment's success."""
    assert (fact.kind, fact.reference) == (FactKind.SUCCEEDED, str(payment_id))
    assert (fact.amount_minor, fact.currency, sum_movements(fact)) == (2500, "NGN", given_back)
    assert len(fact.aliases) == 1
    assert fact.aliases[0].isdigit()


def test_a_transaction_is_created_under_our_id(merchant: Merchant) -> None:
    payment_id = new_id()
    created = merchant.create(payment_id)
    assert (created.kind, created.reference) == (FactKind.ACCEPTED, str(payment_id))
    assert requests.get(str(created.redirect_url), timeout=5).status_code == 200
    assert merchant.order(payment_id) == merchant.order(payment_id)
    for reference in (created.reference, None):
        found = merchant.fetch(payment_id, reference)
        assert (found.kind, found.reference) == (FactKind.PENDING, created.reference)
    merchant.shop.happen(str(payment_id), "pay")
    paid(payment_id, merchant.fetch(payment_id))
    paid(payment_id, merchant.adapter.create(merchant.account, payment_id, merchant.order(payment_id)))


@pytest.mark.parametrize(
    "fault", [{"answer": "timeout", "hold": 0}, {"answer": "torn"}, {"status": 500, "effect": True}]
)
def test_a_page_whose_address_is_lost_is_replaced(merchant: Merchant, fault: dict[str, Any]) -> None:
    payment_id = new_id()
    request = merchant.order(payment_id)
    merchant.shop.script(str(payment_id), create={**fault, "times": 1})
    with pytest.raises(OutcomeUnknown):
        merchant.adapter.create(merchant.account, payment_id, request)
    second, third = (merchant.adapter.create(merchant.account, payment_id, request) for _ in range(2))
    assert [fact.kind for fact in (second, third)] == [FactKind.ACCEPTED] * 2
    assert [fact.reference for fact in (second, third)] == [f"{payment_id}.2", f"{payment_id}.3"]
    assert second.redirect_url != third.redirect_url
    last = merchant.adapter.create(merchant.account, payment_id, request)
    assert (last.kind, last.reference, last.redirect_url) == (FactKind.PENDING, third.reference, None)
    merchant.shop.happen(str(third.reference), "pay")
    (told,) = merchant.events(1)
    assert isinstance(told, Told)
    assert (told.name, told.fact.kind, told.fact.reference) == (payment_id, FactKind.SUCCEEDED, third.reference)
    assert merchant.fetch(payment_id).reference == third.reference
    assert [(row.payment_id, row.reference) for row in merchant.list()] == [(payment_id, third.reference)]


def test_a_call_that_had_no_effect_is_repeated_under_the_same_reference(merchant: Merchant) -> None:
    payment_id = new_id()
    merchant.shop.script(str(payment_id), create={"status": 503, "times": 1})
    with pytest.raises(Unavailable):
        merchant.create(payment_id)
    assert merchant.create(payment_id).reference == str(payment_id)


def test_what_was_given_back_comes_with_the_state(merchant: Merchant) -> None:
    payment_id, other = new_id(), new_id()
    for each in (payment_id, other):
        merchant.create(each)
        merchant.shop.happen(str(each), "pay")
    for amount in (700, 100):
        refund(merchant, payment_id, amount)
    refund(merchant, other, 55)
    paid(payment_id, merchant.fetch(payment_id), 800)
    merchant.shop.happen(str(payment_id), "fail_refund")
    paid(payment_id, merchant.fetch(payment_id), 700)
    (won, lost) = new_id(), new_id()
    for each, end in ((won, "win_dispute"), (lost, "lose_dispute")):
        merchant.create(each)
        merchant.shop.happen(str(each), "pay", "dispute")
        paid(each, merchant.fetch(each), 0)
        assert [one.state for one in merchant.fetch(each).disputes] == ["opened"]
        merchant.shop.happen(str(each), end)
    paid(won, merchant.fetch(won), 0)
    paid(lost, merchant.fetch(lost), 2500)
    assert [[one.state for one in merchant.fetch(each).disputes] for each in (won, lost)] == [["won"], ["lost"]]


def test_a_transaction_stays_open_when_it_is_cancelled(merchant: Merchant) -> None:
    payment_id = new_id()
    reference = merchant.create(payment_id).reference
    assert merchant.cancel(payment_id, reference).kind is FactKind.PENDING
    merchant.shop.happen(str(payment_id), "pay")
    paid(payment_id, merchant.cancel(payment_id, reference))
    assert merchant.adapter.capabilities.can_cancel is False


def test_each_story_is_told_by_its_events(merchant: Merchant) -> None:
    payment_id = new_id()
    merchant.create(payment_id)
    merchant.shop.happen(str(payment_id), "attempt")
    declined = merchant.fetch(payment_id)
    assert (declined.kind, bool(declined.message)) == (FactKind.ATTEMPT_DECLINED, True)
    merchant.shop.happen(str(payment_id), "pay")
    (told,) = merchant.events(1)
    assert isinstance(told, Told)
    assert (told.name, told.is_live) == (payment_id, False)
    paid(payment_id, told.fact)
    refund(merchant, payment_id, 700)
    merchant.shop.happen(str(payment_id), "fail_refund", "dispute", "lose_dispute")
    later = merchant.events(5)[1:]
    assert [event for event in later if isinstance(event, Asks)] == [Asks(payment_id)] * 3
    assert [one.fact.dispute_state for one in later if isinstance(one, Told)] == ["opened", "lost"]
