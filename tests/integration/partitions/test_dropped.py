"""Dropping months: refused while anything needs them, recorded in the audit, and only for past months."""

from __future__ import annotations

import psycopg2
import pytest

from app.core.errors import RequestRejected
from app.runtime.runtime import Runtime
from app.services.operators import explain
from app.services.partitions import dropping
from app.services.partitions.listing import show_partitions
from app.services.payments import timeline
from app.services.records import notifications
from app.services.verification import choose_mode, prove, prove_due
from models.partitions import PARTITIONED
from testbed.servers import Databases
from testbed.shop import Shop, make_shop
from tests.support.aging import make_months, month_ago, prove_books
from tests.support.months import ACTOR, drop, homes, month_name, names, pay, pay_for_months

REPLICA = "set session_replication_role = replica; "


def why(databases: Databases, table: str, months: int = 2) -> str:
    """Why the month so many ago would not be dropped."""
    return "; ".join(drop(databases, 1, is_dry_run=True)[month_name(table, months)].why)


@pytest.fixture
def old(databases: Databases, tenant: Shop) -> Shop:
    """Provide a tenant with paid payments two months ago, one month ago and today, sealed and proved."""
    return pay_for_months(databases, tenant)


def test_whole_months_are_dropped_and_the_books_still_hold(databases: Databases, runtime: Runtime, old: Shop) -> None:
    rows = {table: homes(databases, table)[month_name(table, 2)] for table in PARTITIONED}
    entries = databases.rows("select * from wallet_transactions order by id")
    done = drop(databases, 1)
    assert {name: (each.is_dropped, each.rows, each.tenants) for name, each in done.items()} == {
        month_name(table, 2): (True, count, 1) for table, count in rows.items()
    }
    assert not names(databases) & set(done)
    assert prove(runtime.database, "full").is_whole
    assert prove(runtime.database, "incremental").is_whole
    prove_books(databases)
    pay(old)
    prove_books(databases)
    report = prove(runtime.database, "full")
    assert report.counts["seals"] == databases.value("select count(*) from audit_seals")
    assert databases.rows("select * from wallet_transactions where at < now() - interval '1 hour' order by id") == [
        entry for entry in entries if entry["at"] < month_ago(0)
    ]
    kept = databases.value(
        "select count(*) from webhook_keys where webhook_id < first_id(:at)", at=month_ago(1).replace(day=1, hour=0)
    )
    assert kept == rows["payment_webhooks"]


def test_each_drop_is_recorded_in_the_chain(databases: Databases, runtime: Runtime, old: Shop) -> None:
    other = make_shop(runtime)
    prove_books(databases)
    drop(databases, 1)
    reported = databases.rows(
        "select tenant_id, actor, detail from audit_logs where kind = 'partition_dropped' order by id"
    )
    assert [(row["tenant_id"], row["actor"]) for row in reported] == [(old.tenant_id, ACTOR)] * 3
    assert [row["detail"]["table"] for row in reported] == list(PARTITIONED)
    assert {row["detail"]["begins_at"] for row in reported} == {f"{month_ago(2):%Y-%m}-01"}
    assert {row["detail"]["ends_at"] for row in reported} == {f"{month_ago(1):%Y-%m}-01"}
    assert databases.value("select count(*) from dropped_partitions where tenant_id = :id", id=other.tenant_id) == 0


def test_drops_follow_one_from_the_other(databases: Databases, runtime: Runtime, old: Shop) -> None:
    drop(databases, 1)
    prove_books(databases)
    drop(databases, 0)
    prove_books(databases)
    assert databases.value("select count(*) from dropped_partitions") == 6
    assert homes(databases, "payment_webhooks").keys() == {month_name("payment_webhooks", 0)}
    assert prove_due(runtime).is_whole


def test_a_dry_run_changes_nothing(databases: Databases, old: Shop) -> None:
    before = names(databases)
    done = drop(databases, 0, is_dry_run=True)
    assert len(done) == 2 * len(PARTITIONED)
    assert not any(each.is_dropped or each.why for each in done.values())
    assert names(databases) == before
    assert databases.value("select count(*) from dropped_partitions") == 0


def test_the_list_shows_what_is_dropped_first(runtime: Runtime, old: Shop) -> None:
    shown = {row["name"]: row for row in show_partitions(runtime)}
    for table in PARTITIONED:
        assert shown[month_name(table, 2)]["droppable"]
        assert shown[month_name(table, 1)]["why"] == [f"{month_name(table, 2)} is older and goes first"]
        assert shown[month_name(table, 0)]["why"] == ["its month is not over"]
        assert not shown[f"{table}_default"]["droppable"]
    assert shown[month_name("audit_logs", 2)]["bytes"] > 0


NEEDS: dict[str, tuple[str, str, str]] = {
    "unsettled webhook": (
        "payment_webhooks",
        "insert into webhook_work (webhook_id, tenant_id)"
        " select id, tenant_id from payment_webhooks order by id limit 1",
        "1 webhooks are not settled",
    ),
    "open dead letter of a webhook": (
        "payment_webhooks",
        "insert into dead_letters (id, tenant_id, kind, webhook_id, reason, detail)"
        " select gen_random_uuid(), tenant_id, 'webhook', id, 'unusable', '' from payment_webhooks order by id limit 1",
        "1 dead letters are open",
    ),
    "open case": (
        "audit_logs",
        "insert into dead_letters (id, tenant_id, kind, payment_id, reason, detail) select gen_random_uuid(),"
        " tenant_id, 'reconciliation', id, 'differs', '' from payment_transactions order by id limit 1",
        "1 dead letters are open",
    ),
    "open payment": (
        "notifications",
        "update wallet_temp_logs set state = 'held' where payment_id = (select min(payment_id::text)::uuid from"
        " wallet_temp_logs)",
        "1 payments are open",
    ),
    "notification without a number": (
        "notifications",
        "insert into notification_work (notification_id, tenant_id, user_id) select id, tenant_id, user_id"
        " from notifications order by id limit 1",
        "1 notifications have no number",
    ),
    "books not proved": ("audit_logs", "delete from verification_places", "books are not proved"),
    "last seal not proved": ("audit_logs", "update verification_chains set seal_number = 0", "not proved"),
    "webhook missing": (
        "payment_webhooks",
        "delete from payment_webhooks where id = (select id from payment_webhooks order by id limit 1)",
        "1 rows, 2 deliveries answered",
    ),
    "webhook of no key": (
        "payment_webhooks",
        "delete from webhook_keys where webhook_id = (select id from payment_webhooks order by id limit 1)",
        "2 rows, 1 deliveries answered",
    ),
    "notification missing": (
        "notifications",
        "delete from notifications where id = (select id from notifications order by id limit 1)",
        "1 rows, 2 numbers",
    ),
    "audit row missing": (
        "audit_logs",
        "delete from audit_logs where id = (select id from audit_logs order by at offset 2 limit 1)",
        "rows sealed",
    ),
    "audit row put in": (
        "audit_logs",
        "insert into audit_logs (tenant_id, at, actor, kind, detail) select tenant_id, at, '', '', '{}' from audit_logs"
        " order by at limit 1",
        "rows sealed",
    ),
}


@pytest.mark.parametrize("need", NEEDS)
def test_a_month_that_something_needs_stays(databases: Databases, old: Shop, need: str) -> None:
    table, statement, words = NEEDS[need]
    databases.rows(REPLICA + statement)
    assert words in why(databases, table)
    drop(databases, 1)
    assert month_name(table, 2) in names(databases)
    # What is younger is not dropped past it, in the same table.
    drop(databases, 0)
    assert month_name(table, 1) in names(databases)


def test_the_present_month_is_never_dropped(databases: Databases, old: Shop) -> None:
    done = drop(databases, -2)
    assert done[month_name("audit_logs", 0)].why == ("its month is not over",)
    assert {month_name(table, 0) for table in PARTITIONED} <= names(databases)
    assert {f"{table}_default" for table in PARTITIONED} <= names(databases)


def test_a_partition_in_use_is_left_alone(databases: Databases, old: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropping, "LOCK_TRIES", 2)
    reader = psycopg2.connect(databases.superuser_url)
    with reader, reader.cursor() as cursor:
        cursor.execute("select count(*) from payment_webhooks")
        with pytest.raises(RequestRejected, match="payment_webhooks stays in use; nothing of it was dropped"):
            drop(databases, 1)
        # Transactions that waited for the attempt's lock have continued.
        pay(old)
    reader.close()
    assert month_name("payment_webhooks", 2) in names(databases)
    assert databases.value("select count(*) from dropped_partitions") == 0
    assert drop(databases, 1)[month_name("payment_webhooks", 2)].is_dropped


def test_explanations_of_old_payments_are_shorter(databases: Databases, runtime: Runtime, old: Shop) -> None:
    payment_id = databases.value("select id from payment_transactions order by created_at limit 1")
    drop(databases, 1)
    story = explain.read_story(runtime, payment_id)
    assert [event["kind"] for event in story["events"]] == ["entry", "entry"]
    assert [e["kind"] for e in timeline.read_timeline(runtime.database, old.tenant_id, payment_id)] == ["entry"] * 2


def test_notifications_begin_with_the_oldest_held(databases: Databases, runtime: Runtime, old: Shop) -> None:
    before = notifications.read_after(runtime.database, old.tenant_id, None, 0, 100)
    assert [row["id"] for row in before] == [1, 2, 3, 4, 5]
    drop(databases, 1)
    held = databases.rows("select held_after, last_number from notification_counters")
    assert held == [{"held_after": 2, "last_number": 5}]
    assert notifications.read_after(runtime.database, old.tenant_id, None, 0, 100) == before[2:]
    assert notifications.read_after(runtime.database, old.tenant_id, "bob", 0, 100) == [before[3]]
    pay(old)
    assert [row["id"] for row in notifications.read_after(runtime.database, old.tenant_id, None, 5, 100)] == [6]


def test_one_command_at_a_time(databases: Databases, old: Shop) -> None:
    other = psycopg2.connect(databases.owner_database_url)
    with other, other.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext('drop_partitions'))")
        with pytest.raises(RequestRejected, match="Another process is dropping"):
            drop(databases, 1)
    other.close()


def test_empty_months_go_without_a_word(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    pay(tenant)
    make_months(databases, 3)
    prove_books(databases)
    done = drop(databases)
    assert len(done) == 9
    assert all(each.is_dropped and each.rows == 0 for each in done.values())
    assert databases.value("select count(*) from dropped_partitions") == 0
    assert prove(runtime.database, choose_mode(runtime.database)).is_whole
