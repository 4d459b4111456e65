"""What becomes of money that does not go as asked, under each policy of a tenant, paid at the real sandbox."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest

from app.core.payment import Payment
from app.services.operators import resolve
from app.services.tenants import policies
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.commands import Commands
from tests.support.engine import Engine


def set_policy(shop: Shop, **changes: Any) -> None:
    policies.change_policy(shop.runtime, shop.tenant_id, changes, ACTOR)


def pay(front: Stack, engine: Engine, shop: Shop, payment: Payment, count: int = 1, **amount: Any) -> Payment:
    """Pay at the sandbox and settle the webhook that comes of it."""
    front.sandbox.act(str(payment.provider_reference), "pay", **amount)
    engine.run_until(lambda: settled(engine, payment) >= count, "the webhook is settled")
    return shop.payment(payment.id)


def settled(engine: Engine, payment: Payment) -> int:
    return sum(verdict is not None for _, verdict in engine.verdicts(payment.id))


def end_late(engine: Engine, shop: Shop, payment: Payment) -> None:
    engine.expire(payment.id)
    engine.run_until(lambda: shop.payment(payment.id).status == "cancelled", "the payment has expired")
    engine.run_until(lambda: engine.action(payment.id) == "poll", "its session is closed")


def case_of(engine: Engine, payment: Payment) -> uuid.UUID:
    query = "select id from dead_letters where payment_id = :id and state = 'open'"
    return uuid.UUID(str(engine.databases.value(query, id=payment.id)))


LATE = {
    "credit": ("completed", "late", [("user", 2500), ("clearing", -2500)], []),
    "hold": ("cancelled", "late", [], [("late", "open")]),
    "reject": ("cancelled", "late", [], [("late", "rejected")]),
    "refund": ("cancelled", "late", [("suspense", 2500), ("clearing", -2500)], []),
}


@pytest.mark.parametrize("policy", LATE)
def test_late_money(front: Stack, engine: Engine, shop: Shop, policy: str) -> None:
    set_policy(shop, late_policy=policy)
    payment = engine.start(shop)
    end_late(engine, shop, payment)
    front.sandbox.act(str(payment.provider_reference), "pay", even_if_ended=True)
    # Closing the session sends a webhook as well; only the one about the money has an amount.
    engine.run_until(lambda: shop.payment(payment.id).received_minor is not None, "the money is settled")
    after = shop.payment(payment.id)
    found = (after.status, after.exception, engine.entries(payment.id), engine.dead_letters(payment.id))
    assert found == LATE[policy]


OVER = {
    "credit": ("completed", "overpaid", [("user", 3000), ("clearing", -3000)], []),
    "hold": ("processing", "overpaid", [], [("overpaid", "open")]),
    "reject": ("processing", "overpaid", [], [("overpaid", "rejected")]),
    "refund": (
        *("completed", "overpaid"),
        [("user", 2500), ("suspense", 500), ("clearing", -500), ("clearing", -2500)],
        [],
    ),
}


@pytest.mark.parametrize("policy", OVER)
def test_too_much_money(front: Stack, engine: Engine, shop: Shop, policy: str) -> None:
    set_policy(shop, over_policy=policy)
    after = pay(front, engine, shop, engine.start(shop), amount="30.00")
    entries = sorted(engine.entries(after.id), key=lambda entry: (entry[0], entry[1]))
    found = (after.status, after.exception, entries, engine.dead_letters(after.id))
    assert found == (*OVER[policy][:2], sorted(OVER[policy][2]), OVER[policy][3])


def test_too_little_is_held_does_not_expire_and_is_completed_by_the_rest(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    payment = engine.start(shop)
    after = pay(front, engine, shop, payment, amount="10.00")
    assert (after.status, after.exception, after.received_minor) == ("processing", "underpaid", 1000)
    engine.expire(payment.id)
    engine.call()
    assert shop.payment(payment.id).status == "processing"
    after = pay(front, engine, shop, payment, 2)
    assert (after.status, after.exception, after.received_minor) == ("completed", None, 2500)
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]
    assert engine.dead_letters(payment.id) == [("underpaid", "superseded")]


def test_rejected_money_does_not_keep_a_payment_open(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = engine.start(shop)
    pay(front, engine, shop, payment, amount="10.00")
    resolve.reject(shop.runtime, shop.tenant_id, case_of(engine, payment), ACTOR)
    engine.expire(payment.id)
    engine.call()
    after = shop.payment(payment.id)
    assert (after.status, after.failure_reason, engine.entries(payment.id)) == ("cancelled", "expired", [])


@pytest.mark.parametrize(("percent", "status"), [("4", "completed"), ("3.99", "processing")])
def test_a_tolerance_credits_what_was_received(
    front: Stack, engine: Engine, shop: Shop, percent: str, status: str
) -> None:
    set_policy(shop, tolerance_percent=Decimal(percent))
    after = pay(front, engine, shop, engine.start(shop), amount="24.00")
    assert after.status == status
    assert engine.entries(after.id) == ([("user", 2400), ("clearing", -2400)] if status == "completed" else [])


def test_a_new_policy_counts_for_a_case_that_waits(front: Stack, engine: Engine, shop: Shop) -> None:
    after = pay(front, engine, shop, engine.start(shop), amount="24.00")
    assert after.exception == "underpaid"
    set_policy(shop, tolerance_percent=Decimal(5))
    engine.ask(after.id)
    assert shop.payment(after.id).status == "completed"
    assert engine.dead_letters(after.id) == [("underpaid", "superseded")]


def test_another_currency_is_credited_in_it_once_a_person_accepts(front: Stack, engine: Engine, shop: Shop) -> None:
    user = "user-" + shop.tenant_id.hex[-6:]
    payment = engine.start(shop, user_id=user)
    after = pay(front, engine, shop, payment, amount="20.00", currency="EUR")
    assert (after.status, after.exception) == ("processing", "currency_mismatch")
    resolve.accept(shop.runtime, shop.tenant_id, case_of(engine, payment), ACTOR)
    after = shop.payment(payment.id)
    assert (after.status, after.exception, after.received_currency) == ("completed", "currency_mismatch", "EUR")
    wallets = engine.databases.rows("select currency, balance_minor from wallets where user_id = :user", user=user)
    assert wallets == [{"currency": "EUR", "balance_minor": 2000}]


def test_a_failure_after_the_success_is_a_conflict_and_moves_no_money(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = shop.deposit()
    send = [{}, {"opposite": True}]
    match = {"merchant_reference": str(payment.id)}
    front.sandbox.script(match=match, webhook={"events": ["success"], "send": send})
    engine.call()
    payment = shop.payment(payment.id)
    after = pay(front, engine, shop, payment, 2)
    assert (after.status, after.exception) == ("completed", "conflict")
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]


def test_a_second_payment_of_the_money_is_a_credit_of_its_own_once_accepted(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    payment = pay(front, engine, shop, engine.start(shop))
    for _ in range(2):
        shop.deliver(shop.body(payment, provider_reference="sbx_other"))
        engine.settle()
    assert engine.dead_letters(payment.id) == [("second_payment", "open")]
    resolve.accept(shop.runtime, shop.tenant_id, case_of(engine, payment), ACTOR)
    # Reported again under a new id, it is the money that was accepted; of a higher total, only the difference is new.
    shop.deliver(shop.body(payment, provider_reference="sbx_other"))
    engine.settle()
    shop.deliver(shop.body(payment, provider_reference="sbx_other", amount="30.00"))
    engine.settle()
    amounts = engine.databases.rows(
        "select state, amount_minor from dead_letters where payment_id = :id order by created_at", id=payment.id
    )
    assert [(row["state"], row["amount_minor"]) for row in amounts] == [("accepted", 2500), ("open", 500)]
    assert sorted(engine.entries(payment.id)) == [("clearing", -2500)] * 2 + [("user", 2500)] * 2
    after = shop.payment(payment.id)
    assert (after.status, after.exception, after.received_minor) == ("completed", "conflict", 2500)


def test_money_under_another_reference_that_was_accepted_hides_no_later_money(engine: Engine, shop: Shop) -> None:
    payment = engine.start(shop)
    shop.deliver(shop.body(payment, provider_reference="sbx_other"))
    engine.settle()
    resolve.accept(shop.runtime, shop.tenant_id, case_of(engine, payment), ACTOR)
    assert shop.payment(payment.id).status == "completed"
    shop.deliver(shop.body(payment))
    engine.settle()
    assert engine.dead_letters(payment.id) == [("reference_mismatch", "accepted"), ("second_payment", "open")]


@pytest.mark.parametrize("is_one_set", [True, False], ids=["settled together", "settled one by one"])
def test_money_in_another_currency_replaces_no_money_that_waits(engine: Engine, shop: Shop, is_one_set: bool) -> None:
    payment = engine.start(shop)
    shop.deliver(shop.body(payment))
    engine.settle()
    for amount, currency in (("10.00", "USD"), ("5.00", "EUR"), ("12.00", "USD")):
        shop.deliver(shop.body(payment, provider_reference="sbx_other", amount=amount, currency=currency))
        if not is_one_set:
            engine.settle()
    engine.settle()
    waiting = engine.databases.rows(
        "select amount_minor, currency, state from dead_letters where payment_id = :id order by currency, amount_minor",
        id=payment.id,
    )
    assert [tuple(row.values()) for row in waiting] == [
        (500, "EUR", "open"),
        (1000, "USD", "superseded"),
        (1200, "USD", "open"),
    ]


def test_the_command_sets_and_shows_a_policy(front: Stack, shop: Shop) -> None:
    commands = Commands(front.databases)
    set_to = commands.json("tenants", "policy", str(shop.tenant_id), "--late", "hold", "--tolerance", "0.5")
    assert (set_to["late_policy"], set_to["tolerance_percent"], set_to["over_policy"]) == ("hold", "0.50", "hold")
    assert commands.json("tenants", "policy", str(shop.tenant_id)) == set_to
    assert "Late money" in commands.text("tenants", "policy", str(shop.tenant_id))
    commands.error("tenants", "policy", str(shop.tenant_id), "--tolerance", "101")
    commands.error("tenants", "policy", str(shop.tenant_id), "--payment-seconds", "5s")
    kinds = front.databases.rows(
        "select detail from audit_logs where tenant_id = :id and kind = 'tenant_policy_changed'", id=shop.tenant_id
    )
    assert len(kinds) == 1


def test_the_books_hold_after_all_of_this(front: Stack, engine: Engine, shop: Shop) -> None:
    own = engine.start(shop)
    shop.deliver(shop.body(own, provider_reference="sbx_other", amount="30.00"))
    engine.settle()
    resolve.accept(shop.runtime, shop.tenant_id, case_of(engine, own), ACTOR)
    shop.deliver(shop.body(own))
    engine.settle()
    resolve.accept(shop.runtime, shop.tenant_id, case_of(engine, own), ACTOR)
    part = pay(front, engine, shop, engine.start(shop), amount="10.00")
    resolve.accept(shop.runtime, shop.tenant_id, case_of(engine, part), ACTOR)
    front.sandbox.act(str(part.provider_reference), "pay", amount="15.00")
    engine.run_until(lambda: settled(engine, part) == 2, "the rest is a case of its own")
    resolve.accept(shop.runtime, shop.tenant_id, case_of(engine, part), ACTOR)
    assert [minor for kind, minor in engine.entries(part.id) if kind == "user"] == [1000, 1500]
    assert shop.payment(part.id).received_minor == 2500
    engine.number()
    verdict = Commands(front.databases).run("verify", "--full", "--tenant", str(shop.tenant_id))
    assert verdict.exit_code == 0, verdict.output
