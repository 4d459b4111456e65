"""A refund whose provider keeps no keys and cannot look refunds up: a person says what became of a lost answer."""

from __future__ import annotations

import dataclasses
import uuid

import pytest

from app.core.payment import Payment
from app.providers.adapters.sandbox import SandboxAdapter
from app.services.operators import redrive, resolve
from app.services.payments.calls.call_settlement import settle_answers
from app.services.payments.refunds import RefundMade
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.integration.refunds.refund_requests import (
    ask,
    call_without_settling,
    check_books,
    pay,
    read,
    user_entries,
    wallet,
)
from tests.support.engine import Engine


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sandbox's adapter declare neither keys of refunds nor lookups of them."""
    plain = dataclasses.replace(SandboxAdapter.capabilities, finds_refunds=False, refund_key_seconds=0)
    monkeypatch.setattr(SandboxAdapter, "capabilities", plain)


def lose_answer(front: Stack, engine: Engine, shop: Shop, *, effect: bool) -> tuple[RefundMade, Payment]:
    """Return a refund whose call had an unreadable answer, and whose case is open."""
    payment = pay(front, engine, shop, silent=True)
    match = {"merchant_reference": str(payment.id)}
    front.sandbox.script(match=match, refund={"status": 503, "effect": effect, "times": 1})
    made = ask(shop, payment, "10.00")
    engine.call()
    assert engine.action(payment.id) == "refund"
    engine.ask(payment.id)
    assert engine.dead_letters(payment.id) == [("refund", "open")]
    assert (read(shop, made)["status"], wallet(shop, payment.user_id)) == ("pending", (2500, 1000, 1500))
    # Nothing is left that could be asked; the case is what waits.
    assert engine.action(payment.id) is None
    check_books(engine, shop)
    return made, payment


def find_case(engine: Engine, made: RefundMade) -> uuid.UUID:
    key = f"refund:{made.refund['id']}"
    case: uuid.UUID = engine.databases.value("select id from dead_letters where case_key = :key", key=key)
    return case


def test_a_person_says_that_it_was_made(front: Stack, engine: Engine, shop: Shop) -> None:
    made, payment = lose_answer(front, engine, shop, effect=True)
    resolve.accept(shop.runtime, shop.tenant_id, find_case(engine, made), ACTOR)
    assert (read(shop, made)["status"], shop.payment(payment.id).exception) == ("completed", None)
    assert (wallet(shop, payment.user_id), user_entries(engine, payment)) == ((1500, 0, 1500), [2500, -1000])
    assert (engine.action(payment.id), engine.dead_letters(payment.id)) == (None, [("refund", "accepted")])
    # The provider's own report comes after it.
    shop.deliver_refund(payment, amount="10.00")
    engine.settle()
    engine.call()
    assert user_entries(engine, payment) == [2500, -1000]
    assert front.sandbox.truth(payment.id)["payments"][0]["refunds"] == 1
    check_books(engine, shop)


def test_a_person_says_that_it_was_not_made(front: Stack, engine: Engine, shop: Shop) -> None:
    made, payment = lose_answer(front, engine, shop, effect=False)
    resolve.reject(shop.runtime, shop.tenant_id, find_case(engine, made), ACTOR)
    assert (read(shop, made)["status"], shop.payment(payment.id).exception) == ("failed", None)
    assert (wallet(shop, payment.user_id), user_entries(engine, payment)) == ((2500, 0, 2500), [2500])
    assert (engine.action(payment.id), engine.dead_letters(payment.id)) == (None, [("refund", "rejected")])
    assert front.sandbox.truth(payment.id)["payments"][0]["refunds"] == 0
    check_books(engine, shop)


def test_the_provider_says_first_that_it_was_made(front: Stack, engine: Engine, shop: Shop) -> None:
    made, payment = lose_answer(front, engine, shop, effect=True)
    shop.deliver_refund(payment, amount="10.00")
    engine.settle()
    assert (read(shop, made)["status"], engine.dead_letters(payment.id)) == ("completed", [("refund", "superseded")])
    assert user_entries(engine, payment) == [2500, -1000]
    check_books(engine, shop)


def test_a_redrive_sends_it_no_second_time(front: Stack, engine: Engine, shop: Shop) -> None:
    made, payment = lose_answer(front, engine, shop, effect=True)
    redrive.redrive(shop.runtime, shop.tenant_id, find_case(engine, made), ACTOR)
    engine.call()
    assert front.sandbox.truth(payment.id)["payments"][0]["refunds"] == 1
    assert engine.dead_letters(payment.id) == [("refund", "open")]
    assert engine.action(payment.id) is None
    resolve.accept(shop.runtime, shop.tenant_id, find_case(engine, made), ACTOR)
    check_books(engine, shop)


def test_a_rejected_refund_that_was_made_is_a_reversal(front: Stack, engine: Engine, shop: Shop) -> None:
    made, payment = lose_answer(front, engine, shop, effect=True)
    resolve.reject(shop.runtime, shop.tenant_id, find_case(engine, made), ACTOR)
    shop.deliver_refund(payment, amount="10.00")
    engine.run_until(lambda: user_entries(engine, payment) == [2500, -1000], "the money that went back is booked")
    assert (read(shop, made)["status"], shop.payment(payment.id).exception) == ("failed", "reversed")
    check_books(engine, shop)


def test_the_answer_after_a_rejection_is_not_lost(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    made = ask(shop, payment, "10.00")
    answer = call_without_settling(shop)
    # The lease is over, and the next worker cannot ask.
    engine.ask(payment.id)
    resolve.reject(shop.runtime, shop.tenant_id, find_case(engine, made), ACTOR)
    settle_answers(shop.runtime, [answer])
    engine.run_until(lambda: user_entries(engine, payment) == [2500, -1000], "the provider was asked")
    assert (read(shop, made)["status"], shop.payment(payment.id).exception) == ("failed", "reversed")
    assert wallet(shop, payment.user_id) == (1500, 0, 1500)
    check_books(engine, shop)
