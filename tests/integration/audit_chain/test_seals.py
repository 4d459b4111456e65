"""Sealing: every audit row is taken up once, whatever the order of commits and however many seal at once."""

from __future__ import annotations

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.audit_seal import AUDIT_COLUMNS
from app.runtime.runtime import Runtime
from app.services.audit_chain import heads as seal_heads
from app.services.audit_chain import seals
from app.services.records import audit
from app.services.records.audit import AuditRow
from app.services.verification import prove
from models import Database
from testbed.servers import Databases
from testbed.shop import Shop, make_shop
from tests.support.books import spoil
from tests.support.postgres import count_rows_read


def note(runtime: Runtime, tenant_id: uuid.UUID, rows: int = 1) -> None:
    """Write audit rows of a kind that no payment answers for."""
    with runtime.database.transaction("worker") as connection:
        audit.write(connection, [AuditRow(tenant_id, "operator:test", "noted", {"n": n}) for n in range(rows)])


def sealed_ids(databases: Databases, tenant_id: uuid.UUID) -> list[int]:
    """Return the ids of a tenant's sealed rows, in the order of their positions."""
    rows = databases.rows("select audit_ids from audit_seals where tenant_id = :id order by number", id=tenant_id)
    return [audit_id for row in rows for audit_id in row["audit_ids"]]


def test_all_columns_of_the_table_are_sealed(databases: Databases) -> None:
    columns = databases.rows("select column_name from information_schema.columns where table_name = 'audit_logs'")
    assert {row["column_name"] for row in columns} == set(AUDIT_COLUMNS)


def test_each_tenant_has_a_chain_of_its_own(databases: Databases, runtime: Runtime) -> None:
    shops = [make_shop(runtime), make_shop(runtime)]
    waiting = databases.value("select count(*) from audit_work")
    assert seals.seal_due(runtime) == waiting == databases.value("select count(*) from audit_logs")
    assert seals.seal_due(runtime) == 0
    for shop in shops:
        ids = databases.rows("select id from audit_logs where tenant_id = :id order by id", id=shop.tenant_id)
        assert sealed_ids(databases, shop.tenant_id) == [row["id"] for row in ids]
    assert databases.value("select count(*) from audit_work") == 0
    assert prove(runtime.database, "full").is_whole


def test_a_row_that_commits_late_is_sealed_late_and_not_lost(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    with runtime.database.transaction("worker") as connection:
        audit.write(connection, [AuditRow(tenant.tenant_id, "operator:test", "late", {})])
        connection.execute(text("select 'what waits to be written goes first'"))
        note(runtime, tenant.tenant_id)
        seals.seal_due(runtime)
        assert databases.value("select count(*) from audit_logs where kind = 'late'") == 0
    seals.seal_due(runtime)
    late, noted = (
        databases.value("select id from audit_logs where kind = :kind", kind=kind) for kind in ("late", "noted")
    )
    assert late < noted
    assert sealed_ids(databases, tenant.tenant_id)[-2:] == [noted, late]
    assert prove(runtime.database, "full").is_whole


def test_what_is_rolled_back_is_not_waited_for(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    def write_and_fail() -> None:
        with runtime.database.transaction("worker") as connection:
            audit.write(connection, [AuditRow(tenant.tenant_id, "operator:test", "undone", {})])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    note(runtime, tenant.tenant_id)
    seals.seal_due(runtime)
    assert databases.value("select count(*) from audit_work") == 0
    assert prove(runtime.database, "full").is_whole


def test_more_rows_than_one_seal_takes(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    note(runtime, tenant.tenant_id, 2 * seals.SEAL_ROWS_MAX + 10)
    assert seals.seal_due(runtime) > 2 * seals.SEAL_ROWS_MAX
    assert databases.value("select count(*) from audit_seals") == 3
    assert prove(runtime.database, "full").is_whole


def test_a_seal_reads_what_it_takes_however_much_waits(
    databases: Databases, runtime: Runtime, tenant: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seals, "SEALS_MAX", 2)
    note(runtime, tenant.tenant_id, rows=20 * seals.SEAL_ROWS_MAX)
    databases.rows("analyze audit_work")
    before = count_rows_read(databases, runtime, "audit_work")
    assert seals.seal_tenant(runtime, tenant.tenant_id)[0] == 2 * seals.SEAL_ROWS_MAX
    assert count_rows_read(databases, runtime, "audit_work") - before < 10 * seals.SEAL_ROWS_MAX


def test_many_sealers_and_writers_at_once(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    is_done = threading.Event()

    def keep_sealing() -> None:
        while not is_done.is_set():
            seals.seal_due(runtime)

    with ThreadPoolExecutor(7) as pool:
        sealers = [pool.submit(keep_sealing) for _ in range(3)]
        for written in [pool.submit(note, runtime, tenant.tenant_id, 3) for _ in range(100)]:
            written.result()
        is_done.set()
        for sealer in sealers:
            sealer.result()
    seals.seal_due(runtime)
    ids = sealed_ids(databases, tenant.tenant_id)
    assert sorted(ids) == [row["id"] for row in databases.rows("select id from audit_logs order by id")]
    assert prove(runtime.database, "full").is_whole


@pytest.mark.parametrize("role", ["web", "door", "worker", "operator"])
@pytest.mark.parametrize(
    "statement", ["update audit_seals set number = 9", "delete from audit_seals", "truncate audit_seals"]
)
def test_no_role_changes_a_seal(runtime: Runtime, tenant: Shop, role: str, statement: str) -> None:
    seals.seal_due(runtime)
    with pytest.raises(DBAPIError), runtime.database.transaction(role, tenant.tenant_id) as connection:  # type: ignore[arg-type]
        connection.exec_driver_sql(statement)


def test_the_owner_is_stopped_by_the_triggers(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    seals.seal_due(runtime)
    for statement in ("update audit_seals set number = 9", "delete from audit_seals", "truncate audit_seals"):
        with pytest.raises(DBAPIError, match="append-only"):
            databases.rows(statement)


def test_heads_are_kept_outside_and_move_on(databases: Databases, tenant: Shop, tmp_path: Path) -> None:
    path = tmp_path / "heads"
    with databases.open_runtime(SLUICE_SEAL_HEAD_PATH=str(path)) as runtime:
        seals.seal_due(runtime)
        first = seal_heads.load_heads(path)
        note(runtime, tenant.tenant_id)
        seals.seal_due(runtime)
        kept = seal_heads.load_heads(path)
        assert [head.number for head in first.values()] == [1]
        assert [head.number for head in kept.values()] == [2]
        assert list(kept.values()) == seal_heads.read_heads(runtime.database)
        assert seal_heads.find_broken_heads(runtime.database, [*first.values(), *kept.values()]) == []
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["rows"] == databases.value("select count(*) from audit_logs")


def _cut(databases: Databases) -> list[str]:
    """Take the last seal away with its row, which is about no payment: nothing in the rows shows it."""
    last = "(select max(number) from audit_seals)"
    return [
        f"delete from audit_logs where id = any((select audit_ids from audit_seals where number = {last})::bigint[])",
        f"delete from audit_seals where number = {last}",
    ]


def test_a_tail_cut_off_with_its_rows_is_found_by_the_kept_head(
    databases: Databases, runtime: Runtime, tenant: Shop, tmp_path: Path
) -> None:
    seals.seal_due(runtime)
    note(runtime, tenant.tenant_id)
    seals.seal_due(runtime)
    heads = seal_heads.read_heads(runtime.database)
    superuser = Database(databases.superuser_url, 1)
    with spoil(superuser, _cut(databases)) as spoiled:
        assert prove(spoiled, "full").is_whole
        assert seal_heads.find_broken_heads(spoiled, heads) == heads
    superuser.engine.dispose()


def test_a_tail_written_anew_is_found_and_the_kept_head_stays(
    databases: Databases, tenant: Shop, tmp_path: Path
) -> None:
    path = tmp_path / "heads"
    with databases.open_runtime(SLUICE_SEAL_HEAD_PATH=str(path)) as runtime:
        seals.seal_due(runtime)
        note(runtime, tenant.tenant_id)
        seals.seal_due(runtime)
        kept = path.read_text()
        databases.rows("; ".join(["set session_replication_role = replica", *_cut(databases)]))
        # After the cut the sealer writes another end: the chain in the database is valid again.
        note(runtime, tenant.tenant_id, 2)
        seals.seal_due(runtime)
        note(runtime, tenant.tenant_id)
        seals.seal_due(runtime)
        assert prove(runtime.database, "full").is_whole
        assert path.read_text() == kept
        broken = seal_heads.find_broken_heads(runtime.database, list(seal_heads.load_heads(path).values()))
        assert [head.number for head in broken] == [2]
    assert databases.value("select count(*) from alerts where kind = 'books_broken'") >= 1


def test_a_head_file_that_cannot_be_written_holds_up_no_seal(
    databases: Databases, tenant: Shop, tmp_path: Path
) -> None:
    with databases.open_runtime(SLUICE_SEAL_HEAD_PATH=str(tmp_path / "missing" / "heads")) as runtime:
        assert seals.seal_due(runtime) > 0
    assert databases.value("select count(*) from audit_work") == 0
