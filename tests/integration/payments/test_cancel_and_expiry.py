"""Payments that end without money: cancelled, expired, and paid all the same afterwards (CONTRACT section 3)."""

from __future__ import annotations

from testbed.shop import Shop
from testbed.stack import Stack
from tests.support.clients.api import Api, problem_of
from tests.support.engine import Engine


def status_there(front: Stack, payment_id: object) -> str:
    """Return the payment's status at the provider."""
    (there,) = front.sandbox.truth(str(payment_id))["payments"]
    return str(there["status"])


def test_a_pending_payment_is_cancelled_and_never_sent(front: Stack, engine: Engine, api: Api) -> None:
    payment = api.deposit().json()
    answer = api.post(f"/api/payments/{payment['id']}/cancel")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["failure_reason"]) == ("cancelled", "cancelled")
    assert answer.json()["version"] == 2
    engine.call()
    assert front.sandbox.truth(payment["id"])["payments"] == []
    problem_of(api.post(f"/api/payments/{payment['id']}/cancel"), 409)


def test_cancelling_closes_the_providers_session_and_keeps_asking(
    front: Stack, engine: Engine, shop: Shop, api: Api
) -> None:
    payment = engine.start(shop)
    assert api.post(f"/api/payments/{payment.id}/cancel").json()["status"] == "cancelled"
    assert engine.action(payment.id) == "close"
    engine.run_until(lambda: status_there(front, payment.id) == "cancelled", "the session is closed")
    engine.settle()
    assert engine.action(payment.id) == "poll"
    hold = "select state from wallet_temp_logs where payment_id = :id"
    assert front.databases.value(hold, id=payment.id) == "released"
    assert engine.dead_letters(payment.id) == []


def test_money_that_comes_in_the_moment_of_the_cancel_is_credited(
    front: Stack, engine: Engine, shop: Shop, api: Api
) -> None:
    payment = engine.start(shop)
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, cancel={"capture": True}, webhook={"send": []})
    api.post(f"/api/payments/{payment.id}/cancel")
    engine.run_until(lambda: shop.payment(payment.id).status == "completed", "the provider reports the money")
    done = api.read(payment.id)
    assert (done["exception"], done["received_amount"], done["failure_reason"]) == ("late", "25.00", None)
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]
    problem_of(api.post(f"/api/payments/{payment.id}/cancel"), 409)


def test_a_late_success_after_a_cancel_is_credited_and_marked(
    front: Stack, engine: Engine, shop: Shop, api: Api
) -> None:
    payment = engine.start(shop)
    api.post(f"/api/payments/{payment.id}/cancel")
    engine.run_until(lambda: status_there(front, payment.id) == "cancelled", "the session is closed")
    front.sandbox.act(str(payment.provider_reference), "pay", even_if_ended=True)
    engine.run_until(lambda: shop.payment(payment.id).status == "completed", "the late money is credited")
    assert api.read(payment.id)["exception"] == "late"
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]
    hold = "select state from wallet_temp_logs where payment_id = :id"
    assert front.databases.value(hold, id=payment.id) == "applied"


def test_an_expired_payment_is_asked_about_before_it_is_cancelled(front: Stack, engine: Engine, shop: Shop) -> None:
    unpaid, paid = engine.start(shop), engine.start(shop)
    front.sandbox.script(match={"merchant_reference": str(paid.id)}, webhook={"send": []})
    front.sandbox.act(str(paid.provider_reference), "pay")
    for payment in (unpaid, paid):
        engine.expire(payment.id)
    engine.call()
    assert shop.payment(paid.id).status == "completed"
    expired = shop.payment(unpaid.id)
    assert (expired.status, expired.failure_reason) == ("cancelled", "expired")
    engine.run_until(lambda: status_there(front, unpaid.id) == "cancelled", "the session is closed")


def test_waiting_webhooks_are_settled_before_an_expiry(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = engine.start(shop)
    shop.deliver(shop.body(payment))
    engine.expire(payment.id)
    # The sandbox says that it is open, and the clock that its time is up; the webhook in the inbox says more.
    engine.call()
    assert shop.payment(payment.id).status == "processing"
    engine.settle()
    done = shop.payment(payment.id)
    assert (done.status, done.exceptions) == ("completed", frozenset())


def test_money_that_waits_for_a_person_keeps_a_payment_from_expiring(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = engine.start(shop)
    front.sandbox.act(str(payment.provider_reference), "pay", amount="10.00")
    engine.run_until(lambda: shop.payment(payment.id).exceptions == {"underpaid"}, "the money is held")
    engine.expire(payment.id)
    engine.call()
    assert shop.payment(payment.id).status == "processing"
    assert engine.dead_letters(payment.id) == [("underpaid", "open")]
    front.sandbox.act(str(payment.provider_reference), "pay")
    engine.run_until(lambda: shop.payment(payment.id).status == "completed", "the rest completes it")
    assert engine.dead_letters(payment.id) == [("underpaid", "superseded")]
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]


def test_a_payment_whose_provider_cannot_be_asked_expires_after_some_tries(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    payment = engine.start(shop)
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, fetch={"status": 500}, cancel={"status": 500})
    engine.expire(payment.id)
    for _ in range(2):
        engine.databases.rows("delete from provider_breakers")
        engine.ask(payment.id)
        assert shop.payment(payment.id).status == "processing"
    engine.databases.rows("delete from provider_breakers")
    engine.ask(payment.id)
    assert shop.payment(payment.id).status == "cancelled"
    front.sandbox.act(str(payment.provider_reference), "pay", even_if_ended=True)
    engine.run_until(lambda: shop.payment(payment.id).status == "completed", "the late money is credited")


def test_a_declined_payment_can_still_be_paid(front: Stack, engine: Engine, shop: Shop, api: Api) -> None:
    payment = engine.start(shop)
    front.sandbox.act(str(payment.provider_reference), "decline", message="No cover.")
    engine.run_until(lambda: shop.payment(payment.id).status == "failed", "the decline is settled")
    assert api.read(payment.id)["failure_reason"] == "No cover."
    front.sandbox.act(str(payment.provider_reference), "pay", even_if_ended=True)
    engine.run_until(lambda: shop.payment(payment.id).status == "completed", "the late money is credited")
    assert api.read(payment.id)["exception"] == "late"


def test_asking_ends_with_the_monitoring_window(front: Stack, engine: Engine, shop: Shop, api: Api) -> None:
    front.databases.rows("update tenants set monitoring_seconds = 0 where id = :id", id=shop.tenant_id)
    payment = engine.start(shop)
    engine.expire(payment.id)
    engine.run_until(lambda: status_there(front, payment.id) == "cancelled", "the session is closed")
    engine.settle()
    assert engine.action(payment.id) is None
    assert api.read(payment.id)["failure_reason"] == "expired"
