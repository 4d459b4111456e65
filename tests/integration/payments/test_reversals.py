"""Refunds and chargebacks: reversing pairs of entries, and what a spent wallet does to them."""

from __future__ import annotations

import secrets

from app.core.payment import Payment
from app.services.operators import redrive
from app.services.tenants import policies
from testbed.servers import Databases
from testbed.shop import ACTOR, Shop, make_shop
from testbed.stack import Stack
from tests.support.engine import Engine


def complete(front: Stack, engine: Engine, shop: Shop, user: str) -> Payment:
    payment = engine.start(shop, user_id=user)
    front.sandbox.act(str(payment.provider_reference), "pay")
    engine.run_until(lambda: shop.payment(payment.id).status == "completed", "the money is credited")
    return shop.payment(payment.id)


def balance(engine: Engine, shop: Shop, user: str) -> int:
    query = "select balance_minor from wallets where tenant_id = :tenant and user_id = :user"
    return int(engine.databases.value(query, tenant=shop.tenant_id, user=user))


def new_user() -> str:
    return "user-" + secrets.token_hex(4)


def test_refunds_at_the_sandbox_become_reversing_pairs(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = complete(front, engine, shop, new_user())
    front.sandbox.act(str(payment.provider_reference), "refund", amount="10.00")
    engine.run_until(lambda: shop.payment(payment.id).reversed_minor == 1000, "the first refund is booked")
    front.sandbox.act(str(payment.provider_reference), "refund")
    engine.run_until(lambda: shop.payment(payment.id).reversed_minor == 2500, "the rest is booked")
    after = shop.payment(payment.id)
    assert (after.status, after.exception) == ("completed", "reversed")
    user_side = [minor for kind, minor in engine.entries(payment.id) if kind == "user"]
    assert user_side == [2500, -1000, -1500]


def test_refunds_that_overtake_each_other_are_totals(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = complete(front, engine, shop, new_user())
    for amount in ("25.00", "10.00", "25.00"):
        shop.deliver_refund(payment, amount=amount)
        engine.settle()
    assert [minor for kind, minor in engine.entries(payment.id) if kind == "user"] == [2500, -2500]
    assert engine.dead_letters(payment.id) == []


def test_more_than_was_credited_is_a_case(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = complete(front, engine, shop, new_user())
    shop.deliver_refund(payment, amount="25.01")
    engine.settle()
    assert engine.dead_letters(payment.id) == [("reversal", "open")]
    assert shop.payment(payment.id).reversed_minor == 0
    # A total that fits is booked; the case of the one that does not stays a person's.
    shop.deliver_refund(payment, amount="10.00")
    engine.settle()
    assert shop.payment(payment.id).reversed_minor == 1000
    assert engine.dead_letters(payment.id) == [("reversal", "open")]


def test_a_spent_wallet_goes_below_zero_or_waits_as_the_policy_says(databases: Databases) -> None:
    # Databases of its own: the money is spent behind the back of the books.
    with databases.open_runtime() as runtime:
        shop, engine, user = make_shop(runtime), Engine(runtime, databases), new_user()
        payments = [shop.deposit(user_id=user) for _ in range(2)]
        for payment in payments:
            shop.deliver(shop.body(payment))
        engine.settle()
        spend(engine, shop, user, 2500)
        policies.change_policy(runtime, shop.tenant_id, {"negative_policy": "hold"}, ACTOR)
        # In one batch each refund takes all that there is: the second must see what the first has left.
        for payment in payments:
            shop.deliver_refund(payment, amount="25.00")
        engine.settle()
        assert balance(engine, shop, user) == 0
        assert sorted(engine.dead_letters(payment.id) for payment in payments) == [[], [("reversal", "open")]]
        held = next(payment for payment in payments if engine.dead_letters(payment.id))
        policies.change_policy(runtime, shop.tenant_id, {"negative_policy": "allow"}, ACTOR)
        query = "select id from dead_letters where payment_id = :id"
        redrive.redrive(runtime, shop.tenant_id, databases.value(query, id=held.id), ACTOR)
        engine.settle()
        assert balance(engine, shop, user) == -2500
        assert engine.dead_letters(held.id) == [("reversal", "superseded")]


def test_a_refund_right_behind_its_success_is_judged_by_the_new_balance(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    policies.change_policy(shop.runtime, shop.tenant_id, {"negative_policy": "hold"}, ACTOR)
    user = new_user()
    payment = engine.start(shop, user_id=user)
    shop.deliver(shop.body(payment))
    shop.deliver_refund(payment, amount="25.00")
    engine.settle()
    assert (balance(engine, shop, user), shop.payment(payment.id).reversed_minor) == (0, 2500)


def spend(engine: Engine, shop: Shop, user: str, minor: int) -> None:
    """Take money out of a wallet from outside: there is no purchase in Sluice that a test could make."""
    engine.databases.rows(
        "update wallets set balance_minor = balance_minor - :minor where tenant_id = :tenant and user_id = :user",
        minor=minor,
        tenant=shop.tenant_id,
        user=user,
    )
