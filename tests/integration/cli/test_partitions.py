"""`sluice partitions` on a real database."""

from __future__ import annotations

import pytest

from models.partitions import PARTITIONED
from testbed.servers import Databases
from testbed.shop import Shop
from tests.support.aging import month_ago
from tests.support.commands import LOCAL, Commands
from tests.support.months import month_name, names, pay_for_months


@pytest.fixture
def commands(databases: Databases) -> Commands:
    """Provide the command line on databases of the test's own."""
    return Commands(databases)


@pytest.fixture
def old(databases: Databases, tenant: Shop) -> Shop:
    """Provide a tenant with payments of three months."""
    return pay_for_months(databases, tenant)


def first_of(months: int) -> str:
    """Return the first day of the month so many before this one."""
    return f"{month_ago(months):%Y-%m}-01"


def test_partitions_are_listed(commands: Commands, databases: Databases, old: Shop) -> None:
    listed = commands.json("partitions")["data"]
    assert {row["name"] for row in listed} == names(databases)
    assert listed == commands.json("partitions", "list")["data"]
    oldest = next(row for row in listed if row["name"] == month_name("audit_logs", 2))
    assert set(oldest) == {
        *("table", "name", "from", "to", "rows", "bytes", "open_cases", "droppable", "why"),
    }
    assert (oldest["from"], oldest["to"]) == (first_of(2), first_of(1))
    assert (oldest["droppable"], oldest["why"]) == (True, [])
    table = commands.text("partitions")
    assert f"{month_name('audit_logs', 1)} " in table
    assert "its month is not over" in table


def test_a_dry_run_only_reports(commands: Commands, databases: Databases, old: Shop) -> None:
    before = names(databases)
    reported = commands.json("partitions", "drop", "--before", first_of(1), "--dry-run")
    assert reported["dry_run"] is True
    assert [(row["name"], row["dropped"], row["why"]) for row in reported["data"]] == [
        (month_name(table, 2), False, []) for table in PARTITIONED
    ]
    assert "3 partitions would be dropped." in commands.text("partitions", "drop", "--keep-months", "1", "--dry-run")
    assert names(databases) == before


def test_months_are_dropped_after_a_question(commands: Commands, databases: Databases, old: Shop) -> None:
    refused = commands.run("partitions", "drop", "--keep-months", "1", stdin="n\n")
    assert (refused.exit_code, "cannot be undone" in refused.output) == (1, True)
    assert month_name("audit_logs", 2) in names(databases)
    done = commands.run("partitions", "drop", "--keep-months", "1", stdin="y\n")
    assert (done.exit_code, "3 partitions were dropped." in done.stdout) == (0, True)
    assert not {month_name(table, 2) for table in PARTITIONED} & names(databases)
    assert {month_name(table, 1) for table in PARTITIONED} <= names(databases)
    actor = databases.rows("select distinct actor from dropped_partitions")[0]["actor"]
    assert actor == LOCAL
    assert commands.json("verify", "--full")["ok"] is True


def test_json_takes_yes(commands: Commands, databases: Databases, old: Shop) -> None:
    said = commands.error("partitions", "drop", "--before", first_of(0), "--json", code=2)
    assert "--yes or --dry-run" in said
    done = commands.json("partitions", "drop", "--before", first_of(0), "--yes")
    assert [row["dropped"] for row in done["data"]] == [True] * 6
    assert [row["rows"] > 0 for row in done["data"]] == [True] * 6
    assert commands.json("partitions", "drop", "--before", first_of(0), "--yes")["data"] == []


def test_what_keeps_a_month_is_said_and_nobody_asked(commands: Commands, databases: Databases, old: Shop) -> None:
    databases.rows("delete from verification_places")
    done = commands.run("partitions", "drop", "--before", first_of(1))
    assert done.exit_code == 0
    assert "books are not proved since (sluice verify)" in done.stdout
    assert "0 partitions would be dropped." in done.stdout
    assert month_name("audit_logs", 2) in names(databases)


@pytest.mark.parametrize("options", [(), ("--before", "2026-01-01", "--keep-months", "3"), ("--keep-months", "0")])
def test_wrong_usage(commands: Commands, databases: Databases, options: tuple[str, ...]) -> None:
    commands.error("partitions", "drop", *options, code=2)
