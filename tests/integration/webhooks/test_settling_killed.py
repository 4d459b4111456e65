"""Real worker processes, killed in the middle of their work: nothing is lost, nothing happens twice."""

from __future__ import annotations

import signal

import psutil

from app.core.payment import Payment
from testbed.servers import Databases
from testbed.shop import Shop
from testbed.stack import Stack
from testbed.waiting import wait_until

# Holds the settling transaction open at its last write, between claim and commit, for the marked user only.
BRAKE = """
    create table brake (is_on boolean);
    insert into brake values (true);
    grant select on brake to public;
    create function hold_up() returns trigger language plpgsql as $$
    begin
        if exists (select from wallets w where w.id = new.wallet_id and w.user_id = 'slow')
           and (select is_on from brake) then
            perform pg_sleep(60);
        end if;
        return new;
    end $$;
    create trigger hold_up before insert on wallet_transactions for each row execute function hold_up();
"""
SLEEPING = "select count(*) from pg_stat_activity where datname = :name and wait_event = 'PgSleep'"


def pay(shop: Shop, count: int) -> list[Payment]:
    payments = [shop.deposit(user_id="slow") for _ in range(count)]
    for payment in payments:
        shop.deliver(shop.body(payment))
    return payments


def credits(databases: Databases) -> int:
    return int(databases.value("select count(*) from wallet_transactions where direction = 1"))


def test_a_worker_killed_between_claim_and_commit_loses_nothing(stack: Stack) -> None:
    databases, shop = stack.databases, stack.make_shop()
    databases.rows(BRAKE)
    payments = pay(shop, 5)
    stack.start("worker-settle")
    wait_until(lambda: databases.value(SLEEPING, name=databases.name), "the worker is in the middle of its transaction")
    assert databases.value("select count(*) from webhook_work where claim_id is not null") == 5
    stack.stop("worker-settle", sign=signal.SIGKILL)
    # The server sees the broken connection at its next read; a crashed machine's would be cut off by keep-alive.
    databases.rows("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'")
    databases.rows("update brake set is_on = false")
    wait_until(lambda: not databases.value(SLEEPING, name=databases.name), "its transaction is gone")
    assert credits(databases) == 0
    assert {str(shop.payment(payment.id).status) for payment in payments} == {"pending"}
    # The lease is still the dead worker's; a new worker takes over once it is over.
    databases.rows("update webhook_work set due_at = now() - interval '1 second', leased_until = null")
    stack.start("worker-settle")
    wait_until(lambda: credits(databases) == 5, "everything is credited")
    assert {str(shop.payment(payment.id).status) for payment in payments} == {"completed"}
    assert databases.value("select count(*) from webhook_work") == 0
    legs = "select sum(direction * amount_minor) as sum, count(*) as legs from wallet_transactions group by transfer_id"
    # The dead worker's claim made them suspect, so that each was settled in a transaction of its own.
    assert databases.rows(legs) == [{"sum": 0, "legs": 2}] * 5
    assert databases.rows("select distinct verdict from payment_webhooks") == [{"verdict": "applied"}]


def test_a_worker_that_dies_while_it_works_is_replaced_by_its_parent(stack: Stack) -> None:
    databases, shop = stack.databases, stack.make_shop()
    if "worker-settle" not in stack.running:
        stack.start("worker-settle")
    databases.rows("update brake set is_on = true")
    before = credits(databases)
    payments = pay(shop, 3)
    wait_until(lambda: databases.value(SLEEPING, name=databases.name), "a child is in the middle of its transaction")
    children = psutil.Process(stack.running["worker-settle"].pid).children(recursive=True)
    busy = [child for child in children if not child.children()]
    for child in busy:
        child.kill()
    databases.rows("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'")
    databases.rows("update brake set is_on = false")
    databases.rows("update webhook_work set due_at = now() - interval '1 second', leased_until = null")

    def is_credited() -> bool:
        # What beat does every two seconds: ring for what is due.
        stack.runtime.doorbells.ring_regardless("settle")
        return credits(databases) >= before + 3

    wait_until(is_credited, "the new child settles what the dead one held")
    assert credits(databases) == before + 3
    assert {str(shop.payment(payment.id).status) for payment in payments} == {"completed"}
