"""Database errors: work that they stop waits without losing an attempt, other work continues, one alarm is raised."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.services.queues import lock_waits
from app.services.records import database_trouble
from app.services.upkeep import duties
from app.services.webhooks import postpone, settle
from app.services.webhooks.claims import WebhookQueue
from testbed.servers import Databases, Servers
from testbed.shop import Shop, make_shop
from testbed.waiting import wait_until
from tests.support.engine import Engine
from tests.support.postgres import held_lock

# More rounds than a webhook has attempts.
ROUNDS = settle.ATTEMPTS_MAX + 3

LOCKS = {
    "payment": "select from payment_transactions where user_id = 'held' for update",
    "wallet": "select from wallets where user_id = 'held' for update",
    "counter": "select from notification_counters for update",
}


@pytest.fixture(autouse=True)
def fresh_episodes() -> None:
    database_trouble.forget_episodes()
    lock_waits.forget_lock()
    postpone.forget_settled()


def open_wallets(shop: Shop, engine: Engine, *users: str) -> None:
    """Settle a first deposit of each user, so that there are wallets and a counter to lock."""
    for user in users:
        shop.deliver(shop.body(shop.deposit(user_id=user)))
    engine.settle()


def writing(databases: Databases, sql: str) -> None:
    """Run a statement although the database is read-only."""
    databases.rows(f"set transaction read write; {sql}")


def work(databases: Databases) -> list[dict[str, object]]:
    return databases.rows("select attempts, postponed, due_at > now() as waits from webhook_work")


def alarms(databases: Databases, kind: str = "database_trouble") -> list[dict[str, str]]:
    return [row["detail"] for row in databases.rows("select detail from alerts where kind = :kind", kind=kind)]


@pytest.mark.serial
@pytest.mark.parametrize("what", LOCKS)
def test_a_lock_that_outlasts_all_attempts_costs_none(databases: Databases, what: str) -> None:
    with databases.open_runtime() as runtime:
        shop, engine = make_shop(runtime), Engine(runtime, databases)
        open_wallets(shop, engine, "held", "free")
        held, free = shop.deposit(user_id="held"), shop.deposit(user_id="free")
        for payment in (held, free):
            shop.deliver(shop.body(payment))
        with held_lock(databases, LOCKS[what]):
            engine.settle()
            assert shop.payment(free.id).status == "completed"
            for _ in range(ROUNDS):
                engine.make_webhooks_due()
                engine.settle()
            if what != "counter":
                assert shop.payment(held.id).status == "pending"
                ((row),) = work(databases)
                assert (row["attempts"], row["waits"]) == (0, True)
                assert int(str(row["postponed"])) > ROUNDS
            late = shop.deposit(user_id="late")
            shop.deliver(shop.body(late))
            began = time.monotonic()
            engine.make_webhooks_due()
            engine.settle()
            # Neither does one lock keep the next webhook waiting for the two seconds of a lock's limit.
            assert time.monotonic() - began < 1.5
            assert shop.payment(late.id).status == "completed"
        engine.make_webhooks_due()
        engine.settle()
        engine.number()
        assert shop.payment(held.id).status == "completed"
        assert databases.value("select count(*) from dead_letters") == 0
        assert databases.value("select count(*) from notification_work") == 0
        assert [alarm["trouble"] for alarm in alarms(databases)] == ["lock"]


# Raised for every payment that would be completed, by its user: what the server says where it cannot be provoked here.
RAISE = """
    create function in_trouble() returns trigger language plpgsql security definer as $$
    begin
        if new.user_id like 'in_trouble%' and new.status = 'completed' then
            raise exception 'trouble' using errcode = '{state}';
        end if;
        return new;
    end $$;
    create trigger in_trouble before update on payment_transactions for each row execute function in_trouble();
"""
STATES = {
    "40001": "lock",
    "40P01": "lock",
    "53100": "resources",
    "53200": "resources",
    "55P03": "lock",
    "57014": "timeout",
    "57P01": "connection",
    "57P03": "connection",
    "58030": "resources",
    "08006": "connection",
    "25006": "read_only",
}


@pytest.mark.parametrize("state", STATES)
def test_no_state_of_the_database_uses_attempts(databases: Databases, state: str) -> None:
    with databases.open_runtime() as runtime:
        shop, engine = make_shop(runtime), Engine(runtime, databases)
        payments = [shop.deposit(user_id=f"in_trouble{number}") for number in range(5)]
        payments.append(shop.deposit(user_id="free"))
        for payment in payments:
            shop.deliver(shop.body(payment))
        databases.rows(RAISE.format(state=state))
        for _ in range(ROUNDS):
            engine.make_webhooks_due()
            engine.settle()
        assert shop.payment(payments[-1].id).status == "completed"
        rows = work(databases)
        assert (len(rows), {row["attempts"] for row in rows}) == (5, {0})
        assert [alarm["trouble"] for alarm in alarms(databases)] == [STATES[state]]
        databases.rows("drop trigger in_trouble on payment_transactions")
        for _ in payments:
            engine.make_webhooks_due()
            engine.settle()
        assert {str(shop.payment(payment.id).status) for payment in payments} == {"completed"}
        assert databases.value("select count(*) from dead_letters") == 0


def test_a_read_only_database_costs_nothing_and_the_alarm_follows(databases: Databases) -> None:
    with databases.open_runtime() as runtime:
        shop = make_shop(runtime)
        payment = shop.deposit()
        shop.deliver(shop.body(payment))
        databases.rows(f"alter database {databases.name} set default_transaction_read_only = on")
        runtime.database.engine.dispose()
        for _ in range(ROUNDS):
            duties.run(runtime, "settle", settle.settle_due)
        writing(databases, f"alter database {databases.name} reset default_transaction_read_only")
        runtime.database.engine.dispose()
        duties.run(runtime, "settle", settle.settle_due)
        assert shop.payment(payment.id).status == "completed"
        assert databases.value("select count(*) from dead_letters") == 0
        assert [alarm["trouble"] for alarm in alarms(databases)] == ["read_only"]


def test_a_claimed_row_that_a_stranger_holds_stops_no_other_and_loses_no_attempt(databases: Databases) -> None:
    with databases.open_runtime() as runtime:
        shop, engine = make_shop(runtime), Engine(runtime, databases)
        held, free = shop.deposit(user_id="held"), shop.deposit(user_id="free")
        for payment in (held, free):
            shop.deliver(shop.body(payment))
        claim = WebhookQueue().claim(runtime)
        assert len(claim) == 2
        lock = "select from webhook_work where payment_id = %s for update"
        with held_lock(databases, lock, held.id):
            settle.settle_claimed(runtime, claim)
            assert (shop.payment(held.id).status, shop.payment(free.id).status) == ("pending", "completed")
            late = shop.deposit(user_id="late")
            shop.deliver(shop.body(late))
            engine.settle()
            assert shop.payment(late.id).status == "completed"
        wait_until(lambda: work(databases)[0]["attempts"] == 0, "the attempt is given back")
        engine.make_webhooks_due()
        engine.settle()
        assert shop.payment(held.id).status == "completed"
        assert databases.value("select count(*) from dead_letters") == 0


# As long as it takes to shut the door while a batch is being settled.
SLOW = """
    create function slow() returns trigger language plpgsql as $$
    begin
        if new.status = 'completed' then perform pg_sleep(60); end if;
        return new;
    end $$;
    create trigger slow before update on payment_transactions for each row execute function slow();
"""


def test_an_outage_that_also_keeps_the_attempt_from_being_given_back_costs_none(
    databases: Databases, servers: Servers
) -> None:
    with databases.open_runtime() as runtime, ThreadPoolExecutor(1) as pool:
        shop, engine = make_shop(runtime), Engine(runtime, databases)
        payments = [shop.deposit(user_id=f"user{number}") for number in range(5)]
        for payment in payments:
            shop.deliver(shop.body(payment))
        databases.rows(SLOW)
        running = pool.submit(duties.run, runtime, "settle", settle.settle_due)
        wait_until(lambda: databases.rows("select from webhook_work where claim_id is not null"), "they are claimed")
        servers.administer(f"alter database {databases.name} with allow_connections false")
        end = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{databases.name}'"
        servers.administer(end)
        running.result()
        servers.administer(f"alter database {databases.name} with allow_connections true")
        databases.rows("drop trigger slow on payment_transactions")
        wait_until(lambda: {row["attempts"] for row in work(databases)} == {0}, "the attempts are given back")
        for _ in payments:
            engine.make_webhooks_due()
            engine.settle()
        assert {str(shop.payment(payment.id).status) for payment in payments} == {"completed"}
        assert databases.value("select count(*) from dead_letters") == 0
        duties.run(runtime, "settle")
        assert [alarm["trouble"] for alarm in alarms(databases)] == ["connection"]


def test_webhooks_that_nobody_here_can_read_spoil_no_batch_and_wait(databases: Databases) -> None:
    with databases.open_runtime() as runtime:
        strange, shop, engine = make_shop(runtime), make_shop(runtime), Engine(runtime, databases)
        payments = [(one, one.deposit()) for one in (strange, shop, strange, shop)]
        for one, payment in payments:
            one.deliver(one.body(payment), path="provider")
        databases.rows("update payment_providers set adapter = 'of_tomorrow' where id = :id", id=strange.provider_id)
        for _ in range(ROUNDS):
            engine.make_webhooks_due()
            engine.settle()
        assert [str(one.payment(payment.id).status) for one, payment in payments] == ["pending", "completed"] * 2
        assert [row["attempts"] for row in work(databases)] == [0, 0]
        assert [alarm["provider_id"] for alarm in alarms(databases, "provider_unusable")] == [str(strange.provider_id)]
        databases.rows("update payment_providers set adapter = 'sandbox' where id = :id", id=strange.provider_id)
        engine.make_webhooks_due()
        engine.settle()
        assert {str(one.payment(payment.id).status) for one, payment in payments} == {"completed"}
        assert databases.value("select count(*) from dead_letters") == 0
