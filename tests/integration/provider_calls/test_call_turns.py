"""Whose turn it is: answered calls make room at once, and no claim is made in vain or reads what is planned."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from app.services.payments.calls.call_dispatcher import Dispatcher
from app.services.payments.calls.provider_claims import claim_calls
from app.services.queues.dispatcher import UnderWay
from models import new_id
from models.statements import watched
from testbed.servers import Servers
from testbed.shop import Shop, make_shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.engine import Engine
from tests.support.false_provider import FalseServer, open_server
from tests.support.postgres import count_rows_read, held_lock, remove_dead_rows

# Enough that reading them shows.
PLANNED = 150


@pytest.fixture
def narrow(engine: Engine, shop: Shop) -> Shop:
    """Provide a shop whose provider takes two calls at once."""
    engine.databases.rows("update payment_providers set calls_max = 2 where id = :id", id=shop.provider_id)
    engine.postpone_others(shop.provider_id)
    return shop


def test_a_call_that_was_answered_makes_room_before_it_is_settled(engine: Engine, narrow: Shop) -> None:
    for _ in range(4):
        narrow.deposit()
    calls = claim_calls(engine.runtime, 9, UnderWay(18)).calls
    assert len(calls) == 2
    assert claim_calls(engine.runtime, 9, UnderWay(18)).calls == []
    # Another worker has claimed the same payments since: these are calls under way.
    others = [replace(call, claim_id=new_id()) for call in calls]
    assert claim_calls(engine.runtime, 9, UnderWay(18, answered=others)).calls == []
    assert len(claim_calls(engine.runtime, 9, UnderWay(18, answered=calls)).calls) == 2
    engine.databases.rows("delete from payment_work where provider_id = :id", id=narrow.provider_id)


def accept(connection: socket.socket) -> None:
    body = b'{"reference": "%s", "redirect_url": "https://pay.example/"}' % uuid.uuid4().hex.encode()
    # The server closes the connection, and a client that does not know it may send its next call there.
    connection.sendall(b"HTTP/1.1 201 X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


@pytest.fixture
def held_provider(engine: Engine, narrow: Shop) -> Iterator[tuple[FalseServer, threading.Event]]:
    """Provide the shop's provider, which answers once the event is set."""
    let_go = threading.Event()

    def answer(connection: socket.socket) -> None:
        let_go.wait(9)
        accept(connection)

    point = "update payment_providers set api_base_url = :url where id = :id"
    with open_server(answer) as server:
        engine.databases.rows(point, url=f"http://127.0.0.1:{server.port}", id=narrow.provider_id)
        yield server, let_go
    engine.databases.rows("delete from payment_work where provider_id = :id", id=narrow.provider_id)


@pytest.mark.serial
def test_the_next_calls_are_made_before_answers_are_settled(
    engine: Engine, narrow: Shop, held_provider: tuple[FalseServer, threading.Event]
) -> None:
    server, let_go = held_provider
    payments = [narrow.deposit() for _ in range(3)]
    held = "select from payment_transactions where id = any(%s::uuid[]) for update"
    with ThreadPoolExecutor(1) as worker:
        run = worker.submit(Dispatcher(16).run, engine.runtime)
        wait_until(lambda: len(server.requests) == 2, "two calls are under way")
        with held_lock(engine.databases, held, "{" + ",".join(str(one.id) for one in payments[:2]) + "}"):
            let_go.set()
            # Long before the database gives up to wait for the lock.
            wait_until(lambda: len(server.requests) == 3, "the third call is made", 1.5)
            assert str(narrow.payment(payments[0].id).status) == "pending"
        run.result(20)


def test_a_paused_providers_payments_expire_while_other_calls_are_under_way(
    engine: Engine, narrow: Shop, held_provider: tuple[FalseServer, threading.Event], front: Stack
) -> None:
    _, let_go = held_provider
    paused = front.make_shop()
    expired = paused.deposit()
    engine.expire(expired.id)
    engine.databases.rows(
        "insert into provider_breakers (provider_id, tenant_id, failures, opens, error, paused_until)"
        " values (:provider, :tenant, 5, 1, 'down', now() + interval '1 minute')",
        provider=paused.provider_id,
        tenant=paused.tenant_id,
    )
    for _ in range(3):
        narrow.deposit()
    with ThreadPoolExecutor(1) as worker:
        run = worker.submit(Dispatcher(16).run, engine.runtime)
        try:
            wait_until(lambda: paused.payment(expired.id).status == "cancelled", "it is cancelled", 6)
            assert not run.done()
        finally:
            let_go.set()
        run.result(20)
    engine.databases.rows("delete from provider_breakers where provider_id = :id", id=paused.provider_id)
    engine.databases.rows("delete from payment_work where provider_id = :id", id=paused.provider_id)


def test_each_claim_at_a_providers_limit_follows_an_answer(front: Stack, engine: Engine, shop: Shop) -> None:
    engine.databases.rows("update payment_providers set calls_max = 1 where id = :id", id=shop.provider_id)
    engine.postpone_others(shop.provider_id)
    payments = [shop.deposit() for _ in range(5)]
    with watched(engine.runtime.database.engine) as sent:
        Dispatcher(16).run(engine.runtime)
    assert {str(shop.payment(payment.id).status) for payment in payments} == {"processing"}
    assert sum("claim_id" in values and "room" in values for _, values in sent if values) == len(payments)


def test_planned_polls_cost_a_claim_nothing(servers: Servers) -> None:
    # In a database of its own: where hundreds of providers have a call each, to read all of them is the better plan.
    with servers.open_databases() as databases, databases.open_runtime() as runtime:
        shop = make_shop(runtime)
        for _ in range(PLANNED):
            shop.deposit()
        databases.rows("update payment_work set action = 'poll', due_at = now() + interval '1 hour'")
        # The rows as they were before are read as long as another process has a transaction open that may see them.
        remove_dead_rows(databases, "payment_work")
        # Makes the plans of its connections.
        claim_calls(runtime, 1, UnderWay(16))
        read = []
        for _ in range(3):
            shop.deposit()
            before = count_rows_read(databases, runtime, "payment_work")
            assert len(claim_calls(runtime, 1, UnderWay(16)).calls) == 1
            read.append(count_rows_read(databases, runtime, "payment_work") - before)
        # What an idle connection has read is counted up to ten seconds later, once.
        assert min(read) < PLANNED, read
