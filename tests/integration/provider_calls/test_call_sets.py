"""Provider calls in sets: one commit claims many, one settles many answers; a bad row delays no other call."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from app.services.payments.calls.call_dispatcher import Dispatcher
from app.services.payments.calls.call_settlement import Answer, settle_answers
from app.services.payments.calls.provider_calls import make_call
from app.services.payments.calls.provider_claims import CallClaims, claim_calls
from app.services.queues.dispatcher import UnderWay
from models.statements import watched
from testbed.shop import Shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.engine import Engine
from tests.support.false_provider import FalseServer, open_server
from tests.support.postgres import held_lock

ALL = 64


def claim_all(engine: Engine) -> CallClaims:
    return claim_calls(engine.runtime, ALL, UnderWay(2 * ALL))


def answers_of(engine: Engine, claims: CallClaims) -> list[Answer]:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda claim: make_call(engine.runtime, claim), claims.calls))
    return [answer for answer in made if answer is not None]


@pytest.fixture
def wide(engine: Engine, shop: Shop) -> Shop:
    """Provide a shop whose provider takes as many calls at once as there are."""
    engine.databases.rows("update payment_providers set calls_max = 100 where id = :id", id=shop.provider_id)
    engine.postpone_others(shop.provider_id)
    return shop


def test_many_calls_are_claimed_and_settled_with_the_messages_of_one(front: Stack, engine: Engine, wide: Shop) -> None:
    def make(number: int) -> int:
        payments = [wide.deposit() for _ in range(number)]
        with watched(engine.runtime.database.engine) as sent:
            claims = claim_all(engine)
            settle_answers(engine.runtime, answers_of(engine, claims))
        assert {str(wide.payment(payment.id).status) for payment in payments} == {"processing"}
        ids = [payment.id for payment in payments]
        for table, key in (("payment_transactions", "id"), ("payment_work", "payment_id")):
            commits = f"select count(distinct xmin::text) from {table} where {key} = any(:ids)"
            assert engine.databases.value(commits, ids=ids) == 1
        return len(sent)

    make(2)
    assert make(40) == make(2)


def test_an_answer_that_meets_a_lock_delays_no_other(engine: Engine, wide: Shop) -> None:
    held, *others = [wide.deposit() for _ in range(4)]
    answers = answers_of(engine, claim_all(engine))
    with held_lock(engine.databases, "select from payment_transactions where id = %s for update", held.id):
        settle_answers(engine.runtime, answers)
        assert [str(wide.payment(one.id).status) for one in (held, *others)] == ["pending"] + ["processing"] * 3
    assert engine.databases.rows(
        "select attempts, postponed, claim_id from payment_work where payment_id = :id", id=held.id
    ) == [{"attempts": 0, "postponed": 1, "claim_id": None}]
    engine.ask(held.id)
    assert wide.payment(held.id).status == "processing"


def test_an_answer_whose_failure_cannot_be_settled_either_delays_no_other(engine: Engine, wide: Shop) -> None:
    payment_ids = [wide.deposit().id for _ in range(3)]
    first, *others = answers_of(engine, claim_all(engine))
    # No record can have half of a surrogate pair, neither that of the answer nor that of the failure.
    odd = replace(first, claim=replace(first.claim, action="\ud800"))
    settle_answers(engine.runtime, [odd, *others])
    statuses = {payment_id: str(wide.payment(payment_id).status) for payment_id in payment_ids}
    assert statuses.pop(first.claim.payment_id) == "pending"
    assert list(statuses.values()) == ["processing"] * 2
    # It is due again when its lease ends.
    assert engine.databases.rows(
        "select attempts, claim_id, due_at > now() as is_leased from payment_work where payment_id = :id",
        id=first.claim.payment_id,
    ) == [{"attempts": 1, "claim_id": first.claim.claim_id, "is_leased": True}]
    engine.ask(first.claim.payment_id)
    assert wide.payment(first.claim.payment_id).status == "processing"


POISON = """
    create function poison() returns trigger language plpgsql security definer as $$
    begin
        if new.user_id = 'poison' then raise exception 'poisoned' using errcode = '{state}'; end if;
        return new;
    end $$;
    create trigger poison before update of {column} on payment_transactions
        for each row execute function poison();
"""


@pytest.mark.parametrize(("column", "state"), [("status", "22001"), ("status", "57014"), ("provider_request", "55P03")])
def test_a_payment_that_spoils_its_set_is_the_only_one_that_waits(
    engine: Engine, wide: Shop, column: str, state: str
) -> None:
    users = ["ann", "poison", "bob", "cid"]
    payments = {user: wide.deposit(user_id=user) for user in users}
    engine.databases.rows(POISON.format(column=column, state=state))
    try:
        engine.call(at_once=2 * ALL)
        statuses = {user: str(wide.payment(payment.id).status) for user, payment in payments.items()}
        assert statuses == {user: "pending" if user == "poison" else "processing" for user in users}
    finally:
        engine.databases.rows("drop trigger poison on payment_transactions; drop function poison")
    engine.ask(payments["poison"].id)
    assert wide.payment(payments["poison"].id).status == "processing"


def test_claims_of_the_same_moment_keep_to_the_providers_limit(engine: Engine, shop: Shop) -> None:
    engine.databases.rows("update payment_providers set calls_max = 7 where id = :id", id=shop.provider_id)
    engine.postpone_others(shop.provider_id)
    for _ in range(30):
        shop.deposit()
    barrier = threading.Barrier(6)

    def claim() -> int:
        barrier.wait()
        return sum(len(claim_calls(engine.runtime, 5, UnderWay(16)).calls) for _ in range(4))

    with ThreadPoolExecutor(6) as threads:
        assert sum(each.result() for each in [threads.submit(claim) for _ in range(6)]) == 7
    engine.databases.rows("delete from payment_work where provider_id = :id", id=shop.provider_id)


def test_a_dispatcher_that_stops_settles_what_is_under_way_and_claims_no_more(engine: Engine, wide: Shop) -> None:
    let_go, dispatcher = threading.Event(), Dispatcher(4)

    def wait(connection: object) -> None:
        let_go.wait(9)

    with open_server(wait) as server, ThreadPoolExecutor(1) as worker:
        point_to(engine, wide, server)
        for _ in range(6):
            wide.deposit()
        run = worker.submit(dispatcher.run, engine.runtime)
        try:
            wait_until(lambda: len(server.requests) == 2, "the tenant's share of the calls is under way")
            dispatcher.stop()
        finally:
            let_go.set()
        run.result(20)
        assert len(server.requests) == 2
    rows = engine.databases.rows(
        "select count(*) filter (where attempts = 1) as tried, count(*) filter (where claim_id is not null) as claimed"
        " from payment_work where provider_id = :id",
        id=wide.provider_id,
    )
    assert rows == [{"tried": 2, "claimed": 0}]
    engine.databases.rows("delete from payment_work where provider_id = :id", id=wide.provider_id)
    engine.databases.rows("delete from provider_breakers where provider_id = :id", id=wide.provider_id)


def test_calls_for_which_no_thread_starts_are_made_by_the_one_that_is_there(
    engine: Engine, wide: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments = [wide.deposit() for _ in range(3)]

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    dispatcher = Dispatcher(16)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    dispatcher.run(engine.runtime)
    assert {str(wide.payment(payment.id).status) for payment in payments} == {"processing"}


def point_to(engine: Engine, shop: Shop, server: FalseServer) -> None:
    engine.databases.rows(
        "update payment_providers set api_base_url = :url where id = :id",
        url=f"http://127.0.0.1:{server.port}",
        id=shop.provider_id,
    )
