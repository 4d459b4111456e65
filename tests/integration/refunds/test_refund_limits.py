"""What may be sent of refunds: under disputes, of second payments, against one wallet, and what cannot be prepared."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from app.core.errors import RequestRejected
from app.core.payment import Payment
from app.providers import RefundSubject
from app.providers.adapters.sandbox import SandboxAdapter
from app.services.operators import redrive, resolve
from app.services.payments.calls import set_aside
from app.services.tenants import policies
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.integration.refunds.refund_requests import ask, check_books, pay, read, user_entries, wallet
from tests.support.engine import Engine


def refunds_of(front: Stack, payment: Payment) -> int:
    """Return how many refunds the provider has made of the payment."""
    return int(front.sandbox.truth(payment.id)["payments"][0]["refunds"])


def dispute(engine: Engine, shop: Shop, payment: Payment, outcome: str = "opened") -> None:
    """Deliver what the provider says of a dispute."""
    body = {
        "provider_id": str(shop.provider_id),
        "event_id": f"{outcome}-{payment.id}",
        "event_type": "payment.disputed",
        "transaction_id": str(payment.id),
        "provider_reference": payment.provider_reference,
        "status": "disputed",
        "amount": "25.00",
        "currency": "USD",
        "dispute_id": f"dp-{payment.id}",
        "outcome": outcome,
    }
    shop.deliver(json.dumps(body).encode(), "provider")
    engine.settle()


def lose_answer(front: Stack, payment: Payment, *, effect: bool) -> None:
    """Let the provider's next answer about a refund of the payment be lost."""
    match = {"merchant_reference": str(payment.id)}
    front.sandbox.script(match=match, refund={"status": 503, "effect": effect, "times": 1})


def outlive_key(engine: Engine, payment: Payment) -> None:
    """Let the key of the payment's refunds be too old."""
    engine.databases.rows(
        "update refunds set sent_at = sent_at - interval '2 days' where payment_id = :id", id=payment.id
    )


def test_a_dispute_before_the_first_try_ends_the_refund(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    made = ask(shop, payment, "10.00")
    dispute(engine, shop, payment)
    engine.call()
    assert (read(shop, made)["status"], refunds_of(front, payment)) == ("failed", 0)
    assert (wallet(shop, payment.user_id), user_entries(engine, payment)) == ((2500, 0, 2500), [2500])
    check_books(engine, shop)


@pytest.mark.parametrize("effect", [True, False])
def test_a_dispute_does_not_end_the_retry_of_an_unknown_outcome(
    front: Stack, engine: Engine, shop: Shop, effect: bool
) -> None:
    payment = pay(front, engine, shop, silent=True)
    lose_answer(front, payment, effect=effect)
    made = ask(shop, payment, "10.00")
    engine.call()
    dispute(engine, shop, payment)
    assert read(shop, made)["status"] == "pending"
    engine.ask(payment.id)
    assert (read(shop, made)["status"], refunds_of(front, payment)) == ("completed", 1)
    assert user_entries(engine, payment) == [2500, -1000]
    check_books(engine, shop)


def disputed(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    dispute(engine, shop, payment)


def taken_back(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    front.sandbox.act(str(payment.provider_reference), "refund", amount="10.00")
    shop.deliver_refund(payment, amount="10.00")
    engine.settle()


@pytest.mark.parametrize("happens", [disputed, taken_back])
def test_what_the_provider_does_not_have_is_not_sent_against_a_dispute_or_beyond_what_is_left(
    front: Stack, engine: Engine, shop: Shop, happens: Callable[[Stack, Engine, Shop, Payment], None]
) -> None:
    payment = pay(front, engine, shop, silent=True)
    lose_answer(front, payment, effect=False)
    made = ask(shop, payment, "20.00")
    engine.call()
    happens(front, engine, shop, payment)
    before = refunds_of(front, payment)
    outlive_key(engine, payment)
    engine.ask(payment.id)
    ended = read(shop, made)
    assert (ended["status"], refunds_of(front, payment)) == ("failed", before)
    assert "not be sent again" in ended["failure_reason"]
    assert wallet(shop, payment.user_id)[1] == 0
    assert engine.action(payment.id) is None
    check_books(engine, shop)


def pay_again(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> str:
    """Let the payer pay 8.00 EUR more for the payment, and accept it; return its provider reference."""
    order = {"amount": "8.00", "currency": "EUR", "merchant_reference": str(payment.id)}
    order |= {"callback_urls": {}, "success_url": None, "failure_url": None}
    headers = {"Authorization": f"Bearer {shop.provider_api_key}", "Idempotency-Key": uuid.uuid4().hex}
    answer = requests.post(f"{front.sandbox.url}/v1/payments", json=order, headers=headers, timeout=20)
    assert answer.status_code == 201, answer.text
    reference = str(answer.json()["reference"])
    front.sandbox.act(reference, "pay")
    shop.deliver(shop.body(payment, provider_reference=reference, amount="8.00", currency="EUR"))
    engine.settle()
    case = engine.databases.value("select id from dead_letters where payment_id = :id", id=payment.id)
    resolve.accept(shop.runtime, shop.tenant_id, case, ACTOR)
    return reference


def test_a_second_payment_is_refunded_in_its_own_currency(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    with pytest.raises(RequestRejected, match="no money was credited under this provider reference"):
        ask(shop, payment, "5.00", reference="unknown")
    reference = pay_again(front, engine, shop, payment)
    made = ask(shop, payment, "5.00", reference=reference)
    assert (made.refund["currency"], made.refund["amount_minor"]) == ("EUR", 500)
    with pytest.raises(RequestRejected, match="more than is left"):
        ask(shop, payment, "3.01", reference=reference)
    # What is left of the one is not what is left of the other.
    own = ask(shop, payment, "25.00")
    engine.call()
    assert [read(shop, one)["status"] for one in (made, own)] == ["completed", "completed"]
    key = {"Authorization": f"Bearer {shop.provider_api_key}"}
    refunded = requests.get(f"{front.sandbox.url}/v1/payments/{reference}", headers=key, timeout=20).json()
    assert refunded["refunded_amount"] == "5.00"
    assert sorted(user_entries(engine, payment)) == [-2500, -500, 800, 2500]
    # The payment's own sum is of its own currency.
    after = shop.payment(payment.id)
    assert (after.reversed_minor, "reversed" in after.exceptions) == (2500, False)
    rest = ask(shop, payment, reference=reference)
    assert rest.refund["amount_minor"] == 300
    engine.call()
    check_books(engine, shop)


def test_refunds_of_one_wallet_take_no_more_than_it_has_available(front: Stack, engine: Engine, shop: Shop) -> None:
    policies.change_policy(shop.runtime, shop.tenant_id, {"negative_policy": "hold"}, ACTOR)
    payments = [pay(front, engine, shop, silent=True, user_id="racer") for _ in range(4)]
    # The provider takes back 85.00 for a payment of 25.00, which a person books: 15.00 of 100.00 are available.
    shop.deliver_refund(payments[0], amount="85.00")
    engine.settle()
    case = engine.databases.value("select id from dead_letters where payment_id = :id", id=payments[0].id)
    resolve.accept(shop.runtime, shop.tenant_id, case, ACTOR)
    assert wallet(shop, "racer") == (1500, 0, 1500)
    begin = threading.Barrier(3)

    def try_it(payment: Payment) -> int:
        begin.wait()
        try:
            ask(shop, payment, "10.00")
        except RequestRejected as refused:
            return refused.status
        return 202

    with ThreadPoolExecutor(3) as threads:
        answers = sorted(threads.map(try_it, payments[1:]))
    assert answers == [202, 409, 409]
    assert wallet(shop, "racer") == (1500, 1000, 500)
    engine.call()
    assert wallet(shop, "racer") == (500, 0, 500)
    check_books(engine, shop)


def cannot_be_prepared(monkeypatch: pytest.MonkeyPatch, amount_minor: int) -> None:
    """Let the sandbox's adapter fail to build refunds of this amount."""
    build = SandboxAdapter.build_refund

    def fail(self: SandboxAdapter, subject: RefundSubject) -> bytes:
        if subject.amount_minor == amount_minor:
            raise ValueError("no such refund can be written")
        return build(self, subject)

    monkeypatch.setattr(SandboxAdapter, "build_refund", fail)


def give_up(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> uuid.UUID:
    """Let the tries of the payment's call be used up; return the case."""
    engine.databases.rows(
        "update payment_work set attempts = :tries where payment_id = :id", id=payment.id, tries=set_aside.ATTEMPTS_MAX
    )
    engine.ask(payment.id)
    assert ("refund", "open") in engine.dead_letters(payment.id)
    case: uuid.UUID = engine.databases.value(
        "select id from dead_letters where payment_id = :id and state = 'open'", id=payment.id
    )
    return case


@pytest.mark.parametrize("decision", ["accept", "reject", "redrive"])
def test_a_call_that_cannot_be_prepared_waits_for_a_person(
    front: Stack, engine: Engine, shop: Shop, monkeypatch: pytest.MonkeyPatch, decision: str
) -> None:
    payment = pay(front, engine, shop, silent=True)
    with monkeypatch.context() as patched:
        cannot_be_prepared(patched, 1000)
        made = ask(shop, payment, "10.00")
        engine.call()
        assert engine.dead_letters(payment.id) == []
        case = give_up(front, engine, shop, payment)
        assert (read(shop, made)["status"], wallet(shop, payment.user_id)) == ("pending", (2500, 1000, 1500))
        check_books(engine, shop)
    if decision == "redrive":
        redrive.redrive(shop.runtime, shop.tenant_id, case, ACTOR)
        engine.call()
        assert engine.dead_letters(payment.id) == [("refund", "superseded")]
    else:
        decide = resolve.accept if decision == "accept" else resolve.reject
        decide(shop.runtime, shop.tenant_id, case, ACTOR)
        assert engine.dead_letters(payment.id) == [("refund", f"{decision}ed")]
    is_failed = decision == "reject"
    assert read(shop, made)["status"] == ("failed" if is_failed else "completed")
    assert refunds_of(front, payment) == (1 if decision == "redrive" else 0)
    assert user_entries(engine, payment) == ([2500] if is_failed else [2500, -1000])
    assert engine.action(payment.id) is None
    check_books(engine, shop)


def test_a_refund_that_waits_for_a_person_holds_up_no_other(
    front: Stack, engine: Engine, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = pay(front, engine, shop, silent=True)
    cannot_be_prepared(monkeypatch, 1000)
    stuck, other = ask(shop, payment, "10.00"), ask(shop, payment, "5.00")
    engine.call()
    assert read(shop, other)["status"] == "pending"
    case = give_up(front, engine, shop, payment)
    engine.call()
    assert [read(shop, one)["status"] for one in (stuck, other)] == ["pending", "completed"]
    assert user_entries(engine, payment) == [2500, -500]
    resolve.reject(shop.runtime, shop.tenant_id, case, ACTOR)
    assert engine.action(payment.id) is None
    check_books(engine, shop)
