"""Who says first that the time to pay is up, and payers who have committed to a method that settles days later."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import pytest

from app.core.payment import Payment
from app.services.operators import reconciliation
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.clients.api import Api
from tests.support.engine import Engine

HOUR = datetime.timedelta(hours=1)


def list_period(shop: Shop) -> None:
    now = datetime.datetime.now(datetime.UTC)
    reconciliation.reconcile(shop.runtime, shop.provider_id, now - HOUR, now + HOUR, ACTOR)


def expired_there_by_poll(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    """Expire at the provider first: its clock is a little ahead of ours."""
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, fetch={"show": {"status": "expired"}})
    engine.ask(payment.id)


def expired_there_by_list(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, fetch={"show": {"status": "expired"}})
    list_period(shop)


def both_at_once(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    """Expire on both sides, as usual: the poll at our expiry finds that it is expired there too."""
    engine.expire(payment.id)
    expired_there_by_poll(front, engine, shop, payment)


def closed_there_by_webhook(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    """Settle the provider's webhook about the end before our own expiry is decided."""
    engine.expire(payment.id)
    shop.deliver(shop.body(payment, "cancelled", error_message="session closed"))
    engine.settle()


def closed_there_by_poll(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    front.sandbox.act(str(payment.provider_reference), "cancel")
    engine.expire(payment.id)
    engine.ask(payment.id)


def ours_first(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    """Our expiry, then the provider's webhook about the session that we closed."""
    engine.expire(payment.id)
    for _ in range(2):
        engine.ask(payment.id)
    shop.deliver(shop.body(payment, "cancelled"))
    engine.settle()


@pytest.mark.parametrize(
    "end",
    [
        expired_there_by_poll,
        expired_there_by_list,
        both_at_once,
        closed_there_by_webhook,
        closed_there_by_poll,
        ours_first,
    ],
)
def test_a_payment_that_nobody_pays_says_that_it_expired(
    front: Stack, engine: Engine, shop: Shop, api: Api, end: Callable[[Stack, Engine, Shop, Payment], None]
) -> None:
    payment = engine.start(shop)
    end(front, engine, shop, payment)
    shown = api.read(payment.id)
    assert (shown["status"], shown["failure_reason"]) == ("cancelled", "expired")


def test_a_person_who_cancels_in_time_is_no_expiry(front: Stack, engine: Engine, shop: Shop, api: Api) -> None:
    payment = engine.start(shop)
    front.sandbox.act(str(payment.provider_reference), "cancel")
    engine.run_until(lambda: shop.payment(payment.id).status == "cancelled", "the cancel is settled")
    assert api.read(payment.id)["failure_reason"] == "cancelled at the provider"


def reported_by_webhook(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    shop.deliver(shop.body(payment, "processing"))
    engine.settle()


def reported_by_the_sandbox(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    front.sandbox.act(str(payment.provider_reference), "commit")
    engine.run_until(lambda: shop.payment(payment.id).committed_until, "the webhook is settled")


def reported_by_poll(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    """No webhook comes; the poll at the expiry is the first to hear of it."""
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": []})
    front.sandbox.act(str(payment.provider_reference), "commit")
    engine.expire(payment.id)
    engine.ask(payment.id)


def reported_by_list(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": []})
    front.sandbox.act(str(payment.provider_reference), "commit")
    list_period(shop)


@pytest.mark.parametrize("report", [reported_by_webhook, reported_by_the_sandbox, reported_by_poll, reported_by_list])
def test_a_committed_payer_is_waited_for(
    front: Stack, engine: Engine, shop: Shop, api: Api, report: Callable[[Stack, Engine, Shop, Payment], None]
) -> None:
    payment = engine.start(shop)
    report(front, engine, shop, payment)
    shown = api.read(payment.id)
    assert shown["status"] == "processing"
    left = datetime.datetime.fromisoformat(shown["committed_until"]) - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=6) < left <= datetime.timedelta(days=7)
    due = front.databases.value("select due_at - now() as wait from payment_work where payment_id = :id", id=payment.id)
    assert HOUR * 23 < due <= HOUR * 24
    # Its time is up and nothing has come: it is asked about, tomorrow again, and not cancelled.
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, fetch={"show": {"status": "processing"}})
    engine.expire(payment.id)
    engine.ask(payment.id)
    after = api.read(payment.id)
    assert (after["status"], after["committed_until"]) == ("processing", shown["committed_until"])
    due = front.databases.value("select due_at - now() as wait from payment_work where payment_id = :id", id=payment.id)
    assert HOUR * 23 < due <= HOUR * 24
    shop.deliver(shop.body(payment))
    engine.settle()
    done = api.read(payment.id)
    assert (done["status"], done["exception"], done["committed_until"]) == ("completed", None, None)


def test_waiting_for_a_committed_payer_ends(front: Stack, engine: Engine, shop: Shop, api: Api) -> None:
    payment = engine.start(shop)
    reported_by_the_sandbox(front, engine, shop, payment)
    engine.expire(payment.id)
    front.databases.rows("update payment_transactions set committed_until = now() where id = :id", id=payment.id)
    engine.ask(payment.id)
    shown = api.read(payment.id)
    assert (shown["status"], shown["failure_reason"]) == ("cancelled", "expired")


def test_a_debit_that_comes_back_fails_the_payment(front: Stack, engine: Engine, shop: Shop, api: Api) -> None:
    payment = engine.start(shop)
    reported_by_the_sandbox(front, engine, shop, payment)
    front.sandbox.act(str(payment.provider_reference), "decline", message="No cover.")
    engine.run_until(lambda: shop.payment(payment.id).status == "failed", "the debit came back")
    assert api.read(payment.id)["failure_reason"] == "No cover."


def test_a_payer_who_commits_after_the_end_is_asked_about_as_long(front: Stack, engine: Engine, shop: Shop) -> None:
    front.databases.rows("update tenants set monitoring_seconds = 0 where id = :id", id=shop.tenant_id)
    payment = engine.start(shop)
    engine.expire(payment.id)
    for _ in range(2):
        engine.ask(payment.id)
    assert engine.action(payment.id) is None
    shop.deliver(shop.body(payment, "processing"))
    engine.settle()
    assert (shop.payment(payment.id).status, engine.action(payment.id)) == ("cancelled", "poll")
