"""Webhooks that were taken: once each, whatever comes doubled, early, contradictory or for somebody else."""

from __future__ import annotations

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from app.core.payment import Payment
from testbed.shop import Shop
from testbed.stack import Stack
from tests.support.engine import Engine


@pytest.fixture
def payment(engine: Engine, shop: Shop) -> Payment:
    return engine.start(shop)


def post(front: Stack, path: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    """Send a webhook that must be taken; return the receipt."""
    answer = requests.post(f"{front.web}/webhooks/{path}", data=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    receipt: dict[str, Any] = answer.json()
    return receipt


def test_a_success_credits_once_and_is_published(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    body = shop.body(payment)
    receipt = post(front, "payment-success", body, shop.sign(body))
    assert receipt == {"received": True, "webhook_id": receipt["webhook_id"], "duplicate": False}
    uuid.UUID(receipt["webhook_id"])
    # Taken is stored, not settled: the door does no work of its own.
    assert shop.payment(payment.id).status == "processing"
    engine.settle()
    done = shop.payment(payment.id)
    assert (done.status, done.received_minor, done.received_currency) == ("completed", 2500, "USD")
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]
    assert engine.verdicts(payment.id) == [("processed", "applied")]
    assert engine.action(payment.id) is None
    hold = front.databases.rows("select state, closed_at from wallet_temp_logs where payment_id = :id", id=payment.id)
    assert hold[0]["state"] == "applied"
    assert hold[0]["closed_at"] == front.databases.value(
        "select max(at) from wallet_transactions where payment_id = :id", id=payment.id
    )


def test_the_same_delivery_again_is_a_duplicate(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    body = shop.body(payment)
    headers = shop.sign(body, "msg_same")
    first = post(front, "payment-success", body, headers)
    engine.settle()
    # A retry has a new signature; its id and bytes make it a repeat, on whichever path.
    for path, again in (("payment-success", headers), ("payment-callback", shop.sign(body, "msg_same"))):
        assert post(front, path, body, again) == first | {"duplicate": True}
    engine.settle()
    assert len(engine.entries(payment.id)) == 2
    assert engine.verdicts(payment.id) == [("processed", "applied")]
    # The same news under an id of its own is another webhook, and moves nothing.
    assert post(front, "payment-success", body, shop.sign(body))["duplicate"] is False
    engine.settle()
    assert engine.verdicts(payment.id)[1:] == [("processed", "duplicate")]
    assert len(engine.entries(payment.id)) == 2


def test_the_same_id_with_other_bytes_is_kept_and_never_applied(
    front: Stack, engine: Engine, shop: Shop, payment: Payment
) -> None:
    body, other = shop.body(payment, "failed"), shop.body(payment)
    first = post(front, "payment-callback", body, shop.sign(body, "msg_1"))
    for _ in range(3):
        conflict = post(front, "payment-callback", other, shop.sign(other, "msg_1"))
        assert conflict == first | {"duplicate": True, "conflict": True}
    engine.settle()
    assert shop.payment(payment.id).status == "failed"
    assert engine.entries(payment.id) == []
    assert engine.verdicts(payment.id) == [("processed", "applied"), ("processed", "conflict")]
    alarms = "select count(*) from alerts where tenant_id = :id and kind = 'webhook_conflict'"
    assert front.databases.value(alarms, id=shop.tenant_id) == 1


def test_ids_of_different_providers_do_not_meet(front: Stack, engine: Engine, shop: Shop) -> None:
    other = front.make_shop()
    mine, theirs = engine.start(shop), engine.start(other)
    for owner, payment in ((shop, mine), (other, theirs)):
        body = owner.body(payment)
        assert post(front, "payment-success", body, owner.sign(body, "msg_1"))["duplicate"] is False
    engine.settle()
    assert {owner.payment(payment.id).status for owner, payment in ((shop, mine), (other, theirs))} == {"completed"}


def test_a_hundred_parallel_copies_are_one_credit(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    body = shop.body(payment)
    headers = shop.sign(body)
    done = threading.Event()

    def settle_meanwhile() -> None:
        while not done.is_set():
            engine.settle()

    settlers = [threading.Thread(target=settle_meanwhile) for _ in range(2)]
    for settler in settlers:
        settler.start()
    with ThreadPoolExecutor(50) as pool:
        receipts = list(pool.map(lambda _: post(front, "payment-success", body, headers), range(100)))
    done.set()
    for settler in settlers:
        settler.join()
    engine.settle()
    assert len({receipt["webhook_id"] for receipt in receipts}) == 1
    assert sum(not receipt["duplicate"] for receipt in receipts) == 1
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]
    repeats = front.databases.value("select duplicates from webhook_keys where provider_id = :id", id=shop.provider_id)
    assert repeats == 99


def test_a_hundred_parallel_successes_with_ids_of_their_own_are_one_credit(
    front: Stack, engine: Engine, shop: Shop, payment: Payment
) -> None:
    body = shop.body(payment)
    for _ in range(100):
        shop.deliver(body)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: engine.settle(), range(4)))
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]
    verdicts = engine.verdicts(payment.id)
    assert verdicts.count(("processed", "applied")) == 1
    assert verdicts.count(("processed", "duplicate")) == 99


def test_a_webhook_for_a_payment_that_is_not_there_waits_then_is_a_dead_letter(
    front: Stack, engine: Engine, shop: Shop, payment: Payment
) -> None:
    nobody = uuid.uuid4()
    shop.deliver(shop.body(payment, transaction_id=str(nobody)))
    for attempt in range(1, 5):
        engine.settle()
        assert engine.verdicts(nobody) == [("pending", None)]
        waiting = front.databases.rows(
            "select attempts, due_at > now() as waits from webhook_work where payment_id = :id", id=nobody
        )
        assert waiting == [{"attempts": attempt, "waits": True}]
        engine.make_webhooks_due()
    engine.settle()
    assert engine.verdicts(nobody) == [("failed", "dead_letter")]
    assert engine.dead_letters(nobody) == [("unknown_payment", "open")]
    kept = front.databases.value("select body from dead_letters where payment_id = :id", id=nobody)
    assert str(nobody).encode() in bytes(kept)


def test_another_tenants_payment_is_an_unknown_one(front: Stack, engine: Engine, shop: Shop, payment: Payment) -> None:
    thief = front.make_shop()
    thief.deliver(thief.body(payment))
    for _ in range(5):
        engine.settle()
        engine.make_webhooks_due()
    assert shop.payment(payment.id).status == "processing"
    assert engine.entries(payment.id) == []
    dead = front.databases.rows("select tenant_id, reason from dead_letters where payment_id = :id", id=payment.id)
    assert dead == [{"tenant_id": thief.tenant_id, "reason": "unknown_payment"}]


UNUSABLE: dict[str, dict[str, Any]] = {
    "event type and status disagree": {"event_type": "payment.failed"},
    "an unknown event": {"event_type": "payment.celebrated"},
    "no event": {"event_type": ""},
    "an unknown status": {"status": "celebrated"},
    "no status": {"status": None},
    "an amount that is a number": {"amount": 25},
    "an amount with too many digits": {"amount": "25.001"},
    "no amount": {"amount": None},
    "a negative amount": {"amount": "-25.00"},
    "no currency": {"currency": None},
    "an unknown currency": {"currency": "usd"},
    "a reference that is no text": {"provider_reference": 5},
}


@pytest.mark.parametrize("change", UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_used_is_taken_and_ends_as_a_dead_letter(
    front: Stack, engine: Engine, shop: Shop, payment: Payment, change: dict[str, Any]
) -> None:
    body = json.dumps(json.loads(shop.body(payment)) | change).encode()
    post(front, "payment-callback", body, shop.sign(body))
    engine.settle()
    assert engine.verdicts(payment.id) == [("failed", "dead_letter")]
    assert engine.dead_letters(payment.id) == [("unusable", "open")]
    kept = front.databases.rows("select body, headers from dead_letters where payment_id = :id", id=payment.id)[0]
    assert bytes(kept["body"]) == body
    assert kept["headers"].keys() >= {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert shop.payment(payment.id) == payment


def test_amounts_in_a_failure_are_ignored(engine: Engine, shop: Shop, payment: Payment) -> None:
    shop.deliver(shop.body(payment, "failed", amount="nonsense", currency=None, error_message="No cover."))
    engine.settle()
    failed = shop.payment(payment.id)
    assert (failed.status, failed.failure_reason) == ("failed", "No cover.")


def test_signed_nonsense_on_the_providers_own_path_is_kept_for_a_person(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    for nonsense in (b"{", b"[]", b"\xff\x00", b'{"transaction_id": "\\u0000"}', b'"x"'):
        post(front, str(shop.provider_id), nonsense, shop.sign(nonsense))
    engine.settle()
    rows = front.databases.rows("select reason, state from dead_letters where tenant_id = :id", id=shop.tenant_id)
    assert rows == [{"reason": "unusable", "state": "open"}] * 5


def test_one_bad_webhook_takes_none_of_its_batch_along(front: Stack, engine: Engine, shop: Shop) -> None:
    payments = [shop.deposit() for _ in range(6)]
    for number, payment in enumerate(payments):
        shop.deliver(shop.body(payment))
        if number == 3:
            shop.deliver(b'{"transaction_id": "\\u0000"}', "provider")
            shop.deliver(shop.body(payment, amount=None))
    engine.settle()
    assert {shop.payment(payment.id).status for payment in payments} == {"completed"}
