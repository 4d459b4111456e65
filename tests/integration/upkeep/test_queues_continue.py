"""Nothing that one row holds stops the queue that it is in, nor anybody else's work."""

from __future__ import annotations

import time
import uuid

import pytest
import requests

from app.runtime.vault import Vault, new_encryption_key
from app.services.payments.calls import set_aside
from app.services.queues.release import pay_back
from app.services.upkeep import backlog
from testbed.shop import Shop
from testbed.stack import Stack
from tests.support.engine import Engine, call_and_settle, claim_call
from tests.support.postgres import held_lock


def work(engine: Engine, payment_id: uuid.UUID) -> dict[str, object]:
    (row,) = engine.databases.rows(
        "select action, attempts, postponed, claim_id is null as is_free, due_at > now() as waits from payment_work"
        " where payment_id = :id",
        id=payment_id,
    )
    return row


def alarms(engine: Engine, kind: str, provider_id: uuid.UUID) -> list[str]:
    rows = engine.databases.rows(
        "select detail ->> 'problem' as problem from alerts where kind = :kind and detail ->> 'provider_id' = :id",
        kind=kind,
        id=str(provider_id),
    )
    return [row["problem"] for row in rows]


def let_pause_end(engine: Engine, provider_id: uuid.UUID) -> None:
    engine.databases.rows(
        "update provider_breakers set paused_until = now() - interval '1 second' where provider_id = :id",
        id=provider_id,
    )


UNUSABLE = {
    "a secret of another key": "update payment_providers set credentials_encrypted = :other where id = :id",
    "a secret that is none": "update payment_providers set credentials_encrypted = '\\x00ff' where id = :id",
    "an unknown adapter": "update payment_providers set adapter = 'of_tomorrow' where id = :id",
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_provider_that_cannot_be_used_holds_up_nobody_else(
    front: Stack, shop: Shop, engine: Engine, what: str
) -> None:
    healthy = front.make_shop()
    (before,) = engine.databases.rows(
        "select adapter, credentials_encrypted from payment_providers where id = :id", id=shop.provider_id
    )
    payments = [shop.deposit() for _ in range(3)]
    other = healthy.deposit()
    engine.databases.rows(UNUSABLE[what], id=shop.provider_id, other=Vault([new_encryption_key()]).encrypt("sbk_other"))
    engine.call()
    assert healthy.payment(other.id).status == "processing"
    for _ in range(3):
        for payment in payments:
            engine.make_due(payment.id)
        let_pause_end(engine, shop.provider_id)
        engine.call()
    assert {(str(shop.payment(one.id).status), work(engine, one.id)["attempts"]) for one in payments} == {
        ("pending", 0)
    }
    (problem,) = alarms(engine, "provider_unusable", shop.provider_id)
    assert ("adapter" in problem) == ("adapter" in what)
    assert backlog.read_unusable(front.runtime)[str(shop.provider_id)] == problem

    engine.databases.rows(
        "update payment_providers set adapter = :adapter, credentials_encrypted = :secret where id = :id",
        id=shop.provider_id,
        adapter=before["adapter"],
        secret=bytes(before["credentials_encrypted"]),
    )
    for payment in payments:
        engine.make_due(payment.id)
    let_pause_end(engine, shop.provider_id)
    engine.call()
    assert {str(shop.payment(payment.id).status) for payment in payments} == {"processing"}
    assert engine.dead_letters(payments[0].id) == []


def test_a_payment_whose_call_cannot_be_prepared_ends_in_isolation(front: Stack, shop: Shop, engine: Engine) -> None:
    spoiled, other = shop.deposit(), shop.deposit()
    engine.databases.rows("update payment_transactions set currency = 'ZZZ' where id = :id", id=spoiled.id)
    engine.call()
    assert shop.payment(other.id).status == "processing"
    assert (work(engine, spoiled.id)["attempts"], work(engine, spoiled.id)["waits"]) == (1, True)
    for _ in range(set_aside.ATTEMPTS_MAX - 1):
        engine.ask(spoiled.id)
    assert engine.dead_letters(spoiled.id) == [("attempts_exhausted", "open")]
    assert work(engine, spoiled.id)["action"] == "poll"
    engine.databases.rows("delete from payment_work where payment_id = :id", id=spoiled.id)


def test_a_locked_payment_delays_its_own_call_only(shop: Shop, engine: Engine) -> None:
    held, other = shop.deposit(), shop.deposit()
    with held_lock(engine.databases, "select from payment_transactions where id = %s for update", held.id):
        engine.call()
        assert shop.payment(other.id).status == "processing"
        assert (work(engine, held.id)["attempts"], work(engine, held.id)["is_free"]) == (0, True)
    engine.ask(held.id)
    assert shop.payment(held.id).status == "processing"


def test_an_answer_that_meets_a_lock_is_asked_for_again(shop: Shop, engine: Engine) -> None:
    engine.databases.rows("update payment_providers set attempts_max = 1 where id = :id", id=shop.provider_id)
    payment = shop.deposit()
    claim = claim_call(engine.runtime)
    assert claim is not None
    assert claim.payment_id == payment.id
    with held_lock(engine.databases, "select from payment_transactions where id = %s for update", payment.id):
        call_and_settle(engine.runtime, claim)
        row = work(engine, payment.id)
        assert (row["attempts"], row["postponed"], row["is_free"], row["waits"]) == (0, 1, True, True)
    engine.ask(payment.id)
    assert shop.payment(payment.id).status == "processing"
    assert engine.dead_letters(payment.id) == []


@pytest.mark.serial
def test_a_locked_work_row_is_given_back_later(shop: Shop, engine: Engine) -> None:
    payment = shop.deposit()
    claim = claim_call(engine.runtime)
    assert claim is not None
    with held_lock(engine.databases, "select from payment_work where payment_id = %s for update", payment.id):
        began = time.monotonic()
        set_aside.postpone(engine.runtime, claim)
        # Other transactions wait two seconds for a lock.
        assert time.monotonic() - began < 1.5
    assert pay_back(engine.runtime)
    row = work(engine, payment.id)
    assert (row["attempts"], row["postponed"], row["is_free"]) == (0, 1, True)
    engine.ask(payment.id)
    assert shop.payment(payment.id).status == "processing"


FAILING = """
    create function in_trouble() returns trigger language plpgsql security definer as $$
    begin
        if new.user_id = '{user}' then raise exception 'trouble' using errcode = '{state}'; end if;
        return new;
    end $$;
    create trigger in_trouble before update of status on payment_transactions
        for each row execute function in_trouble();
"""


@pytest.mark.parametrize("state", ["40001", "53100", "57014", "57P01", "58030", "25006"])
def test_trouble_of_the_database_uses_no_attempt_of_a_call(
    front: Stack, shop: Shop, engine: Engine, state: str
) -> None:
    engine.databases.rows("update payment_providers set attempts_max = 2 where id = :id", id=shop.provider_id)
    user = uuid.uuid4().hex
    payment, other = shop.deposit(user_id=user), shop.deposit()
    engine.databases.rows(FAILING.format(user=user, state=state))
    try:
        engine.call()
        assert shop.payment(other.id).status == "processing"
        for _ in range(3):
            engine.ask(payment.id)
        row = work(engine, payment.id)
        assert (row["action"], row["attempts"], row["postponed"], row["is_free"]) == ("create", 0, 4, True)
    finally:
        engine.databases.rows("drop trigger in_trouble on payment_transactions; drop function in_trouble")
    engine.ask(payment.id)
    assert shop.payment(payment.id).status == "processing"
    assert engine.dead_letters(payment.id) == []


def test_an_answer_that_cannot_be_settled_ends_as_a_dead_letter(shop: Shop, engine: Engine) -> None:
    engine.databases.rows("update payment_providers set attempts_max = 2 where id = :id", id=shop.provider_id)
    user = uuid.uuid4().hex
    payment, other = shop.deposit(user_id=user), shop.deposit()
    engine.databases.rows(FAILING.format(user=user, state="22001"))
    try:
        engine.call()
        assert shop.payment(other.id).status == "processing"
        engine.ask(payment.id)
        assert engine.dead_letters(payment.id) == [("attempts_exhausted", "open")]
    finally:
        engine.databases.rows("drop trigger in_trouble on payment_transactions; drop function in_trouble")
    assert shop.payment(payment.id).status == "pending"


def test_a_locked_payment_of_a_paused_provider_keeps_no_other_from_its_end(shop: Shop, engine: Engine) -> None:
    held, other = shop.deposit(), shop.deposit()
    for payment in (held, other):
        engine.expire(payment.id)
    engine.databases.rows(
        "insert into provider_breakers (provider_id, tenant_id, opens, paused_until, error)"
        " values (:id, :tenant, 1, now() + interval '1 minute', 'away')",
        id=shop.provider_id,
        tenant=shop.tenant_id,
    )
    with held_lock(engine.databases, "select from payment_transactions where id = %s for update", held.id):
        engine.call()
        assert (shop.payment(held.id).status, shop.payment(other.id).status) == ("pending", "cancelled")
        assert work(engine, held.id)["waits"] is True
    engine.make_due(held.id)
    engine.call()
    assert shop.payment(held.id).status == "cancelled"


@pytest.mark.parametrize("state", ["25006", "53100", "55P03", "57014", "58030"])
def test_callers_are_asked_to_retry_while_the_database_is_in_trouble(
    front: Stack, shop: Shop, engine: Engine, state: str
) -> None:
    user = uuid.uuid4().hex
    engine.databases.rows(FAILING.format(user=user, state=state).replace("update of status", "insert"))
    body = {"user_id": user, "amount": "25.00", "currency": "USD"}
    url, headers = f"{front.web}/api/payments/deposit", shop.headers(user)
    try:
        refused = requests.post(url, json=body, headers=headers, timeout=20)
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True), refused.text
    finally:
        engine.databases.rows("drop trigger in_trouble on payment_transactions; drop function in_trouble")
    assert requests.post(url, json=body, headers=headers, timeout=20).status_code == 202
