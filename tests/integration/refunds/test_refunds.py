"""Refunds from here: held at once, made by one call, moved or released by whatever reports their end first."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.errors import RequestRejected
from app.services.operators import resolve
from app.services.payments.calls.call_settlement import settle_answers
from app.services.tenants import policies
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
from tests.support.engine import Engine, call_and_settle, claim_call


def test_a_refund_is_held_made_and_moved_once(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    made = ask(shop, payment, "10.00")
    assert (made.refund["status"], made.refund["amount_minor"], made.refund["currency"]) == ("pending", 1000, "USD")
    assert wallet(shop, payment.user_id) == (2500, 1000, 1500)
    engine.call()
    after = shop.payment(payment.id)
    assert read(shop, made)["status"] == "completed"
    assert read(shop, made)["provider_reference"]
    assert (after.reversed_minor, after.exception, after.status) == (1000, None, "completed")
    assert wallet(shop, payment.user_id) == (1500, 0, 1500)
    # The provider's own webhooks say the same, twice.
    for _ in range(2):
        shop.deliver_refund(payment, amount="10.00")
        engine.settle()
        engine.call()
    assert user_entries(engine, payment) == [2500, -1000]
    assert engine.action(payment.id) is None
    check_books(engine, shop)


def test_without_an_amount_all_that_is_left_goes_back(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    ask(shop, payment, "10.00")
    rest = ask(shop, payment)
    assert rest.refund["amount_minor"] == 1500
    with pytest.raises(RequestRejected) as refused:
        ask(shop, payment)
    assert refused.value.status == 409
    engine.call()
    assert user_entries(engine, payment) == [2500, -1000, -1500]
    assert front.sandbox.truth(payment.id)["payments"][0]["refunds"] == 2
    check_books(engine, shop)


def test_a_webhook_before_the_answer_is_the_same_refund(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    made = ask(shop, payment, "10.00")
    answer = call_without_settling(shop)
    shop.deliver_refund(payment, amount="10.00")
    engine.settle()
    assert (read(shop, made)["status"], shop.payment(payment.id).exception) == ("completed", None)
    settle_answers(shop.runtime, [answer])
    assert user_entries(engine, payment) == [2500, -1000]
    assert read(shop, made)["provider_reference"]
    check_books(engine, shop)


@pytest.mark.parametrize("effect", [True, False])
def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    front: Stack, engine: Engine, shop: Shop, effect: bool
) -> None:
    payment = pay(front, engine, shop, silent=True)
    match = {"merchant_reference": str(payment.id)}
    front.sandbox.script(match=match, refund={"status": 503, "effect": effect, "times": 1})
    made = ask(shop, payment, "10.00")
    engine.call()
    assert read(shop, made)["status"] == "pending"
    engine.ask(payment.id)
    assert read(shop, made)["status"] == "completed"
    assert front.sandbox.truth(payment.id)["payments"][0]["refunds"] == 1
    assert user_entries(engine, payment) == [2500, -1000]
    check_books(engine, shop)


def test_past_the_life_of_its_key_a_refund_is_looked_up(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    match = {"merchant_reference": str(payment.id)}
    front.sandbox.script(match=match, refund={"status": 503, "effect": True, "times": 1})
    made = ask(shop, payment, "10.00")
    engine.call()
    engine.databases.rows(
        "update refunds set sent_at = sent_at - interval '2 days' where payment_id = :id", id=payment.id
    )
    engine.ask(payment.id)
    assert read(shop, made)["status"] == "completed"
    assert front.sandbox.truth(payment.id)["payments"][0]["refunds"] == 1


def test_a_refusal_releases_the_hold(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    made = ask(shop, payment, "10.00")
    # Behind our back all of it goes back, so that the provider refuses ours.
    front.sandbox.act(str(payment.provider_reference), "refund")
    engine.call()
    assert read(shop, made)["status"] == "failed"
    assert read(shop, made)["failure_reason"]
    assert wallet(shop, payment.user_id) == (2500, 0, 2500)
    assert user_entries(engine, payment) == [2500]
    check_books(engine, shop)


def test_a_refund_that_failed_after_it_was_completed_comes_again(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop)
    made = ask(shop, payment, "10.00")
    engine.call()
    assert user_entries(engine, payment) == [2500, -1000]
    front.sandbox.happen(str(payment.provider_reference), "fail_refund")
    engine.run_until(lambda: read(shop, made)["status"] == "failed", "its failure is known")
    engine.run_until(lambda: engine.action(payment.id) is None, "the provider was asked")
    after = shop.payment(payment.id)
    assert (after.reversed_minor, after.exception, user_entries(engine, payment)) == (0, None, [2500, -1000, 1000])
    check_books(engine, shop)


@pytest.mark.parametrize("end", ["settle_refund", "fail_refund"])
def test_a_delayed_refund_is_asked_about(front: Stack, engine: Engine, shop: Shop, end: str) -> None:
    payment = pay(front, engine, shop, silent=True)
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, refund={"outcome": "pending"})
    made = ask(shop, payment, "10.00")
    engine.call()
    assert (read(shop, made)["status"], wallet(shop, payment.user_id)) == ("processing", (2500, 1000, 1500))
    front.sandbox.happen(str(payment.provider_reference), end)
    engine.ask(payment.id)
    is_done = end == "settle_refund"
    assert read(shop, made)["status"] == ("completed" if is_done else "failed")
    assert user_entries(engine, payment) == ([2500, -1000] if is_done else [2500])
    check_books(engine, shop)


def test_a_chargeback_before_the_call_leaves_nothing_to_send(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    made = ask(shop, payment, "10.00")
    shop.deliver_refund(payment, amount="25.00")
    engine.settle()
    assert read(shop, made)["status"] == "failed"
    engine.call()
    assert front.sandbox.truth(payment.id)["payments"][0]["refunds"] == 0
    assert user_entries(engine, payment) == [2500, -2500]
    check_books(engine, shop)


def test_a_refund_that_the_provider_made_beyond_what_is_left_is_a_case(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    payment = pay(front, engine, shop, silent=True)
    made = ask(shop, payment, "10.00")
    claim = claim_call(shop.runtime)
    assert claim is not None
    shop.deliver_refund(payment, amount="20.00")
    engine.settle()
    # The total had room for the refund, which was sent; the rest is a reversal of the provider's.
    assert user_entries(engine, payment) == [2500, -1000, -1000]
    call_and_settle(shop.runtime, claim)
    assert user_entries(engine, payment) == [2500, -1000, -1000]
    assert (read(shop, made)["status"], shop.payment(payment.id).exception) == ("completed", "reversed")
    check_books(engine, shop)


def test_parallel_refunds_never_give_back_more_than_came(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    begin = threading.Barrier(6)

    def try_it(index: int) -> int:
        begin.wait()
        try:
            ask(shop, payment, "10.00", key=f"parallel-{payment.id}-{index}")
        except RequestRejected as refused:
            return refused.status
        return 202

    with ThreadPoolExecutor(6) as threads:
        answers = sorted(threads.map(try_it, range(6)))
    assert answers == [202, 202, 409, 409, 409, 409]
    engine.call()
    assert user_entries(engine, payment) == [2500, -1000, -1000]
    check_books(engine, shop)


def test_a_key_is_of_one_refund(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    begin = threading.Barrier(4)

    def try_it(_: int) -> tuple[str, bool]:
        begin.wait()
        made = ask(shop, payment, "10.00", key=f"same-{payment.id}")
        return made.refund["id"], made.is_replayed

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(try_it, range(4)))
    assert len({refund_id for refund_id, _ in made}) == 1
    assert sorted(is_replayed for _, is_replayed in made) == [False, True, True, True]
    with pytest.raises(RequestRejected) as refused:
        ask(shop, payment, "11.00", key=f"same-{payment.id}")
    assert refused.value.status == 422
    engine.call()
    assert front.sandbox.truth(payment.id)["payments"][0]["refunds"] == 1


def test_the_policy_bounds_refunds_by_what_is_available(front: Stack, engine: Engine, shop: Shop) -> None:
    policies.change_policy(shop.runtime, shop.tenant_id, {"negative_policy": "hold"}, ACTOR)
    user = "bounded-" + str(shop.tenant_id)[:8]
    first, second = (pay(front, engine, shop, silent=True, user_id=user) for _ in range(2))
    ask(shop, first, "20.00")
    # 50.00 came, 20.00 are held; 10.00 go back behind our back, so that 20.00 are available.
    shop.deliver_refund(second, amount="10.00")
    engine.settle()
    assert wallet(shop, user) == (4000, 2000, 2000)
    ask(shop, second, "15.00")
    assert wallet(shop, user) == (4000, 3500, 500)
    engine.call()
    assert wallet(shop, user)[1] == 0


def test_what_may_not_be_refunded_is_refused_and_uses_no_key(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = engine.start(shop)
    for amount, status in (("10.00", 409), (None, 409)):
        with pytest.raises(RequestRejected) as refused:
            ask(shop, payment, amount, key=f"unused-{payment.id}")
        assert refused.value.status == status
    paid = pay(front, engine, shop, silent=True)
    for amount, status in (("25.01", 409), ("1.001", 422), ("0.00", 422)):
        with pytest.raises(RequestRejected) as refused:
            ask(shop, paid, amount, key=f"unused-{paid.id}")
        assert refused.value.status == status
    assert not ask(shop, paid, "25.00", key=f"unused-{paid.id}").is_replayed
    engine.call()


def test_a_person_ends_a_refund_that_does_not_fit(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay(front, engine, shop, silent=True)
    made = ask(shop, payment, "25.00")
    answer = call_without_settling(shop)
    # While the call is under way a person books a reversal in the refund's place.
    shop.deliver_refund(payment, amount="24.00")
    engine.settle()
    settle_answers(shop.runtime, [answer])
    assert engine.dead_letters(payment.id) == [("refund", "open")]
    case = engine.databases.value("select id from dead_letters where payment_id = :id", id=payment.id)
    resolve.reject(shop.runtime, shop.tenant_id, case, ACTOR)
    assert read(shop, made)["status"] == "failed"
    assert user_entries(engine, payment) == [2500, -2400]
    check_books(engine, shop)
