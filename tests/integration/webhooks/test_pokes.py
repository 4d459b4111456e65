"""Notifications that nobody signs, with what the workers make of them; Mollie's emulator is asked what is true."""

from __future__ import annotations

import secrets
import threading

import pytest

from app.core.payment import Payment
from app.providers.poke_urls import write_placeholder
from app.services.operators import redrive
from app.services.payments.calls.provider_claims import claim_calls
from app.services.queues.dispatcher import UnderWay
from app.services.tenants import poke_tokens
from app.services.verification.proving import prove
from app.services.webhooks import pokes
from app.services.webhooks.claims import FIRST_ROWS, WebhookQueue
from app.services.webhooks.receive import Delivery
from app.services.webhooks.settle import settle_batch, settle_due
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.engine import Engine
from tests.support.mollie_provider import MollieProvider, make_mollie


@pytest.fixture
def mollie(front: Stack, shop: Shop) -> MollieProvider:
    return make_mollie(front, shop)


def start(engine: Engine, mollie: MollieProvider) -> Payment:
    """Make a payment that the provider has."""
    made = mollie.deposit()
    engine.call()
    payment = mollie.shop.payment(made.id)
    assert (payment.status, str(payment.provider_reference)[:3]) == ("processing", "tr_")
    return payment


def happen(front: Stack, payment: Payment, *actions: str) -> None:
    """Let actions happen at the provider, whose own webhooks are lost."""
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": [], "times": len(actions)})
    for action in actions:
        front.sandbox.happen(payment.id, action)


def poke(engine: Engine, mollie: MollieProvider, payment: Payment) -> None:
    """Let the provider say that there is news, and the workers do all that follows."""
    assert mollie.poke(str(payment.provider_reference)).status_code == 200
    engine.settle()
    engine.call()


def calls(engine: Engine, payment: Payment) -> int:
    """Return how many answers of the provider about a payment there are."""
    query = "select count(*) from audit_logs where payment_id = :id and kind = 'provider_call'"
    return int(engine.databases.value(query, id=payment.id))


def test_a_poke_is_a_question_and_its_answer_the_fact(front: Stack, engine: Engine, mollie: MollieProvider) -> None:
    payment = start(engine, mollie)
    before = calls(engine, payment)
    poke(engine, mollie, payment)
    # Nothing has happened: whatever came, no money did.
    assert (mollie.shop.payment(payment.id).status, calls(engine, payment)) == ("processing", before + 1)
    happen(front, payment, "pay")
    poke(engine, mollie, payment)
    assert mollie.shop.payment(payment.id).status == "completed"
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]
    assert engine.verdicts(payment.id) == [("processed", "applied")]


@pytest.mark.parametrize("end", ["cancelled", "expired", "long gone"])
def test_an_ended_payment_that_turns_out_paid_is_credited_late(
    front: Stack, engine: Engine, mollie: MollieProvider, end: str
) -> None:
    payment = start(engine, mollie)
    happen(front, payment, "cancel" if end == "cancelled" else "expire")
    engine.ask(payment.id)
    if end == "long gone":
        # Past every poll: nothing would ask about it any more.
        engine.databases.rows("delete from payment_work where payment_id = :id", id=payment.id)
        query = "update payment_transactions set expires_at = now() - interval '300 days' where id = :id"
        engine.databases.rows(query, id=payment.id)
    assert mollie.shop.payment(payment.id).status == "cancelled"
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": [], "times": 1})
    front.sandbox.happen(payment.id, "pay", even_if_ended=True)
    poke(engine, mollie, payment)
    found = mollie.shop.payment(payment.id)
    assert (found.status, found.exception) == ("completed", "late")
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]


def test_money_that_goes_back_long_after_and_comes_again_is_booked(
    front: Stack, engine: Engine, mollie: MollieProvider
) -> None:
    payment = start(engine, mollie)
    happen(front, payment, "pay")
    poke(engine, mollie, payment)
    assert engine.action(payment.id) is None
    for action, left in (("refund", 1800), ("fail_refund", 2500), ("dispute", 0), ("win_dispute", 2500)):
        front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": []})
        front.sandbox.happen(payment.id, action, **({"amount": "7.00"} if action == "refund" else {}))
        poke(engine, mollie, payment)
        assert mollie.shop.payment(payment.id).reversed_minor == 2500 - left, action
    assert sum(minor for kind, minor in engine.entries(payment.id) if kind == "user") == 2500
    assert len(engine.entries(payment.id)) == 10
    assert prove(front.runtime.database, "full", payment.tenant_id).is_whole


def test_every_poke_asks_again_and_its_bytes_are_stored_once_a_minute(
    front: Stack, engine: Engine, mollie: MollieProvider
) -> None:
    payment = start(engine, mollie)
    before = calls(engine, payment)
    for _ in range(3):
        poke(engine, mollie, payment)
    assert calls(engine, payment) == before + 3
    assert len(engine.verdicts(payment.id)) == 1
    made_older = "update payment_webhooks set received_at = received_at - interval '61 seconds' where payment_id = :id"
    engine.databases.rows(made_older, id=payment.id)
    poke(engine, mollie, payment)
    assert calls(engine, payment) == before + 4
    assert engine.verdicts(payment.id) == [("processed", "applied")] * 2
    assert prove(front.runtime.database, "full", payment.tenant_id).is_whole


def test_of_a_flood_a_payment_is_asked_about_once_in_a_while(
    front: Stack, engine: Engine, mollie: MollieProvider
) -> None:
    payment = start(engine, mollie)
    body = f"id={payment.provider_reference}".encode()
    delivery = Delivery("poke", str(mollie.id), {}, body, "127.0.0.1")
    poked = pokes.find(front.runtime, delivery, mollie.token)
    assert pokes.receive_poke(front.runtime, poked, delivery) == "stored"
    engine.settle()
    assert pokes.receive_poke(front.runtime, poked, delivery) == "repeated"
    waits = "select due_at > now() from webhook_work where payment_id = :id"
    assert engine.databases.rows(waits, id=payment.id) == [{"?column?": False}]
    engine.settle()
    # Faster than any provider is.
    while pokes._budget_of(mollie.id).repeats.take():
        pass
    assert pokes.receive_poke(front.runtime, poked, delivery) == "repeated"
    assert engine.databases.rows(waits, id=payment.id) == [{"?column?": True}]
    assert pokes.receive_poke(front.runtime, poked, delivery) == "coalesced"
    engine.make_webhooks_due()
    engine.settle()
    assert engine.verdicts(payment.id) == [("processed", "applied")]


def test_a_poke_that_comes_while_its_payment_is_asked_about_asks_once_more(
    front: Stack, engine: Engine, mollie: MollieProvider
) -> None:
    """The answer that is under way may be older than the news."""
    payment = start(engine, mollie)
    held = {"delay": 3, "show": {"status": "open"}, "times": 1}
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, fetch=held, webhook={"send": []})
    front.sandbox.happen(payment.id, "pay")
    asking = threading.Thread(target=engine.ask, args=(payment.id,))
    asking.start()
    query = "select claim_id is not null from payment_work where payment_id = :id"
    while not engine.databases.value(query, id=payment.id):
        assert asking.is_alive()
    assert mollie.poke(str(payment.provider_reference)).status_code == 200
    engine.settle()
    asking.join()
    engine.call()
    assert mollie.shop.payment(payment.id).status == "completed"


def test_a_poke_survives_the_worker_that_dies_with_it(front: Stack, engine: Engine, mollie: MollieProvider) -> None:
    payment = start(engine, mollie)
    happen(front, payment, "pay")
    assert mollie.poke(str(payment.provider_reference)).status_code == 200
    # Claimed, and nobody settles it.
    assert len(WebhookQueue(8).claim(front.runtime)) == 1
    # More of them meanwhile change nothing: the first one is still to be settled.
    assert mollie.poke(str(payment.provider_reference)).status_code == 200
    engine.settle()
    assert mollie.shop.payment(payment.id).status == "processing"
    engine.make_webhooks_due()
    engine.settle()
    engine.call()
    assert mollie.shop.payment(payment.id).status == "completed"


def test_a_poke_that_overtakes_the_providers_answer_waits_for_it(
    front: Stack, engine: Engine, mollie: MollieProvider
) -> None:
    payment, reference = mollie.deposit(), f"tr_{secrets.token_hex(8)}"
    assert mollie.poke(reference).status_code == 200
    engine.settle()
    query = "select h.status, w.attempts from payment_webhooks h join webhook_work w on w.webhook_id = h.id"
    query += " where h.tenant_id = :id"
    assert engine.databases.rows(query, id=payment.tenant_id) == [{"status": "pending", "attempts": 1}]
    values = {"reference": reference, "id": payment.id}
    engine.databases.rows("update payment_transactions set provider_reference = :reference where id = :id", **values)
    engine.make_webhooks_due()
    engine.settle()
    assert engine.verdicts(payment.id) == [("processed", "applied")]
    assert engine.action(payment.id) == "poll"


def test_one_about_nobodys_payment_is_let_go_and_nobody_is_told(
    front: Stack, engine: Engine, mollie: MollieProvider
) -> None:
    assert mollie.poke("tr_nobody").status_code == 200
    for _ in range(5):
        engine.make_webhooks_due()
        engine.settle()
    query = "select status, verdict, reason from payment_webhooks where tenant_id = :id"
    let_go = {"status": "processed", "verdict": "ignored", "reason": "no payment of ours"}
    assert engine.databases.rows(query, id=mollie.shop.tenant_id) == [let_go]
    for table in ("dead_letters", "webhook_work", "payment_work"):
        assert (
            engine.databases.value(f"select count(*) from {table} where tenant_id = :id", id=mollie.shop.tenant_id) == 0
        )


def test_an_operator_may_replay_one(front: Stack, engine: Engine, mollie: MollieProvider) -> None:
    payment = start(engine, mollie)
    poke(engine, mollie, payment)
    happen(front, payment, "pay")
    webhook_id = engine.databases.value("select id from payment_webhooks where payment_id = :id", id=payment.id)
    redrive.replay_webhook(front.runtime, payment.tenant_id, webhook_id, ACTOR)
    engine.settle()
    engine.call()
    assert mollie.shop.payment(payment.id).status == "completed"


def sent_urls(front: Stack, payment: Payment) -> list[str]:
    """Return where the provider's pokes about a payment go."""
    return [sent["url"] for sent in front.sandbox.deliveries(payment.id) if "/whut_" in sent["url"]]


def test_a_payment_keeps_its_url_on_every_try_and_its_stored_bytes_have_no_token(
    front: Stack, engine: Engine, mollie: MollieProvider
) -> None:
    payment = mollie.deposit()
    match = {"merchant_reference": str(payment.id)}
    front.sandbox.script(match=match, create={"answer": "torn", "times": 1})
    engine.call()
    stored = engine.databases.value("select provider_request from payment_transactions where id = :id", id=payment.id)
    token_id = engine.databases.value("select id from poke_tokens where provider_id = :id", id=mollie.id)
    assert mollie.token.encode() not in bytes(stored)
    assert write_placeholder(token_id).encode() in bytes(stored)
    fresh = poke_tokens.rotate_token(front.runtime, mollie.id, 3600, ACTOR)
    engine.ask(payment.id)
    assert mollie.shop.payment(payment.id).status == "processing"
    (create,) = front.sandbox.truth(payment.id)["create_calls"]
    assert (create["idempotency_keys"], create["bodies"]) == (1, 1)
    later = start(engine, mollie)
    for one, token in ((payment, mollie.token), (later, fresh)):
        front.sandbox.happen(one.id, "pay")
        assert sent_urls(front, one) == [f"{front.web}/webhooks/{mollie.id}/{token}"]


def test_a_token_that_cannot_be_decrypted_stops_no_other_payment(
    front: Stack, engine: Engine, shop: Shop, mollie: MollieProvider
) -> None:
    engine.databases.rows("update poke_tokens set token_encrypted = 'noise' where provider_id = :id", id=mollie.id)
    payment, other = mollie.deposit(), shop.deposit()
    engine.call()
    assert shop.payment(other.id).status == "processing"
    assert shop.payment(payment.id).status == "pending"
    problem = "select problem from provider_troubles where provider_id = :id"
    assert "URL for pokes" in engine.databases.value(problem, id=mollie.id)
    engine.databases.rows("delete from provider_troubles where provider_id = :id", id=mollie.id)
    engine.databases.rows("delete from payment_work where payment_id = :id", id=payment.id)


def test_a_flood_of_them_leaves_room_to_others(front: Stack, engine: Engine, mollie: MollieProvider) -> None:
    """Webhooks and calls of another tenant are in the first set of each, however many pokes came before."""
    payments = [mollie.deposit() for _ in range(150)]
    values = {"ids": [payment.id for payment in payments]}
    engine.databases.rows(
        "update payment_transactions set provider_reference = 'tr_' || replace(id::text, '-', '') where id = any(:ids)",
        **values,
    )
    engine.databases.rows("delete from payment_work where payment_id = any(:ids)", **values)
    for payment in payments:
        assert mollie.poke(f"tr_{payment.id.hex}").status_code == 200
    other = front.make_shop()
    paid, waiting = other.deposit(), other.deposit()
    other.deliver(other.body(paid))
    settle_batch(front.runtime, WebhookQueue(FIRST_ROWS))
    assert other.payment(paid.id).status == "completed"
    settle_due(front.runtime)
    query = "select count(*) from payment_work where provider_id = :id and action = 'poll' and due_at <= now()"
    assert engine.databases.value(query, id=mollie.id) == len(payments)
    claimed = {call.payment_id for call in claim_calls(front.runtime, 16, UnderWay(16)).calls}
    assert waiting.id in claimed
    engine.databases.rows("delete from payment_work where payment_id = any(:ids)", **values)
    engine.make_due(waiting.id)
