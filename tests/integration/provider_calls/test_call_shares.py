"""Provider calls of one tenant leave threads of the worker to the others, however many of its providers hang."""

from __future__ import annotations

import socket
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.local.processes import PROVIDER_THREADS
from app.services.payments import provider_calls
from app.services.payments.call_shares import CallShares
from app.services.tenants.providers import NewProvider, create_provider
from testbed.shop import ACTOR
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.engine import Engine
from tests.support.false_provider import open_server

THREADS = 4


def test_two_hanging_providers_of_one_tenant_hold_up_no_other_tenant(
    front: Stack, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_calls, "shares", CallShares(THREADS))
    let_go = threading.Event()
    bad, good = front.make_shop(), front.make_shop()

    def hang(connection: socket.socket) -> None:
        let_go.wait(9)

    with open_server(hang) as first, open_server(hang) as second, ThreadPoolExecutor(THREADS) as worker:
        engine.databases.rows(
            "update payment_providers set api_base_url = :url where id = :id",
            url=f"http://127.0.0.1:{first.port}",
            id=bad.provider_id,
        )
        new = NewProvider(bad.tenant_id, "other", "sandbox", f"http://127.0.0.1:{second.port}", "sbk_other")
        other_id, _ = create_provider(bad.runtime, new, ACTOR)
        for _ in range(THREADS):
            bad.deposit()
            bad.deposit(provider_id=other_id)

        def ring(times: int) -> None:
            for _ in range(times):
                worker.submit(provider_calls.call_due, engine.runtime)

        try:
            ring(THREADS)
            wait_until(lambda: first.requests or second.requests, "the providers hang")
            payment = good.deposit()
            ring(1)
            # Long before the first of the calls that hang is given up.
            wait_until(lambda: good.payment(payment.id).status == "processing", "the other tenant's call is made", 6)
            assert len(first.requests) + len(second.requests) == THREADS // 2
        finally:
            let_go.set()
            ids = [bad.provider_id, other_id]
            engine.databases.rows("update payment_work set due_at = 'infinity' where provider_id = any(:ids)", ids=ids)
    for table in ("payment_work", "provider_breakers"):
        engine.databases.rows(f"delete from {table} where provider_id = any(:ids)", ids=ids)


def test_a_worker_counts_shares_of_the_threads_it_was_started_with(stack: Stack) -> None:
    stack.start("sandbox", "worker-provider")
    let_go = threading.Event()
    bad, good = stack.make_shop(), stack.make_shop()

    def hang(connection: socket.socket) -> None:
        let_go.wait(9)

    with open_server(hang) as first:
        point = "update payment_providers set api_base_url = :url, calls_max = 100 where id = :id"
        stack.databases.rows(point, url=f"http://127.0.0.1:{first.port}", id=bad.provider_id)
        try:
            for _ in range(PROVIDER_THREADS + 4):
                bad.deposit()
            share = PROVIDER_THREADS // 2
            wait_until(lambda: len(first.requests) >= share, "the tenant's share of the threads hangs", 20)
            payment = good.deposit()
            wait_until(lambda: good.payment(payment.id).status == "processing", "the other tenant's call is made", 6)
            assert len(first.requests) == share
        finally:
            let_go.set()


@pytest.mark.parametrize(
    ("threads", "under_way", "is_full"),
    [
        (16, {"a": 7}, ""),
        (16, {"a": 8}, "a"),
        # With a second tenant, a third of the threads each, and a third for further tenants.
        (16, {"a": 8, "b": 4}, "a"),
        (16, {"a": 5, "b": 5}, "ab"),
        (16, {"a": 3, "b": 3, "c": 4}, "c"),
        (2, {"a": 1}, "a"),
        (1, {}, ""),
        (1, {"a": 1}, "a"),
    ],
)
def test_a_share_leaves_room_for_one_tenant_more(threads: int, under_way: dict[str, int], is_full: str) -> None:
    ids = {name: uuid.uuid4() for name in "abc"}
    shares = CallShares(threads)
    calls = [ids[name] for name, number in under_way.items() for _ in range(number)]
    for tenant_id in calls:
        shares.begin(tenant_id)
    assert set(shares.list_full()) == {ids[name] for name in is_full}
    for tenant_id in calls:
        shares.end(tenant_id)
    assert shares.list_full() == []
