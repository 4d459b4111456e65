"""Late and excess money that a policy gives back, from its arrival to the payer, or to a person's decision."""

from __future__ import annotations

import dataclasses
import json

import pytest

from app.core.errors import RequestRejected
from app.providers.adapters.sandbox import SandboxAdapter
from app.services.operators import redrive, resolve
from app.services.payments.calls.call_settlement import settle_answers
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.integration.refunds.policy_cases import (
    LATE_IN,
    LATE_OUT,
    OVER_IN,
    OVER_OUT,
    find_case,
    give_back,
    in_suspense,
    list_refunds,
    pay_late,
    pay_too_much,
)
from tests.integration.refunds.refund_requests import ask, call_without_settling, check_books, user_entries
from tests.integration.refunds.test_refund_limits import dispute, lose_answer, outlive_key, refunds_of
from tests.support.clients.api import Api, problem_of
from tests.support.commands import Commands
from tests.support.engine import Engine


@pytest.fixture(autouse=True)
def policies(shop: Shop) -> None:
    """Let the tenant's policies give late and excess money back."""
    give_back(shop)


def test_late_money_goes_back_and_is_never_the_users(api: Api, front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay_late(front, engine, shop)
    shown = api.read(payment.id)
    assert (shown["status"], shown["exception"], shown["received_amount"]) == ("cancelled", "late", "25.00")
    assert engine.entries(payment.id) == LATE_IN
    assert (engine.action(payment.id), in_suspense(engine, shop)) == ("refund", 2500)
    engine.call()
    (refund,) = api.get(f"/api/payments/{payment.id}/refunds").json()["data"]
    assert (refund["status"], refund["reason"], refund["amount"]) == ("completed", "late", "25.00")
    assert engine.entries(payment.id) == LATE_IN + LATE_OUT
    shown = api.read(payment.id)
    assert (shown["status"], shown["exception"], shown["reversed_amount_minor"]) == ("cancelled", "late", 0)
    wallets = api.get(f"/api/wallets/{payment.user_id}").json()["data"]
    assert [(one["balance"], one["held"], one["available"]) for one in wallets] in ([], [("0.00", "0.00", "0.00")])
    assert api.get(f"/api/wallets/{payment.user_id}/transactions").json()["data"] == []
    engine.number()
    events = [one for one in api.get("/api/events", after=0).json()["data"] if one["payment"]["id"] == str(payment.id)]
    assert [one["type"] for one in events][-2:] == ["payment.review", "refund.completed"]
    assert events[-1]["refund"] == refund
    # A lookup that shows the money and its refund is no news.
    front.databases.rows("update payment_work set action = 'poll' where payment_id = :id", id=payment.id)
    engine.ask(payment.id)
    assert engine.entries(payment.id) == LATE_IN + LATE_OUT
    assert (refunds_of(front, payment), in_suspense(engine, shop)) == (1, 0)
    problem_of(api.post(f"/api/payments/{payment.id}/refunds", {}, {"Idempotency-Key": "late"}), 409)
    check_books(engine, shop)


def test_only_the_excess_goes_back(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay_too_much(front, engine, shop)
    assert (payment.status, payment.exception, payment.received_minor) == ("completed", "overpaid", 3000)
    assert sorted(engine.entries(payment.id)) == sorted(OVER_IN)
    engine.call()
    assert sorted(engine.entries(payment.id)) == sorted(OVER_IN + OVER_OUT)
    (refund,) = list_refunds(shop, payment)
    assert (refund["status"], refund["reason"], refund["amount"]) == ("completed", "overpaid", "5.00")
    assert shop.payment(payment.id).reversed_minor == 0
    # What is left for refunds that are asked for is what was credited.
    with pytest.raises(RequestRejected, match="more than is left"):
        ask(shop, payment, "25.01")
    ask(shop, payment)
    engine.call()
    after = shop.payment(payment.id)
    assert (after.reversed_minor, after.exception, in_suspense(engine, shop)) == (2500, "overpaid", 0)
    assert [one["amount"] for one in list_refunds(shop, payment)] == ["5.00", "25.00"]
    check_books(engine, shop)


def test_a_webhook_about_the_refund_is_the_same_effect(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay_too_much(front, engine, shop)
    answer = call_without_settling(shop)
    shop.deliver_refund(payment, amount="5.00")
    engine.settle()
    settle_answers(shop.runtime, [answer])
    shop.deliver_refund(payment, amount="5.00")
    engine.settle()
    assert sorted(engine.entries(payment.id)) == sorted(OVER_IN + OVER_OUT)
    # Of a larger total only what is more is the user's.
    shop.deliver_refund(payment, amount="12.00")
    engine.settle()
    after = shop.payment(payment.id)
    assert (after.reversed_minor, after.exception) == (700, "overpaid")
    check_books(engine, shop)


@pytest.mark.parametrize("effect", [True, False])
@pytest.mark.parametrize("is_key_dead", [True, False])
def test_a_lost_answer_is_asked_for_again(
    front: Stack, engine: Engine, shop: Shop, effect: bool, is_key_dead: bool
) -> None:
    payment = pay_late(front, engine, shop)
    lose_answer(front, payment, effect=effect)
    engine.call()
    assert [one["status"] for one in list_refunds(shop, payment)] == ["pending"]
    if is_key_dead:
        outlive_key(engine, payment)
    engine.ask(payment.id)
    assert [one["status"] for one in list_refunds(shop, payment)] == ["completed"]
    assert (engine.entries(payment.id), refunds_of(front, payment)) == (LATE_IN + LATE_OUT, 1)
    check_books(engine, shop)


@pytest.mark.parametrize("action", ["accept", "reject", "redrive"])
def test_a_person_decides_about_a_refund_that_cannot_be_made(
    front: Stack, engine: Engine, shop: Shop, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    capabilities = dataclasses.replace(SandboxAdapter.capabilities, can_refund=False)
    with monkeypatch.context() as patch:
        patch.setattr(SandboxAdapter, "capabilities", capabilities)
        payment = pay_late(front, engine, shop)
        engine.call()
        (refund,) = list_refunds(shop, payment)
        assert (refund["status"], refund["failure_reason"]) == (
            "failed",
            "The payment's provider cannot refund through here.",
        )
    assert engine.dead_letters(payment.id) == [("suspense", "open")]
    assert refunds_of(front, payment) == 0
    case = find_case(engine, payment)
    tenant_id = shop.tenant_id
    if action != "redrive":
        shown = getattr(resolve, action)(shop.runtime, tenant_id, case, ACTOR, is_dry_run=True)
        assert ("deposit of 25.00 USD" if action == "accept" else "the money stays in suspense") in shown
    if action == "redrive":
        assert "goes back to the payer" in redrive.redrive(shop.runtime, tenant_id, case, ACTOR).effect
        engine.call()
        assert [one["status"] for one in list_refunds(shop, payment)] == ["failed", "completed"]
        assert engine.entries(payment.id) == LATE_IN + LATE_OUT
    elif action == "accept":
        resolve.accept(shop.runtime, tenant_id, case, ACTOR)
        assert engine.entries(payment.id) == [*LATE_IN, ("user", 2500), ("suspense", -2500)]
        after = shop.payment(payment.id)
        assert (after.status, after.exception, after.received_minor) == ("completed", "late", 2500)
        # Credited as any other money, it can be refunded as any other.
        ask(shop, payment, "10.00")
        engine.call()
        assert shop.payment(payment.id).reversed_minor == 1000
    else:
        resolve.reject(shop.runtime, tenant_id, case, ACTOR)
        assert (engine.entries(payment.id), in_suspense(engine, shop)) == (LATE_IN, 2500)
        # Given back by hand at the provider; after a refund that failed, its totals are looked up.
        front.sandbox.act(str(payment.provider_reference), "refund")
        shop.deliver_refund(payment, amount="25.00")
        engine.settle()
        engine.call()
        assert engine.entries(payment.id) == LATE_IN + LATE_OUT
    expected = {"accept": "accepted", "reject": "rejected", "redrive": "redriven"}[action]
    assert engine.dead_letters(payment.id) == [("suspense", expected)]
    for act in (resolve.accept, resolve.reject):
        with pytest.raises(RequestRejected, match="not open any more"):
            act(shop.runtime, tenant_id, case, ACTOR)
    check_books(engine, shop)


def test_a_redrive_of_what_is_disputed_waits(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay_late(front, engine, shop)
    dispute(engine, shop, payment)
    engine.call()
    assert [one["status"] for one in list_refunds(shop, payment)] == ["failed"]
    assert refunds_of(front, payment) == 0
    case = find_case(engine, payment)
    for is_dry_run in (True, False):
        with pytest.raises(RequestRejected, match="a dispute is open"):
            redrive.redrive(shop.runtime, shop.tenant_id, case, ACTOR, is_dry_run)
    dispute(engine, shop, payment, "won")
    redrive.redrive(shop.runtime, shop.tenant_id, case, ACTOR)
    engine.call()
    assert (engine.entries(payment.id), refunds_of(front, payment)) == (LATE_IN + LATE_OUT, 1)
    check_books(engine, shop)


def test_a_chargeback_of_money_that_goes_back_is_not_the_users(front: Stack, engine: Engine, shop: Shop) -> None:
    """Before the refund is sent the chargeback takes its place."""
    late = pay_late(front, engine, shop)
    shop.deliver_refund(late, amount="25.00")
    engine.settle()
    assert engine.entries(late.id) == LATE_IN + LATE_OUT
    over = pay_too_much(front, engine, shop)
    shop.deliver_refund(over, amount="30.00")
    engine.settle()
    engine.call()
    for payment in (late, over):
        assert [one["status"] for one in list_refunds(shop, payment)] == ["failed"]
        assert (refunds_of(front, payment), engine.dead_letters(payment.id)) == (0, [])
    after = shop.payment(over.id)
    assert (after.reversed_minor, after.exception, in_suspense(engine, shop)) == (2500, "overpaid", 0)
    check_books(engine, shop)


def test_a_second_late_payment_goes_back_as_well(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay_late(front, engine, shop)
    engine.call()
    # The sandbox was paid only once, and refuses the second refund.
    shop.deliver(shop.body(payment, amount="40.00"))
    engine.settle()
    assert in_suspense(engine, shop) == 1500
    engine.ask(payment.id)
    shown = [(one["status"], one["amount"]) for one in list_refunds(shop, payment)]
    assert shown == [("completed", "25.00"), ("failed", "15.00")]
    resolve.accept(shop.runtime, shop.tenant_id, find_case(engine, payment), ACTOR)
    after = shop.payment(payment.id)
    assert (after.status, after.received_minor, in_suspense(engine, shop)) == ("completed", 4000, 0)
    assert user_entries(engine, payment) == [1500]
    check_books(engine, shop)


def test_an_unknown_outcome_is_for_a_person_and_then_the_money_is(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay_late(front, engine, shop)
    query = "update payment_providers set attempts_max = 1 where id = :id"
    engine.databases.rows(query, id=shop.provider_id)
    lose_answer(front, payment, effect=True)
    engine.call()
    assert engine.dead_letters(payment.id) == [("refund", "open")]
    resolve.reject(shop.runtime, shop.tenant_id, find_case(engine, payment), ACTOR)
    assert engine.dead_letters(payment.id) == [("refund", "rejected"), ("suspense", "open")]
    # It was made all the same: the provider's report takes it out of suspense, and nothing is left to decide.
    shop.deliver_refund(payment, amount="25.00")
    engine.settle()
    engine.call()
    assert engine.dead_letters(payment.id) == [("refund", "rejected"), ("suspense", "superseded")]
    assert engine.entries(payment.id) == LATE_IN + LATE_OUT
    check_books(engine, shop)


def test_what_happened_is_said_in_plain_words(front: Stack, engine: Engine, shop: Shop) -> None:
    commands = Commands(front.databases)
    payment = pay_too_much(front, engine, shop)
    engine.call()
    told = commands.text("payments", "explain", str(payment.id))
    assert "5.00 USD more than was asked for goes back" in told
    assert "5.00 USD waits in the provider's suspense wallet: it is no user's, and is to go back" in told
    assert "5.00 USD leaves the provider's suspense wallet: the refund took it, and the payer has it back" in told
    assert "The user's wallet gets 25.00 USD (deposit)" in told
    assert "overpaid" in json.dumps(commands.json("refunds", "list", str(payment.id)))
