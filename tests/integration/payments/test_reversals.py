"""Refunds and chargebacks: reversing pairs of entries, and what a spent wallet does to them."""

from __future__ import annotations

import secrets

import pytest

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


@pytest.mark.parametrize("negative", ["allow", "hold"])
def test_a_spent_wallet_goes_below_zero_under_every_policy(databases: Databases, negative: str) -> None:
    # Databases of its own: the money is spent behind the back of the books.
    with databases.open_runtime() as runtime:
        shop, engine, user = make_shop(runtime), Engine(runtime, databases), new_user()
        payments = [shop.deposit(user_id=user) for _ in range(2)]
        for payment in payments:
            shop.deliver(shop.body(payment))
        engine.settle()
        spend(engine, shop, user, 2500)
        policies.change_policy(runtime, shop.tenant_id, {"negative_policy": negative}, ACTOR)
        # In one batch each refund takes all that there is: the second one leaves less than nothing.
        for payment in payments:
            shop.deliver_refund(payment, amount="25.00")
        engine.settle()
        assert balance(engine, shop, user) == -2500
        assert [engine.dead_letters(payment.id) for payment in payments] == [[], []]
        (alarm,) = negative_alarms(databases, shop)
        taken = {"transfer_key": "reversal:2500", "amount_minor": -2500}
        assert alarm == {"user_id": user, "currency": "USD", "balance_minor": -2500} | taken
        # The next deposit sets it right.
        again = shop.deposit(user_id=user)
        shop.deliver(shop.body(again))
        engine.settle()
        assert (balance(engine, shop, user), len(negative_alarms(databases, shop))) == (0, 1)


def test_a_reversal_that_an_earlier_release_held_is_booked_by_a_redrive(databases: Databases) -> None:
    with databases.open_runtime() as runtime:
        shop, engine, user = make_shop(runtime), Engine(runtime, databases), new_user()
        payment = shop.deposit(user_id=user)
        shop.deliver(shop.body(payment))
        engine.settle()
        received = "update payment_transactions set received_minor = :minor where id = :id"
        databases.rows(received, minor=1, id=payment.id)
        shop.deliver_refund(payment, amount="25.00")
        engine.settle()
        # As it was stored under the policy `hold`.
        assert engine.dead_letters(payment.id) == [("reversal", "open")]
        databases.rows(received, minor=2500, id=payment.id)
        policies.change_policy(runtime, shop.tenant_id, {"negative_policy": "hold"}, ACTOR)
        spend(engine, shop, user, 2500)
        query = "select id from dead_letters where payment_id = :id"
        redrive.redrive(runtime, shop.tenant_id, databases.value(query, id=payment.id), ACTOR)
        engine.settle()
        assert balance(engine, shop, user) == -2500
        assert engine.dead_letters(payment.id) == [("reversal", "superseded")]
        assert len(negative_alarms(databases, shop)) == 1


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


def negative_alarms(databases: Databases, shop: Shop) -> list[dict[str, object]]:
    query = "select detail from alerts where tenant_id = :id and kind = 'wallet_negative'"
    found = [row["detail"] for row in databases.rows(query, id=shop.tenant_id)]
    return [{name: value for name, value in one.items() if name != "payment_id"} for one in found]


def spend(engine: Engine, shop: Shop, user: str, minor: int) -> None:
    """Take money out of a wallet from outside: there is no purchase in Sluice that a test could make."""
    engine.databases.rows(
        "update wallets set balance_minor = balance_minor - :minor where tenant_id = :tenant and user_id = :user",
        minor=minor,
        tenant=shop.tenant_id,
        user=user,
    )
