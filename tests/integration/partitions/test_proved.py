"""The proof of the books after months were dropped: it holds, and finds all that is spoiled as before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from app.runtime.runtime import Runtime
from app.services.verification import prove, prove_due
from models import Database
from testbed.servers import Databases
from testbed.shop import Shop
from tests.integration.models.test_schema import ROLES, attempt
from tests.support import books
from tests.support.aging import prove_books
from tests.support.months import drop, month_name, pay, pay_for_months


def broken(database: Database, mode: str = "full") -> set[str]:
    """Return the statements that a proof finds broken."""
    return {each.statement for each in prove(database, mode).broken.values()}  # type: ignore[arg-type]


@contextmanager
def spoiled(databases: Databases, *statements: str) -> Iterator[Database]:
    """Provide the database after some statements of a superuser, for the length of the block."""
    superuser = Database(databases.superuser_url, 1)
    with books.spoil(superuser, list(statements)) as found:
        yield found
    superuser.engine.dispose()


@pytest.fixture
def old(databases: Databases, tenant: Shop) -> Shop:
    """Provide a tenant with paid payments two months ago, one month ago and today, sealed and proved."""
    return pay_for_months(databases, tenant)


def test_payments_continue_and_the_proof_holds_while_months_are_dropped(
    databases: Databases, runtime: Runtime, old: Shop
) -> None:
    is_done = threading.Event()
    wrong: list[object] = []

    def go_on(deed: Callable[[], object]) -> None:
        while not is_done.is_set():
            try:
                found = deed()
                wrong.extend([found] if found else [])
            except BaseException as error:
                wrong.append(error)

    threads = [
        threading.Thread(target=go_on, args=(deed,))
        for deed in (
            lambda: pay(old) and None,
            lambda: broken(runtime.database),
            lambda: prove_due(runtime).broken,
        )
    ]
    for thread in threads:
        thread.start()
    dropped = drop(databases, 1)
    is_done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(each.is_dropped for each in dropped.values())
    assert prove(runtime.database, "full").is_whole


def test_a_partition_that_vanished_without_a_record_is_broken(databases: Databases, old: Shop) -> None:
    expected = {
        "payment_webhooks": {"every delivery that was answered has its webhook",
                             "a decision's webhook is in the inbox, of the same tenant and provider"},
        "notifications": {"every number has its notification, of the same tenant and user, about a payment of theirs",
                          "the notifications that were decided exist, and no others"},
        "audit_logs": {"a sealed audit row exists", "a payment is as its last audit row says"},
    }  # fmt: skip
    for table, found in expected.items():
        with spoiled(databases, f"drop table {month_name(table, 2)}") as database:
            assert found <= broken(database), table


AFTER: dict[str, tuple[str, str]] = {
    "row of a held month removed": (
        "delete from audit_logs where id = (select id from audit_logs order by at limit 1)",
        "a sealed audit row exists",
    ),
    "held month dropped with no record": ("drop table {held}", "a sealed audit row exists"),
    "webhook of a held month removed": (
        "delete from payment_webhooks where id = (select id from payment_webhooks order by id limit 1)",
        "every delivery that was answered has its webhook",
    ),
    "record widened": (
        "update dropped_partitions set ends_at = ends_at + interval '1 month' where table_name = 'payment_webhooks'",
        "each drop is recorded by an audit row in the chain of seals, and chained to the one before",
    ),
    "record of the audit widened": (
        "update dropped_partitions set ends_at = ends_at + interval '1 month' where table_name = 'audit_logs'",
        "the seals of dropped audit rows are as many rows as were dropped",
    ),
    "record removed": (
        "delete from dropped_partitions where table_name = 'payment_webhooks'",
        "each drop is recorded by an audit row in the chain of seals, and chained to the one before",
    ),
    "last record removed": (
        "delete from dropped_partitions where table_name = 'audit_logs'",
        "a sealed audit row exists",
    ),
    "record without an audit row": (
        "insert into dropped_partitions (tenant_id, audit_id, audit_at, actor, table_name, begins_at, ends_at,"
        " row_count, previous_sha256) select tenant_id, 999999, now(), actor, table_name, ends_at,"
        " ends_at + interval '1 month', 2, previous_sha256 from dropped_partitions where table_name = 'notifications'",
        "each drop is recorded by an audit row in the chain of seals, and chained to the one before",
    ),
    "row of a dropped month put back": (
        "insert into audit_logs (tenant_id, at, actor, kind, detail) select tenant_id, begins_at, '', '', '{{}}'"
        " from dropped_partitions limit 1",
        "a partition that is recorded as dropped is gone as a whole",
    ),
    "credit of another day": (
        "update wallet_transactions set at = now() where id = (select id from wallet_transactions order by at limit 1)",
        "every entry is in one audit row with the same content, and the other way round",
    ),
    "credit changed": (
        "update wallets set balance_minor = balance_minor + 1 where kind = 'user'",
        "a wallet's balance and version are those of its last entry",
    ),
}


def test_what_is_spoiled_after_a_drop_is_named(databases: Databases, old: Shop) -> None:
    drop(databases, 1)
    prove_books(databases)
    for name, (statement, what) in AFTER.items():
        with spoiled(databases, statement.format(held=month_name("audit_logs", 1))) as database:
            assert what in broken(database), name
            if "record" in name and "no record" not in name and name != "last record removed":
                assert what in broken(database, "incremental"), name


def test_the_record_is_append_only_and_not_the_tenants(databases: Databases, old: Shop) -> None:
    drop(databases, 1)
    for deed in ("update dropped_partitions set row_count = 0", "delete from dropped_partitions",
                 "truncate dropped_partitions"):  # fmt: skip
        for role in (*ROLES, "owner", "super"):
            expected = "append-only" if role in ("owner", "super") else "permission denied"
            assert expected in attempt(databases, role, deed, old.tenant_id), (role, deed)
    for role in ("web", "door", "worker", "clerk"):
        assert "permission denied" in attempt(databases, role, "select * from dropped_partitions", old.tenant_id)


def test_seals_of_a_drop_are_counted_until_it_is_proved(databases: Databases, old: Shop) -> None:
    counted = "the seals of dropped audit rows are as many rows as were dropped"
    widen, _ = AFTER["record of the audit widened"]
    drop(databases, 1)
    prove_books(databases)
    with spoiled(databases, widen) as database:
        assert counted in broken(database, "incremental")
    later = "update verification_places set webhooks_until = webhooks_until + interval '2 hours'"
    with spoiled(databases, widen, later) as database:
        assert counted not in broken(database, "incremental")
        assert AFTER["record widened"][1] in broken(database, "incremental")
        assert counted in broken(database, "full")
