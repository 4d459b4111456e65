"""Provider calls of one tenant leave room for those of others, however many of its providers hang."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.services.payments.calls import call_dispatcher
from app.services.payments.calls.call_dispatcher import Dispatcher
from app.services.payments.calls.provider_claims import claim_calls
from app.services.queues.dispatcher import UnderWay
from app.services.tenants.providers import NewProvider, create_provider
from testbed.servers import Databases
from testbed.shop import ACTOR, Shop, make_shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.engine import Engine
from tests.support.false_provider import open_server

CALLS = 4


def test_two_hanging_providers_of_one_tenant_hold_up_no_other_tenant(
    front: Stack, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = Dispatcher(CALLS)
    monkeypatch.setattr(call_dispatcher, "dispatcher", lambda runtime: dispatcher)
    let_go = threading.Event()
    bad, good = front.make_shop(), front.make_shop()

    def hang(connection: socket.socket) -> None:
        let_go.wait(9)

    with open_server(hang) as first, open_server(hang) as second, ThreadPoolExecutor(CALLS) as worker:
        engine.databases.rows(
            "update payment_providers set api_base_url = :url where id = :id",
            url=f"http://127.0.0.1:{first.port}",
            id=bad.provider_id,
        )
        url = f"http://127.0.0.1:{second.port}"
        new = NewProvider(bad.tenant_id, "other", "sandbox", url, {"api_key": "sbk_other"})
        other_id, _ = create_provider(bad.runtime, new, ACTOR)
        for _ in range(CALLS):
            bad.deposit()
            bad.deposit(provider_id=other_id)

        def ring(times: int) -> None:
            for _ in range(times):
                worker.submit(call_dispatcher.call_due, engine.runtime)

        try:
            ring(CALLS)
            wait_until(lambda: len(first.requests) + len(second.requests) == CALLS // 2, "the tenant's share hangs")
            payment = good.deposit()
            ring(1)
            # Long before the first of the calls that hang is given up.
            wait_until(lambda: good.payment(payment.id).status == "processing", "the other tenant's call is made", 6)
            assert len(first.requests) + len(second.requests) == CALLS // 2
        finally:
            let_go.set()
            ids = [bad.provider_id, other_id]
            engine.databases.rows("update payment_work set due_at = 'infinity' where provider_id = any(:ids)", ids=ids)
    for table in ("payment_work", "provider_breakers"):
        engine.databases.rows(f"delete from {table} where provider_id = any(:ids)", ids=ids)


def test_a_worker_makes_as_many_calls_at_once_as_it_was_started_with(stack: Stack) -> None:
    stack.start("sandbox", "worker-provider", SLUICE_PROVIDER_CALLS=str(CALLS))
    let_go = threading.Event()
    bad, good = stack.make_shop(), stack.make_shop()

    def hang(connection: socket.socket) -> None:
        let_go.wait(9)

    with open_server(hang) as first:
        point = "update payment_providers set api_base_url = :url, calls_max = 100 where id = :id"
        stack.databases.rows(point, url=f"http://127.0.0.1:{first.port}", id=bad.provider_id)
        try:
            for _ in range(CALLS + 4):
                bad.deposit()
            share = CALLS // 2
            wait_until(lambda: len(first.requests) >= share, "the tenant's share of the threads hangs", 20)
            payment = good.deposit()
            wait_until(lambda: good.payment(payment.id).status == "processing", "the other tenant's call is made", 6)
            assert len(first.requests) == share
        finally:
            let_go.set()


@pytest.mark.parametrize(
    ("calls_max", "busy", "due", "claimed"),
    [
        (16, {"a": 7}, {"a": 3}, {"a": 1}),
        (16, {"a": 8}, {"a": 3}, {}),
        # With a second tenant, a third of the calls each, and a third for further tenants.
        (16, {"a": 8, "b": 4}, {"a": 2, "b": 2}, {"b": 1}),
        (16, {"a": 5, "b": 5}, {"a": 1, "b": 1, "c": 6}, {"c": 4}),
        (16, {"a": 3, "b": 3, "c": 4}, {"a": 3, "c": 1}, {"a": 1}),
        (16, {}, {"a": 9}, {"a": 8}),
        (16, {}, {"a": 9, "b": 2}, {"a": 5, "b": 2}),
        (2, {"a": 1}, {"a": 1}, {}),
        (1, {}, {"a": 2}, {"a": 1}),
        (1, {}, {"a": 2, "b": 2}, {"a": 1}),
    ],
)
def test_a_tenants_share_leaves_room_for_one_tenant_more(
    databases: Databases, calls_max: int, busy: dict[str, int], due: dict[str, int], claimed: dict[str, int]
) -> None:
    with databases.open_runtime() as runtime:
        shops = {name: make_shop(runtime) for name in "abc"}
        databases.rows("update payment_providers set calls_max = 100")
        for name, number in due.items():
            for _ in range(number):
                shops[name].deposit()
        room = calls_max - sum(busy.values())
        by_tenant = {shops[name].tenant_id: calls for name, calls in busy.items()}
        claims = claim_calls(runtime, room, UnderWay(calls_max, by_tenant))
        names = {shop.tenant_id: name for name, shop in shops.items()}
        assert dict(Counter(names[call.tenant_id] for call in claims.calls)) == claimed
        assert claims.is_more_due is (sum(claimed.values()) < sum(due.values()))


def test_a_ring_while_calls_are_under_way_is_answered_at_once_and_seen_to(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    let_go = threading.Event()

    def hang(connection: socket.socket) -> None:
        let_go.wait(9)

    with open_server(hang) as first, ThreadPoolExecutor(1) as worker:
        hanging = front.make_shop()
        point = "update payment_providers set api_base_url = :url where id = :id"
        engine.databases.rows(point, url=f"http://127.0.0.1:{first.port}", id=hanging.provider_id)
        hanging.deposit()
        leader = worker.submit(call_dispatcher.call_due, engine.runtime)
        try:
            wait_until(lambda: first.requests, "the provider hangs")
            payment = shop.deposit()
            call_dispatcher.call_due(engine.runtime)
            assert not leader.done()
            wait_until(lambda: shop.payment(payment.id).status == "processing", "the other call is made")
        finally:
            let_go.set()
        leader.result(20)
    engine.databases.rows("delete from payment_work where provider_id = :id", id=hanging.provider_id)
    engine.databases.rows("delete from provider_breakers where provider_id = :id", id=hanging.provider_id)
