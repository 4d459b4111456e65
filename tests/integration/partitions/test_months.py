"""Partitions: created ahead while work continues, guarded like their table, scanned only where they must be."""

from __future__ import annotations

import datetime
import threading
import uuid
from typing import Any

import psycopg2
import pytest

from app.doctor.partitions import examine_partitions
from app.runtime.runtime import Runtime
from app.services.upkeep import sweep
from app.services.verification import prove
from app.services.webhooks import settle
from models.migrations import make_partitions, upgrade
from models.partitions import PARTITIONED
from testbed.servers import Databases
from testbed.shop import Shop
from tests.integration.models.test_schema import ROLES, attempt
from tests.support import books
from tests.support.aging import make_months, month_ago
from tests.support.months import homes, month_name, names

# With this month and the two after it.
AHEAD = 3


def far_id(milliseconds: int) -> uuid.UUID:
    """Return a time-ordered id of that moment."""
    return uuid.UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | uuid.uuid4().int & 0xFFFF)


def test_the_months_to_come_have_theirs(databases: Databases) -> None:
    wanted = {month_name(table, -ahead) for table in PARTITIONED for ahead in range(AHEAD)}
    assert names(databases) == wanted | {f"{table}_default" for table in PARTITIONED}
    keys = databases.rows("select partrelid::regclass::text as name, pg_get_partkeydef(partrelid) as key"
                      " from pg_partitioned_table")  # fmt: skip
    assert {row["name"]: row["key"] for row in keys} == {
        "payment_webhooks": "RANGE (id)",
        "notifications": "RANGE (id)",
        "audit_logs": "RANGE (at)",
    }


def test_housekeeping_makes_what_is_missing_and_nothing_twice(databases: Databases, runtime: Runtime) -> None:
    before = names(databases)
    gone = {month_name(table, -ahead) for table in PARTITIONED for ahead in (1, 2)}
    for name in gone:
        databases.rows(f"drop table {name}")
    sweep.housekeep(runtime)
    assert names(databases) == before
    oids = databases.rows("select oid, relname from pg_class where relname like 'audit_logs%' order by oid")
    sweep.housekeep(runtime)
    assert databases.rows("select oid, relname from pg_class where relname like 'audit_logs%' order by oid") == oids
    assert databases.value("select count(*) from heartbeats where name in ('partitions', 'analyze')") == 2
    described = "select count(*) from pg_stats where tablename = 'audit_logs' and inherited"
    assert databases.value(described) == 0  # Nothing was there to be analyzed.


def test_the_planner_has_statistics_over_all_months(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    tenant.deposit()
    sweep.housekeep(runtime)
    assert databases.value("select count(*) from pg_stats where tablename = 'audit_logs' and inherited") > 5


def test_the_worker_may_make_no_other_change(databases: Databases) -> None:
    for statement in (
        "select make_partition('audit_logs', date '2020-01-01')",
        "select take_along_default_rows()",
        "create table public.mine (id integer)",
        f"drop table {month_name('audit_logs', 0)}",
    ):
        refused = attempt(databases, "worker", statement)
        assert "permission denied" in refused or "must be owner" in refused, statement
    for role in ("web", "door", "operator", "clerk"):
        assert "permission denied" in attempt(databases, role, "select keep_partitions()")


@pytest.mark.parametrize("table", PARTITIONED)
def test_a_partition_lets_nobody_in_by_its_own_name(databases: Databases, tenant: Shop, table: str) -> None:
    books.complete(tenant, tenant.deposit())
    books.settle(tenant.runtime)
    make_months(databases, 1)
    for name in (month_name(table, 0), month_name(table, 1), f"{table}_default"):
        guard = databases.rows(
            "select relrowsecurity and relforcerowsecurity as is_forced, array_to_string(reloptions, ' ') as options"
            " from pg_class where relname = :name", name=name
        )[0]  # fmt: skip
        assert guard["is_forced"]
        assert "autovacuum_vacuum_scale_factor=0.02" in guard["options"]
        assert ("fillfactor=45" in guard["options"]) == (table == "payment_webhooks")
        for role in ROLES:
            for statement in (f"select * from {name}", f"delete from {name}", f"truncate {name}"):
                assert "permission denied" in attempt(databases, role, statement, tenant.tenant_id), (role, statement)


def test_every_partition_of_the_audit_only_grows(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    make_months(databases, 1)
    for months in (0, 1):
        at = "now()" if months == 0 else f"timestamptz '{month_ago(1)}'"
        databases.rows(
            f"insert into audit_logs (tenant_id, at, actor, kind, detail) values (:id, {at}, 'a', 'b', '{{}}')",
            id=tenant.tenant_id,
        )
        name = month_name("audit_logs", months)
        for role in ("owner", "super"):
            for deed in (f"update {name} set actor = ''", f"delete from {name}", f"truncate {name}"):
                assert "append-only" in attempt(databases, role, deed), (role, deed)
    assert attempt(databases, "super", "truncate audit_logs_default") != ""
    # A row that is put into a partition by name is sealed like every other.
    databases.rows(
        f"insert into {month_name('audit_logs', 0)} (tenant_id, actor, kind, detail) values (:id, 'a', 'b', '{{}}')",
        id=tenant.tenant_id,
    )
    assert prove(runtime.database, "full").is_whole


def test_a_seal_is_of_one_month(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    make_months(databases, 1)
    tenant.deposit()
    for at in (month_ago(1), month_ago(0), month_ago(1)):
        databases.rows(
            "insert into audit_logs (tenant_id, at, actor, kind, detail) values (:id, :at, 'a', 'b', '{}')",
            id=tenant.tenant_id, at=at,
        )  # fmt: skip
    months = databases.rows(
        "select s.number, count(distinct date_trunc('month', a.at)) as months from audit_seals s"
        " join audit_logs a on a.id = any(s.audit_ids) group by 1"
    )
    assert {row["months"] for row in months} == {1}
    assert prove(runtime.database, "full").is_whole


def astray(databases: Databases, tenant: Shop, ids: list[uuid.UUID]) -> None:
    """Store webhooks with the ids of clocks that are wrong."""
    for webhook_id in ids:
        databases.rows(
            "with k as (insert into webhook_keys (provider_id, external_id, tenant_id, body_sha256, webhook_id)"
            " values (:provider, :name, :tenant, sha256(''), :id))"
            " insert into payment_webhooks (id, tenant_id, provider_id, external_id, path, body, headers, body_sha256,"
            " remote_address, status, verdict, settled_at)"
            " values (:id, :tenant, :provider, :name, 'provider', '', '{}', sha256(''), '::1', 'processed', 'ignored',"
            " now())",
            id=webhook_id, tenant=tenant.tenant_id, provider=tenant.provider_id, name=str(webhook_id),
        )  # fmt: skip


def test_rows_of_no_partition_are_kept_reported_and_moved(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    past, future, timeless = month_ago(2), month_ago(-30), uuid.uuid4()
    stamped = [far_id(int(moment.timestamp() * 1000)) for moment in (past, future)]
    astray(databases, tenant, [*stamped, timeless])
    databases.rows(
        "insert into audit_logs (tenant_id, at, actor, kind, detail) values (:id, :at, 'a', 'b', '{}')",
        id=tenant.tenant_id, at=past,
    )  # fmt: skip
    assert homes(databases, "payment_webhooks") == {"payment_webhooks_default": 3}
    findings = {finding.check: finding for finding in examine_partitions(runtime)}
    assert "3 of payment_webhooks, 1 of audit_logs" in findings["Default partitions"].detail
    made = make_partitions(databases.owner_database_url)
    assert set(made) == {month_name("payment_webhooks", 2), month_name("audit_logs", 2)}
    assert homes(databases, "payment_webhooks") == {month_name("payment_webhooks", 2): 1, "payment_webhooks_default": 2}
    assert homes(databases, "audit_logs")[month_name("audit_logs", 2)] == 1
    assert "append-only" in attempt(databases, "owner", f"delete from {month_name('audit_logs', 2)}")
    assert "append-only" in attempt(databases, "owner", "insert into audit_logs_default (tenant_id, at, actor, kind,"
                                    f" detail) values ('{tenant.tenant_id}', '2001-01-01', '', '', '{{}}');"
                                    " delete from audit_logs_default")  # fmt: skip
    report = prove(runtime.database, "full")
    assert report.is_whole, report.as_json()


def test_a_month_whose_rows_lie_in_the_default_waits_for_the_owner(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    name = month_name("payment_webhooks", -1)
    databases.rows(f"drop table {name}")
    astray(databases, tenant, [far_id(int(month_ago(-1).timestamp() * 1000))])
    sweep.housekeep(runtime)
    assert name not in names(databases)
    (first, *_) = examine_partitions(runtime)
    assert (first.level, name.removeprefix("payment_webhooks_").replace("_", "-") in first.detail) == ("warn", True)
    upgrade(databases.owner_database_url, databases.database_url)
    assert homes(databases, "payment_webhooks") == {name: 1}
    assert [finding.level for finding in examine_partitions(runtime)] == ["ok"]


def test_the_doctor_misses_this_month(databases: Databases, runtime: Runtime) -> None:
    databases.rows(f"drop table {month_name('notifications', 0)}")
    (first, *_) = examine_partitions(runtime)
    assert first.level == "fail"
    assert "notifications" in first.detail


@pytest.mark.serial
def test_a_long_reader_holds_up_neither_intake_nor_housekeeping(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    for ahead in (1, 2):
        databases.rows(f"drop table {month_name('payment_webhooks', -ahead)}")
    payment = tenant.deposit()
    reader = psycopg2.connect(databases.superuser_url)
    with reader, reader.cursor() as cursor:
        cursor.execute("select count(*) from payment_webhooks")
        started = datetime.datetime.now(datetime.UTC)
        sweep.housekeep(runtime)
        assert month_name("payment_webhooks", -1) not in names(databases)
        tenant.deliver(tenant.body(payment))
        settle.settle_due(runtime)
        # Ten times as long as housekeeping may wait for its lock.
        assert datetime.datetime.now(datetime.UTC) - started < datetime.timedelta(seconds=1)
    reader.close()
    sweep.housekeep(runtime)
    assert month_name("payment_webhooks", -2) in names(databases)


def test_webhooks_come_in_and_are_settled_while_partitions_are_made(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    payments = [tenant.deposit(user_id=f"user-{number}") for number in range(60)]
    failures: list[BaseException] = []

    def take(some: list[Any]) -> None:
        try:
            for payment in some:
                books.complete(tenant, payment)
                books.settle(runtime)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=take, args=(payments[number::3],)) for number in range(3)]
    for thread in threads:
        thread.start()
    make_months(databases, 24)
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(names(databases)) == len(PARTITIONED) * (24 + AHEAD + 1)
    assert databases.value("select count(*) from payment_transactions where status = 'completed'") == 60
    assert prove(runtime.database, "full").is_whole
