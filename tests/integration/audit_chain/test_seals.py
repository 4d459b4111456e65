"""Sealing: each audit row is sealed by the transaction that writes it, whoever writes, and nobody waits for another."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.audit_seal import AUDIT_COLUMNS
from app.runtime.runtime import Runtime
from app.services.records import audit
from app.services.records.audit import AuditRow
from app.services.verification import prove
from testbed.servers import Databases, Servers
from testbed.shop import Shop, make_shop


def note(runtime: Runtime, tenant_id: uuid.UUID, rows: int = 1, kind: str = "noted") -> None:
    """Write audit rows of a kind that no payment answers for."""
    with runtime.database.transaction("worker") as connection:
        audit.write(connection, [AuditRow(tenant_id, "operator:test", kind, {"n": n}) for n in range(rows)])


def sealed_ids(databases: Databases, tenant_id: uuid.UUID) -> dict[int, list[int]]:
    """Return the ids of a tenant's sealed rows by chain, in the order of their positions."""
    rows = databases.rows(
        "select chain, audit_ids from audit_seals where tenant_id = :id order by chain, number", id=tenant_id
    )
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(row["chain"], []).extend(row["audit_ids"])
    return found


def test_all_columns_of_the_table_are_sealed(databases: Databases) -> None:
    columns = databases.rows("select column_name from information_schema.columns where table_name = 'audit_logs'")
    assert {row["column_name"] for row in columns} == set(AUDIT_COLUMNS)


def test_each_tenant_has_chains_of_its_own(databases: Databases, runtime: Runtime) -> None:
    shops = [make_shop(runtime), make_shop(runtime)]
    with runtime.database.transaction("worker") as connection:
        audit.write(connection, [AuditRow(shop.tenant_id, "operator:test", "noted", {}) for shop in shops * 2])
    for shop in shops:
        ids = databases.rows("select id from audit_logs where tenant_id = :id order by id", id=shop.tenant_id)
        assert sealed_ids(databases, shop.tenant_id) == {1: [row["id"] for row in ids]}
    assert prove(runtime.database, "full").is_whole


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, st.none() | st.uuids(), st.none() | st.integers(-(2**31), 2**31 - 1), TEXTS)))
def test_the_trigger_hashes_as_the_proof_does(
    settled: tuple[Runtime, Shop], rows: list[tuple[str, str, uuid.UUID | None, int | None, str]]
) -> None:
    runtime, tenant = settled
    with runtime.database.transaction("worker") as connection:
        audit.write(
            connection,
            [
                AuditRow(tenant.tenant_id, actor, f"noted {kind}", {said: [actor, version]}, payment_id, version)
                for actor, kind, payment_id, version, said in rows
            ],
        )
    report = prove(runtime.database, "incremental")
    assert report.is_whole, report.as_json()


@pytest.fixture(scope="module")
def settled(servers: Servers) -> Iterator[tuple[Runtime, Shop]]:
    """Provide a tenant whose audit the examples of one test share."""
    with servers.open_databases() as databases, databases.open_runtime() as runtime:
        yield runtime, make_shop(runtime)


def test_parallel_writers_extend_different_chains_and_do_not_wait(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    with runtime.database.transaction("worker") as connection:
        audit.write(connection, [AuditRow(tenant.tenant_id, "operator:test", "late", {})])
        connection.execute(text("select 'what waits to be written goes first'"))
        note(runtime, tenant.tenant_id)
        assert databases.value("select count(*) from audit_logs where kind = 'late'") == 0
    late, noted = (
        databases.value("select id from audit_logs where kind = :kind", kind=kind) for kind in ("late", "noted")
    )
    assert late < noted
    found = sealed_ids(databases, tenant.tenant_id)
    assert (found[1][-1], found[2]) == (late, [noted])
    note(runtime, tenant.tenant_id)
    assert len(sealed_ids(databases, tenant.tenant_id)[2]) == 1
    assert prove(runtime.database, "full").is_whole


def test_what_is_rolled_back_leaves_no_seal(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    before = sealed_ids(databases, tenant.tenant_id)

    def write_and_fail() -> None:
        with runtime.database.transaction("worker") as connection:
            audit.write(connection, [AuditRow(tenant.tenant_id, "operator:test", "undone", {})])
            connection.execute(text("select 'what waits to be written goes first'"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert sealed_ids(databases, tenant.tenant_id) == before
    note(runtime, tenant.tenant_id)
    assert prove(runtime.database, "full").is_whole


def test_many_writers_and_proofs_at_once(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    is_done = threading.Event()

    def keep_proving() -> int:
        proofs = 0
        while not is_done.is_set() or not proofs:
            report = prove(runtime.database, "full")
            assert report.is_whole, report.as_json()
            proofs += 1
        return proofs

    with ThreadPoolExecutor(7) as pool:
        proofs = pool.submit(keep_proving)
        for written in [pool.submit(note, runtime, tenant.tenant_id, 3) for _ in range(200)]:
            written.result()
        is_done.set()
        assert proofs.result() > 0
    chains = sealed_ids(databases, tenant.tenant_id)
    ids = [row["id"] for row in databases.rows("select id from audit_logs order by id")]
    assert sorted(audit_id for chain in chains.values() for audit_id in chain) == ids
    # Not more chains than writers.
    assert list(chains) == list(range(1, len(chains) + 1))
    assert len(chains) <= 6
    assert prove(runtime.database, "full").is_whole


def test_a_writer_that_dies_leaves_its_chain_to_the_next(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    before = sealed_ids(databases, tenant.tenant_id)
    connection = databases.superuser.connect()
    with connection.cursor() as cursor:
        insert = "begin; insert into audit_logs (tenant_id, actor, kind, detail) values (%s, 'a', 'b', '{}')"
        cursor.execute(insert, [str(tenant.tenant_id)])
        cursor.execute("select pg_backend_pid()")
        (pid,) = cursor.fetchone()
    databases.rows("select pg_terminate_backend(:pid, 5000)", pid=pid)
    connection.close()
    note(runtime, tenant.tenant_id)
    after = sealed_ids(databases, tenant.tenant_id)
    assert list(after) == list(before)
    assert len(after[1]) == len(before[1]) + 1
    assert prove(runtime.database, "full").is_whole


@pytest.mark.parametrize("role", ["web", "door", "worker", "operator"])
@pytest.mark.parametrize(
    "statement", ["update audit_seals set number = 9", "delete from audit_seals", "truncate audit_seals"]
)
def test_no_role_changes_a_seal(runtime: Runtime, tenant: Shop, role: str, statement: str) -> None:
    with pytest.raises(DBAPIError), runtime.database.transaction(role, tenant.tenant_id) as connection:  # type: ignore[arg-type]
        connection.exec_driver_sql(statement)


def test_the_owner_is_stopped_by_the_triggers(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    for statement in ("update audit_seals set number = 9", "delete from audit_seals", "truncate audit_seals"):
        with pytest.raises(DBAPIError, match="append-only"):
            databases.rows(statement)
