"""A provider that reports totals given back: they only grow, but for a lookup of our own that shows a smaller one."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from app.core.payment import Payment
from app.services.operators import reconciliation, resolve
from app.services.payments.calls.call_settlement import settle_answers
from app.services.payments.calls.provider_calls import make_call
from app.services.verification import prove
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.engine import Engine, claim_call

HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def payment(front: Stack, engine: Engine, shop: Shop) -> Payment:
    """Provide a payment that is paid and credited, whose own webhooks the sandbox never sends."""
    made = shop.deposit()
    front.sandbox.script(match={"merchant_reference": str(made.id)}, webhook={"send": []})
    engine.call()
    front.sandbox.act(str(shop.payment(made.id).provider_reference), "pay")
    engine.ask(made.id)
    return shop.payment(made.id)


def own_event(shop: Shop, payment: Payment, kind: str, **fields: Any) -> None:
    about = {"provider_id": str(shop.provider_id), "transaction_id": str(payment.id), "event_type": f"payment.{kind}"}
    shop.deliver(json.dumps(about | fields).encode(), "provider")


def user_entries(engine: Engine, payment: Payment) -> list[int]:
    return [minor for kind, minor in engine.entries(payment.id) if kind == "user"]


def list_provider(shop: Shop) -> None:
    now = datetime.datetime.now(datetime.UTC)
    reconciliation.reconcile(shop.runtime, shop.provider_id, now - HOUR, now + HOUR, ACTOR)


@pytest.mark.parametrize("source", ["webhook", "list"])
def test_money_that_came_again_is_booked_by_a_lookup_in_every_cycle(
    front: Stack, engine: Engine, shop: Shop, payment: Payment, source: str
) -> None:
    reference = str(payment.provider_reference)
    for _ in range(2):
        front.sandbox.act(reference, "refund", amount="10.00")
        own_event(shop, payment, "refunded", status="refunded", amount="10.00", currency="USD")
        engine.settle()
        # In the second cycle the total is one that was reported before: it has the provider asked.
        engine.call()
        assert (shop.payment(payment.id).reversed_minor, shop.payment(payment.id).exception) == (1000, "reversed")
        front.sandbox.happen(reference, "fail_refund")
        if source == "webhook":
            own_event(shop, payment, "reinstated", status="reinstated", amount="10.00", currency="USD")
            engine.settle()
            assert engine.action(payment.id) == "poll"
            engine.call()
        else:
            list_provider(shop)
        assert (shop.payment(payment.id).reversed_minor, shop.payment(payment.id).exception) == (0, None)
    assert user_entries(engine, payment) == [2500, -1000, 1000, -1000, 1000]
    assert engine.dead_letters(payment.id) == []
    engine.number()
    report = prove(shop.runtime.database, "full", shop.tenant_id)
    assert report.is_whole, report.as_json()


def test_a_lookup_that_something_overtook_takes_nothing_back_and_is_repeated(
    front: Stack, engine: Engine, shop: Shop, payment: Payment
) -> None:
    """The answer shows no refund, since it was given before the refund that a webhook reports meanwhile."""
    own_event(shop, payment, "reinstated", status="reinstated", amount="10.00", currency="USD")
    engine.settle()
    claim = claim_call(shop.runtime)
    assert claim is not None
    answer = make_call(shop.runtime, claim)
    assert answer is not None
    front.sandbox.act(str(payment.provider_reference), "refund", amount="10.00")
    own_event(shop, payment, "refunded", status="refunded", amount="10.00", currency="USD")
    engine.settle()
    settle_answers(shop.runtime, [answer])
    assert user_entries(engine, payment) == [2500, -1000]
    assert engine.action(payment.id) == "poll"
    engine.call()
    assert user_entries(engine, payment) == [2500, -1000]
    assert engine.action(payment.id) is None


def test_a_dispute_of_the_sandbox_is_a_mark_until_it_ends(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = engine.start(shop)
    reference = str(payment.provider_reference)
    front.sandbox.act(reference, "pay")
    front.sandbox.happen(reference, "dispute", message="fraudulent")
    engine.run_until(lambda: shop.payment(payment.id).reversed_minor == 2500, "the disputed money is gone")
    engine.run_until(lambda: shop.payment(payment.id).exception == "disputed", "the dispute is a mark")
    front.sandbox.happen(reference, "win_dispute")
    engine.run_until(lambda: shop.payment(payment.id).exception is None, "it was won, and the money came again")
    assert user_entries(engine, payment) == [2500, -2500, 2500]
    assert engine.dead_letters(payment.id) == []
    engine.number()
    report = prove(shop.runtime.database, "full", shop.tenant_id)
    assert report.is_whole, report.as_json()


def test_a_person_books_a_total_in_another_currency_once(engine: Engine, shop: Shop, payment: Payment) -> None:
    for _ in range(2):
        own_event(shop, payment, "refunded", status="refunded", amount="10.00", currency="EUR")
        engine.settle()
        if engine.dead_letters(payment.id) == [("reversal", "open")]:
            case = engine.databases.value("select id from dead_letters where payment_id = :id", id=payment.id)
            assert "reversal of 10.00 EUR" in resolve.accept(shop.runtime, shop.tenant_id, case, ACTOR)
    assert user_entries(engine, payment) == [2500, -1000]
    assert engine.dead_letters(payment.id) == [("reversal", "accepted")]
    engine.number()
    report = prove(shop.runtime.database, "full", shop.tenant_id)
    assert report.is_whole, report.as_json()
