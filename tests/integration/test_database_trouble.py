"""Trouble of the database: what it stops waits without losing an attempt, the rest goes on, one alarm is raised."""

from __future__ import annotations

import time

import pytest

from app.services import database_trouble, duties, postponing, settling
from tests.support.engine import Engine
from tests.support.locking import held_lock
from tests.support.servers import Place
from tests.support.shop import Shop, make_shop

# More rounds than a webhook has attempts.
ROUNDS = settling.ATTEMPTS_MAX + 3

LOCKS = {
    "payment": "select from payment_transactions where user_id = 'held' for update",
    "wallet": "select from wallets where user_id = 'held' for update",
    "counter": "select from notification_counters for update",
}


@pytest.fixture(autouse=True)
def fresh_episodes() -> None:
    database_trouble.forget_episodes()
    postponing.forget_moments()


def open_wallets(shop: Shop, engine: Engine, *users: str) -> None:
    """Settles a first deposit of each user, so that there are wallets and a counter to lock."""
    for user in users:
        shop.deliver(shop.body(shop.deposit(user_id=user)))
    engine.settle()


def writing(place: Place, sql: str) -> None:
    """Runs a statement although the database is read-only."""
    place.rows(f"set transaction read write; {sql}")


def work(place: Place) -> list[dict[str, object]]:
    return place.rows("select attempts, postponed, due_at > now() as waits from webhook_work")


def alarms(place: Place, kind: str = "database_trouble") -> list[dict[str, str]]:
    return [row["detail"] for row in place.rows("select detail from alerts where kind = :kind", kind=kind)]


@pytest.mark.parametrize("what", LOCKS)
def test_a_lock_that_outlasts_all_attempts_costs_none(place: Place, what: str) -> None:
    with place.open_runtime() as runtime:
        shop, engine = make_shop(runtime), Engine(runtime, place)
        open_wallets(shop, engine, "held", "free")
        held, free = shop.deposit(user_id="held"), shop.deposit(user_id="free")
        for payment in (held, free):
            shop.deliver(shop.body(payment))
        with held_lock(place, LOCKS[what]):
            engine.settle()
            assert shop.payment(free.id).status == "completed"
            for _ in range(ROUNDS):
                engine.make_webhooks_due()
                engine.settle()
            if what != "counter":
                assert shop.payment(held.id).status == "pending"
                ((row),) = work(place)
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
        assert place.value("select count(*) from dead_letters") == 0
        assert place.value("select count(*) from notification_work") == 0
        assert [alarm["trouble"] for alarm in alarms(place)] == ["lock"]


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
def test_no_state_of_the_database_uses_attempts(place: Place, state: str) -> None:
    with place.open_runtime() as runtime:
        shop, engine = make_shop(runtime), Engine(runtime, place)
        payments = [shop.deposit(user_id=f"in_trouble{number}") for number in range(5)]
        payments.append(shop.deposit(user_id="free"))
        for payment in payments:
            shop.deliver(shop.body(payment))
        place.rows(RAISE.format(state=state))
        for _ in range(ROUNDS):
            engine.make_webhooks_due()
            engine.settle()
        assert shop.payment(payments[-1].id).status == "completed"
        rows = work(place)
        assert (len(rows), {row["attempts"] for row in rows}) == (5, {0})
        assert [alarm["trouble"] for alarm in alarms(place)] == [STATES[state]]
        place.rows("drop trigger in_trouble on payment_transactions")
        for _ in payments:
            engine.make_webhooks_due()
            engine.settle()
        assert {str(shop.payment(payment.id).status) for payment in payments} == {"completed"}
        assert place.value("select count(*) from dead_letters") == 0


def test_a_read_only_database_costs_nothing_and_the_alarm_follows(place: Place) -> None:
    with place.open_runtime() as runtime:
        shop = make_shop(runtime)
        payment = shop.deposit()
        shop.deliver(shop.body(payment))
        place.rows(f"alter database {place.name} set default_transaction_read_only = on")
        runtime.database.engine.dispose()
        for _ in range(ROUNDS):
            duties.run(runtime, "settle", settling.settle_due)
        writing(place, f"alter database {place.name} reset default_transaction_read_only")
        runtime.database.engine.dispose()
        duties.run(runtime, "settle", settling.settle_due)
        assert shop.payment(payment.id).status == "completed"
        assert place.value("select count(*) from dead_letters") == 0
        assert [alarm["trouble"] for alarm in alarms(place)] == ["read_only"]
