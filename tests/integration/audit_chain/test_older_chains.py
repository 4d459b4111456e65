"""Databases of releases that sealed audit rows after their commit: their chain is kept, and what waited is sealed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from alembic import command

from app.core.audit_seal import FIRST_SHA256, Seal, hash_rows, join_prefixes
from app.local.embedded import APP_ROLE, OWNER_ROLE, SUPERUSER
from app.services.audit_chain.seals import AUDIT_TEXT, hash_audit_rows
from app.services.verification import prove, record
from models import Database
from models.migrations import configuration, upgrade
from testbed.servers import Databases, Servers
from tests.support.books import spoil

EARLIER = "0023"
TENANT = uuid.UUID(int=7)
_ROW = """
insert into audit_logs (tenant_id, actor, kind, detail) values (:id, 'operator:é', 'noted', '{"b": 1, "a": 2}')
"""
_SEAL = """
with gone as (delete from audit_work where audit_id = any(:ids))
insert into audit_seals (tenant_id, number, first_position, last_position, audit_ids, first_audit_id, last_audit_id,
    row_marks, rows_sha256, previous_sha256, seal_sha256, sealed_at)
values (:tenant_id, :number, :first, :last, :ids, :first_id, :last_id, :marks, :rows, :previous, :sha256,
    to_timestamp(0) + :at * interval '1 microsecond')
"""


@pytest.fixture
def earlier(servers: Servers) -> Iterator[Databases]:
    """Provide a database of the release before, with a tenant that has two seals of two rows each, and a third row."""
    servers.administer(f"create database earlier owner {OWNER_ROLE}")
    url = servers.postgres.url
    databases = Databases("earlier", url(APP_ROLE, "earlier"), "", url(SUPERUSER, "earlier"), "", "", servers.folder)
    try:
        command.upgrade(configuration(url(OWNER_ROLE, "earlier")), EARLIER)
        databases.rows("insert into tenants (id, name) values (:id, 'earlier')", id=TENANT)
        previous = FIRST_SHA256
        for number in (1, 2):
            for _ in range(2):
                databases.rows(_ROW, id=TENANT)
            previous = seal_as_before(databases, number, previous)
        for _ in range(3):
            databases.rows(_ROW, id=TENANT)
        yield databases
    finally:
        servers.administer("drop database earlier with (force)")


def seal_as_before(databases: Databases, number: int, previous: bytes) -> bytes:
    """Seal the two rows that wait, as the sealer of earlier releases did; return the hash of the seal."""
    rows = databases.rows(
        f"select {AUDIT_TEXT} from audit_logs a where id in (select audit_id from audit_work) order by id"
    )
    hashes = hash_audit_rows(rows)  # type: ignore[arg-type]
    ids = tuple(row["id"] for row in rows)
    seal = Seal(str(TENANT), 0, number, 2 * number - 1, ids, hash_rows(hashes), previous, rows[-1]["at"] + 5_000_000)
    databases.rows(
        _SEAL, tenant_id=TENANT, number=number, first=seal.first_position, last=seal.last_position, ids=list(ids),
        first_id=ids[0], last_id=ids[-1], marks=join_prefixes(hashes), rows=seal.rows_sha256, previous=previous,
        sha256=seal.sha256, at=seal.sealed_at,
    )  # fmt: skip
    return seal.sha256


def test_a_chain_of_an_earlier_release_is_kept_and_proved(earlier: Databases, servers: Servers) -> None:
    proved = earlier.value("select seal_sha256 from audit_seals where number = 1")
    earlier.rows(
        "insert into verification_places (tenant_id, seal_number, seal_sha256, notification_number, webhooks_until,"
        " verified_at) values (:id, 1, :sha256, 0, now(), now())",
        id=TENANT, sha256=proved,
    )  # fmt: skip
    upgrade(servers.postgres.url(OWNER_ROLE, "earlier"), earlier.database_url)
    seals = earlier.rows("select chain, number, cardinality(audit_ids) as rows from audit_seals order by 1, 2")
    assert [tuple(seal.values()) for seal in seals] == [(0, 1, 2), (0, 2, 2), (1, 1, 1), (1, 2, 1), (1, 3, 1)]
    database, superuser = Database(earlier.database_url, 2), Database(earlier.superuser_url, 1)
    report = prove(database, "incremental")
    assert (report.is_whole, report.counts["seals"]) == (True, 4)
    record(database, report)
    earlier.rows(_ROW, id=TENANT)
    assert prove(database, "incremental").counts["seals"] == 1
    assert prove(database, "full").is_whole
    for spoiling in (
        "update audit_logs set actor = 'eve' where id = (select min(id) from audit_logs)",
        "delete from audit_logs where id = (select min(id) + 2 from audit_logs)",
        "insert into audit_logs (tenant_id, actor, kind, detail) select id, '', '', '{}' from tenants limit 1",
        "delete from audit_seals where chain = 0",
        "update audit_seals set sealed_at = now() where chain = 0 and number = 2",
    ):
        with spoil(superuser, [spoiling]) as spoiled:
            assert prove(spoiled, "full").invariants == ["I11"], spoiling
    for opened in (database, superuser):
        opened.engine.dispose()
