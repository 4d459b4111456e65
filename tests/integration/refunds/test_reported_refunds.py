"""Refunds whose end only the provider's webhooks report: nothing is asked meanwhile, and after that a person is."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from app.core.payment import Payment
from app.providers import Account, RefundSubject
from app.providers.adapters.sandbox import SandboxAdapter
from app.services.operators import resolve
from app.services.payments.refunds import RefundMade
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.integration.refunds.refund_requests import ask, check_books, pay, read, user_entries, wallet
from tests.support.engine import Engine, claim_call

KEY_SECONDS = 7 * 86_400
CALLS = "select count(*) from audit_logs where kind = 'provider_call'"


@pytest.fixture(autouse=True)
def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sandbox's adapter declare that a refund cannot be looked up, and fail where it is."""
    silent = {"finds_refunds": False, "reads_refunds": False, "refund_key_seconds": KEY_SECONDS}
    monkeypatch.setattr(SandboxAdapter, "capabilities", dataclasses.replace(SandboxAdapter.capabilities, **silent))
    monkeypatch.setattr(SandboxAdapter, "fetch_refund", _forbid)


def _forbid(self: SandboxAdapter, account: Account, subject: RefundSubject) -> None:
    raise AssertionError("the provider was asked")


def receive(front: Stack, engine: Engine, shop: Shop) -> tuple[RefundMade, Payment]:
    """Return a refund that the provider has received, and its payment."""
    payment = pay(front, engine, shop, silent=True)
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, refund={"outcome": "pending"})
    made = ask(shop, payment, "10.00")
    engine.call()
    assert read(shop, made)["status"] == "processing"
    return made, payment


def due_in(engine: Engine, payment: Payment) -> datetime.timedelta:
    """Return when the payment's next call is due, from now."""
    value: datetime.timedelta = engine.databases.value(
        "select due_at - now() from payment_work where payment_id = :id", id=payment.id
    )
    return value


def test_it_waits_for_its_webhook_and_calls_nobody(front: Stack, engine: Engine, shop: Shop) -> None:
    made, payment = receive(front, engine, shop)
    calls = engine.databases.value(CALLS)
    engine.ask(payment.id)
    left = datetime.timedelta(seconds=KEY_SECONDS) - due_in(engine, payment)
    assert datetime.timedelta() <= left < datetime.timedelta(minutes=5)
    work = engine.databases.rows("select attempts, claim_id from payment_work where payment_id = :id", id=payment.id)
    assert [dict(row) for row in work] == [{"attempts": 0, "claim_id": None}]
    assert engine.databases.value(CALLS) == calls
    shop.deliver_refund(payment, amount="10.00")
    engine.settle()
    assert (read(shop, made)["status"], user_entries(engine, payment)) == ("completed", [2500, -1000])
    assert engine.action(payment.id) is None
    check_books(engine, shop)


def test_another_refund_of_the_payment_is_made_meanwhile(front: Stack, engine: Engine, shop: Shop) -> None:
    first, payment = receive(front, engine, shop)
    engine.ask(payment.id)
    second = ask(shop, payment, "5.00")
    engine.call()
    assert [read(shop, one)["status"] for one in (first, second)] == ["processing", "processing"]
    assert front.sandbox.truth(payment.id)["payments"][0]["refunds"] == 2
    assert wallet(shop, payment.user_id) == (2500, 1500, 1000)


def test_past_the_life_of_its_key_a_person_decides_and_the_hold_stays(front: Stack, engine: Engine, shop: Shop) -> None:
    made, payment = receive(front, engine, shop)
    engine.databases.rows(
        "update refunds set sent_at = sent_at - interval '8 days' where payment_id = :id", id=payment.id
    )
    engine.ask(payment.id)
    assert engine.dead_letters(payment.id) == [("refund", "open")]
    assert (read(shop, made)["status"], wallet(shop, payment.user_id)) == ("processing", (2500, 1000, 1500))
    assert engine.action(payment.id) is None
    check_books(engine, shop)
    case = engine.databases.value(
        "select id from dead_letters where case_key = :key", key=f"refund:{made.refund['id']}"
    )
    resolve.accept(shop.runtime, shop.tenant_id, case, ACTOR)
    assert (read(shop, made)["status"], user_entries(engine, payment)) == ("completed", [2500, -1000])
    check_books(engine, shop)


def test_the_call_has_the_other_ids_of_the_payment(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    for index, alias in enumerate(("charge_2", "charge_1")):
        engine.databases.rows(
            "insert into provider_references (provider_id, reference, tenant_id, payment_id, created_at)"
            " values (:provider, :alias, :tenant, :id, now() - make_interval(secs => :age))",
            provider=payment.provider_id,
            alias=alias,
            tenant=shop.tenant_id,
            id=payment.id,
            age=10 - index,
        )
    ask(shop, payment, "10.00")
    claim = claim_call(shop.runtime)
    assert claim is not None
    assert claim.refund is not None
    assert claim.refund.aliases == ("charge_2", "charge_1")
