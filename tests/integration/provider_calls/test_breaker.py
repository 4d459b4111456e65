"""The circuit breaker: calls to a provider that keeps failing are paused, and one call finds out that it is back."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from app.core.errors import NotSent, ProviderRefusedUs, Throttled
from app.core.payment import Payment
from app.services.payments.calls import breaker
from app.services.payments.calls.provider_claims import Claim
from app.services.upkeep.backlog import read_counts
from testbed.shop import NOWHERE, Shop
from testbed.stack import Stack
from tests.support.engine import Engine, claim_call


@pytest.fixture
def shop(front: Stack, engine: Engine) -> Iterator[Shop]:
    """Provide a tenant whose broken provider leaves no work behind for the tests that follow."""
    made = front.make_shop()
    yield made
    engine.databases.rows("delete from payment_work where provider_id = :id", id=made.provider_id)
    engine.databases.rows("delete from provider_breakers where provider_id = :id", id=made.provider_id)


def state(engine: Engine, shop: Shop) -> dict[str, Any] | None:
    rows = engine.databases.rows(
        "select failures, opens, paused_until > now() as is_paused, probe_until is not null as is_probed,"
        " extract(epoch from paused_until - now())::float as seconds from provider_breakers where provider_id = :id",
        id=shop.provider_id,
    )
    return rows[0] if rows else None


def point_to(engine: Engine, shop: Shop, url: str) -> None:
    engine.databases.rows(
        "update payment_providers set api_base_url = :url where id = :id", url=url, id=shop.provider_id
    )


def end_pause(engine: Engine, shop: Shop) -> None:
    engine.databases.rows(
        "update provider_breakers set paused_until = now() - interval '1 second' where provider_id = :id",
        id=shop.provider_id,
    )


def make_all_due(engine: Engine, shop: Shop) -> None:
    engine.databases.rows(
        "update payment_work set due_at = now() - interval '1 second', claim_id = null where provider_id = :id",
        id=shop.provider_id,
    )


def attempts(engine: Engine, shop: Shop) -> int:
    query = "select coalesce(sum(attempts), 0) from payment_work where provider_id = :id"
    return int(engine.databases.value(query, id=shop.provider_id))


def break_provider(engine: Engine, shop: Shop, deposits: int = 8) -> list[Payment]:
    """Eight deposits meet a provider that is not there."""
    point_to(engine, shop, NOWHERE)
    payments = [shop.deposit() for _ in range(deposits)]
    engine.call()
    return payments


def test_a_dead_provider_is_paused_for_all_and_its_work_waits(engine: Engine, shop: Shop) -> None:
    break_provider(engine, shop)
    found = state(engine, shop)
    assert found is not None
    assert (found["failures"], found["opens"], found["is_paused"]) == (5, 1, True)
    assert attempts(engine, shop) == 5
    make_all_due(engine, shop)
    engine.call()
    assert attempts(engine, shop) == 5
    query = "select count(*) from payment_work where provider_id = :id and due_at <= now()"
    assert engine.databases.value(query, id=shop.provider_id) == 0
    kinds = engine.databases.rows("select kind from alerts where tenant_id = :id", id=shop.tenant_id)
    assert kinds == [{"kind": "provider_breaker_open"}]
    assert ("provider_breakers_open", str(shop.provider_id), 1.0) in read_counts(shop.runtime)


def test_one_call_finds_out_and_its_failure_makes_the_pause_longer(engine: Engine, shop: Shop) -> None:
    break_provider(engine, shop)
    for opens, seconds in ((2, 10.0), (3, 20.0)):
        end_pause(engine, shop)
        make_all_due(engine, shop)
        engine.call()
        found = state(engine, shop)
        assert found is not None
        assert (found["opens"], found["is_paused"], found["is_probed"]) == (opens, True, False)
        assert seconds - 3 < found["seconds"] <= seconds
        assert attempts(engine, shop) == 5 + opens - 1  # The first and the second probe count.
    assert engine.databases.value("select count(*) from alerts where tenant_id = :id", id=shop.tenant_id) == 1


def test_of_many_workers_one_makes_the_call(engine: Engine, shop: Shop) -> None:
    break_provider(engine, shop)
    end_pause(engine, shop)
    make_all_due(engine, shop)
    claims: list[Claim | None] = []
    barrier = threading.Barrier(8)

    def claim() -> None:
        barrier.wait()
        claims.append(claim_call(shop.runtime))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Calls that earlier tests left behind come due meanwhile.
    assert [claim.tenant_id for claim in claims if claim].count(shop.tenant_id) == 1
    # While it is under way the others neither call nor are postponed for long.
    engine.call()
    query = "select count(*) from payment_work where provider_id = :id and due_at <= now()"
    assert engine.databases.value(query, id=shop.provider_id) == 7


def test_an_answer_lets_everything_continue(front: Stack, engine: Engine, shop: Shop) -> None:
    payments = break_provider(engine, shop)
    point_to(engine, shop, front.sandbox.url)
    end_pause(engine, shop)
    make_all_due(engine, shop)
    engine.call()
    assert state(engine, shop) is None
    assert {str(shop.payment(payment.id).status) for payment in payments} == {"processing"}


def test_a_provider_that_works_writes_no_row(front: Stack, engine: Engine, shop: Shop) -> None:
    engine.start(shop)
    assert state(engine, shop) is None
    failing = shop.deposit()
    front.sandbox.script(match={"merchant_reference": str(failing.id)}, create={"status": 503, "times": 1})
    engine.call()
    found = state(engine, shop)
    assert found is not None
    assert (found["failures"], found["opens"]) == (1, 0)
    engine.start(shop)
    assert state(engine, shop) is None


def test_deposits_of_a_dead_provider_wait_and_expire_in_time(engine: Engine, shop: Shop) -> None:
    payments = break_provider(engine, shop, 7)
    engine.call()
    soonest = engine.databases.value(
        "select min(due_at) - now() from payment_work where provider_id = :id", id=shop.provider_id
    )
    assert datetime.timedelta(0) < soonest < datetime.timedelta(seconds=10)
    for payment in payments:
        engine.expire(payment.id)
    engine.call()
    for payment in payments:
        after = shop.payment(payment.id)
        assert (after.status, after.failure_reason) == ("cancelled", "expired")
    # Money that arrived all the same is credited.
    shop.deliver(shop.body(payments[0]))
    engine.settle()
    assert shop.payment(payments[0].id).status == "completed"


def test_another_provider_is_not_held_up(front: Stack, engine: Engine, shop: Shop) -> None:
    break_provider(engine, shop)
    other = front.make_shop()
    make_all_due(engine, shop)
    assert engine.start(other).status == "processing"


def test_retry_after_is_honoured_for_the_whole_provider_and_is_no_failure(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    first = shop.deposit()
    front.sandbox.script(
        match={"merchant_reference": str(first.id)}, create={"status": 429, "retry_after": 7, "times": 1}
    )
    engine.call()
    found = state(engine, shop)
    assert found is not None
    assert (found["failures"], found["opens"], found["is_paused"]) == (0, 0, True)
    assert 4 < found["seconds"] <= 7
    assert attempts(engine, shop) == 0
    second = shop.deposit()
    engine.call()
    assert front.sandbox.truth(second.id)["payments"] == []
    engine.databases.rows(
        "update provider_breakers set paused_until = now() where provider_id = :id", id=shop.provider_id
    )
    make_all_due(engine, shop)
    engine.call()
    assert {str(shop.payment(one.id).status) for one in (first, second)} == {"processing"}
    assert state(engine, shop) is None


def test_a_refusal_of_our_credentials_is_an_answer(engine: Engine, shop: Shop) -> None:
    for _ in range(4):
        breaker.note_failure(shop.runtime, shop.tenant_id, shop.provider_id, NotSent(), is_half_open=False)
    breaker.note_failure(shop.runtime, shop.tenant_id, shop.provider_id, ProviderRefusedUs(), is_half_open=False)
    assert state(engine, shop) is None


@pytest.mark.parametrize("late", [NotSent(), Throttled()])
def test_calls_under_way_when_the_pause_begins_do_not_make_it_longer(engine: Engine, shop: Shop, late: NotSent) -> None:
    for error in [NotSent() for _ in range(5)] + [late]:
        breaker.note_failure(shop.runtime, shop.tenant_id, shop.provider_id, error, is_half_open=False)
    found = state(engine, shop)
    assert found is not None
    assert (found["opens"], found["seconds"] <= 5) == (1, True)
