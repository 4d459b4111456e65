"""Settling: doorbells may be lost or doubled, workers may be late or raise, and no tenant waits for another."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from app.core.payment import Payment
from app.runtime.doorbells import Doorbells
from app.runtime.runtime import Runtime, connect_redis
from app.services.upkeep import sweep
from app.services.webhooks import claims, settle
from app.services.webhooks.claims import WebhookQueue
from testbed.servers import Databases, new_celery
from testbed.shop import Shop, make_shop

CREDITS = "select count(*) from wallet_transactions where direction = 1"


def paid_shop(tenant: Shop, count: int) -> list[Payment]:
    """Deposit whose successes lie in the inbox."""
    payments = [tenant.deposit(user_id=f"user{number % 3}") for number in range(count)]
    for payment in payments:
        tenant.deliver(tenant.body(payment))
    return payments


def bells(runtime: Runtime, queue: str) -> int:
    """How many messages wait in a queue of doorbells."""
    return int(runtime.redis.llen(f"ring.{queue}"))  # type: ignore[arg-type]


def test_rings_are_coalesced_and_carry_nothing(runtime: Runtime, tenant: Shop) -> None:
    runtime.redis.flushdb()
    paid_shop(tenant, 5)
    # The bell may have been taken down by its own age in a slow moment, never by the five webhooks.
    assert 1 <= bells(runtime, "settle") <= 2
    message = runtime.redis.lindex("ring.settle", 0)
    assert isinstance(message, bytes)
    assert str(tenant.tenant_id).encode() not in message


def test_without_any_doorbell_the_sweep_finds_the_work(runtime: Runtime, tenant: Shop) -> None:
    payments = paid_shop(tenant, 3)
    runtime.redis.flushdb()
    sweep.sweep(runtime)
    sweep.sweep(runtime)
    # Each sweep rings whether or not a bell is set; doubled ones do no harm.
    assert bells(runtime, "settle") == 2
    assert bells(runtime, "provider") == 2
    for _ in range(2):
        settle.settle_due(runtime)
    assert {tenant.payment(payment.id).status for payment in payments} == {"completed"}
    runtime.redis.flushdb()
    runtime.database.engine.dispose()
    sweep.sweep(runtime)
    assert bells(runtime, "settle") == 0


def test_a_redis_that_is_away_costs_no_webhook(databases: Databases) -> None:
    # A port that nothing listens on.
    with databases.open_runtime(REDIS_URL="redis://127.0.0.1:9/0") as deaf:
        redis, celery = connect_redis("redis://127.0.0.1:9/0"), new_celery("redis://127.0.0.1:9/0")
        away = replace(deaf, redis=redis, doorbells=Doorbells(redis, celery))
        shop = make_shop(away)
        payments = paid_shop(shop, 3)
        settle.settle_due(away)
        assert {shop.payment(payment.id).status for payment in payments} == {"completed"}
        celery.close()
        redis.close()


@pytest.mark.parametrize("settlers", [1, 4])
def test_doubled_doorbells_settle_everything_once(
    databases: Databases, runtime: Runtime, tenant: Shop, settlers: int
) -> None:
    payments = paid_shop(tenant, 40)
    with ThreadPoolExecutor(settlers) as pool:
        list(pool.map(lambda _: settle.settle_due(runtime), range(settlers * 2)))
    assert {tenant.payment(payment.id).status for payment in payments} == {"completed"}
    assert databases.value(CREDITS) == 40
    balances = databases.rows("select kind, sum(balance_minor) as total from wallets group by kind order by kind")
    assert balances == [{"kind": "clearing", "total": -100_000}, {"kind": "user", "total": 100_000}]
    chained = databases.value(
        "select count(*) from (select balance_before_minor, lag(balance_after_minor, 1, 0::bigint)"
        " over (partition by wallet_id order by wallet_version) as before from wallet_transactions) as e"
        " where balance_before_minor <> before"
    )
    assert chained == 0


def claim_as_a_worker(databases: Databases) -> uuid.UUID:
    """Claim all due webhooks as a worker does that then stands still; return its claim."""
    claim_id = uuid.uuid4()
    databases.rows(
        "update webhook_work set attempts = attempts + 1, claim_id = :claim,"
        " leased_until = now() + interval '30 seconds'",
        claim=claim_id,
    )
    return claim_id


def test_a_worker_that_stood_still_too_long_writes_nothing(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    payments = paid_shop(tenant, 5)
    stale = claim_as_a_worker(databases)
    settle.settle_due(runtime)
    # What is claimed is nobody else's until its lease is over.
    assert databases.value(CREDITS) == 0
    databases.rows("update webhook_work set due_at = now() - interval '1 second', leased_until = null")
    settle.settle_due(runtime)
    assert databases.value(CREDITS) == 5
    before = databases.rows("select id, version, updated_at from payment_transactions order by id")
    ids = [row["id"] for row in databases.rows("select id from payment_webhooks")]
    # The stopped worker continues, with a claim that it has lost.
    settle._settle_retrying(runtime, ids, stale)
    assert databases.value(CREDITS) == 5
    assert databases.rows("select id, version, updated_at from payment_transactions order by id") == before
    assert {tenant.payment(payment.id).status for payment in payments} == {"completed"}


def test_a_stale_claim_on_part_of_a_batch_settles_only_what_is_still_its_own(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    paid_shop(tenant, 4)
    mine = claim_as_a_worker(databases)
    ids = [row["webhook_id"] for row in databases.rows("select webhook_id from webhook_work order by webhook_id")]
    databases.rows("update webhook_work set claim_id = :other where webhook_id = :id", other=uuid.uuid4(), id=ids[0])
    settle._settle_retrying(runtime, ids, mine)
    assert databases.value(CREDITS) == 3
    left = databases.rows("select webhook_id from webhook_work")
    assert [row["webhook_id"] for row in left] == [ids[0]]


def test_a_batch_is_shared_between_tenants(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    flood = [tenant.deposit() for _ in range(3)]
    for number in range(claims.BATCH_ROWS + 50):
        tenant.deliver(tenant.body(flood[number % 3]))
    small = make_shop(runtime)
    payment = small.deposit()
    small.deliver(small.body(payment))
    claimed = settle.settle_batch(runtime, WebhookQueue())
    # The one webhook of the small tenant is in the first batch, though hundreds came before it.
    assert small.payment(payment.id).status == "completed"
    assert claimed <= claims.BATCH_ROWS // 3 + 1


POISON = """
    create function poison() returns trigger language plpgsql as $$
    begin
        if new.user_id = 'poison' and new.status = 'completed' then raise exception 'poisoned'; end if;
        return new;
    end $$;
    create trigger poison before update on payment_transactions for each row execute function poison();
"""


def test_a_webhook_that_raises_takes_no_other_along_and_ends_as_a_dead_letter(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    databases.rows(POISON)
    payments = [tenant.deposit(user_id="poison" if number == 4 else "ann") for number in range(9)]
    for payment in payments:
        tenant.deliver(tenant.body(payment))
    settle.settle_due(runtime)
    statuses = [str(tenant.payment(payment.id).status) for payment in payments]
    assert statuses == ["completed"] * 4 + ["pending"] + ["completed"] * 4
    for _ in range(settle.ATTEMPTS_MAX):
        databases.rows("update webhook_work set due_at = now() - interval '1 second', leased_until = null")
        settle.settle_due(runtime)
    assert databases.value("select count(*) from webhook_work") == 0
    dead = databases.rows("select payment_id, reason, state, attempts from dead_letters")
    assert dead == [
        {"payment_id": payments[4].id, "reason": "raised", "state": "open", "attempts": settle.ATTEMPTS_MAX}
    ]
    assert tenant.payment(payments[4].id).status == "pending"
    assert databases.value("select count(*) from alerts where kind = 'webhook_dead_letter'") == 1


def test_a_webhook_that_killed_its_worker_each_time_is_given_up_untouched(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    (payment,) = paid_shop(tenant, 1)
    for _ in range(settle.ATTEMPTS_MAX):
        claim_as_a_worker(databases)
    databases.rows("update webhook_work set due_at = now() - interval '1 second', leased_until = null")
    settle.settle_due(runtime)
    assert tenant.payment(payment.id).status == "pending"
    assert databases.rows("select reason from dead_letters") == [{"reason": "attempts_exhausted"}]
    assert databases.value("select status from payment_webhooks") == "failed"


def test_facts_of_one_payment_are_decided_in_the_order_of_their_arrival(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    payment = tenant.deposit()
    for status in ("failed", "success", "cancelled", "success", "failed"):
        tenant.deliver(tenant.body(payment, status))
    settle.settle_due(runtime)
    verdicts = [
        row["verdict"] for row in databases.rows("select verdict from payment_webhooks order by received_at, id")
    ]
    assert verdicts == ["applied", "applied", "ignored", "duplicate", "conflict"]
    done = tenant.payment(payment.id)
    assert (done.status, done.exceptions) == ("completed", {"late", "conflict"})
    assert databases.value(CREDITS) == 1
