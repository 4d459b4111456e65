"""Heads of the chains of seals, kept outside the database: they show what was cut off or written anew."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from app.runtime.runtime import Runtime
from app.services.audit_chain import heads as seal_heads
from app.services.audit_chain.heads import Head
from app.services.verification import prove
from models import Database
from testbed.servers import Databases
from testbed.shop import Shop
from tests.integration.audit_chain.test_seals import note
from tests.support.books import spoil


def test_heads_are_kept_outside_and_move_on(databases: Databases, tenant: Shop, tmp_path: Path) -> None:
    path = tmp_path / "heads"
    with databases.open_runtime(SLUICE_SEAL_HEAD_PATH=str(path)) as runtime:
        seal_heads.keep_heads(runtime)
        first = seal_heads.load_heads(path)
        note(runtime, tenant.tenant_id)
        seal_heads.keep_heads(runtime)
        kept = seal_heads.load_heads(path)
        ((key, before),) = first.items()
        assert kept[key].number == before.number + 1
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
    note(runtime, tenant.tenant_id)
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
        note(runtime, tenant.tenant_id)
        seal_heads.keep_heads(runtime)
        kept = path.read_text()
        databases.rows("; ".join(["set session_replication_role = replica", *_cut(databases)]))
        # After the cut other rows are sealed: the chain in the database is valid again.
        note(runtime, tenant.tenant_id, 2)
        note(runtime, tenant.tenant_id)
        for _ in range(2):
            seal_heads.keep_heads(runtime)
        assert prove(runtime.database, "full").is_whole
        assert path.read_text() == kept
        (head,) = seal_heads.load_heads(path).values()
        assert seal_heads.find_broken_heads(runtime.database, [head]) == [head]
    assert databases.value("select count(*) from alerts where kind = 'books_broken'") == 1


def test_a_head_file_that_cannot_be_written_stops_nothing(databases: Databases, tenant: Shop, tmp_path: Path) -> None:
    with databases.open_runtime(SLUICE_SEAL_HEAD_PATH=str(tmp_path / "missing" / "heads")) as runtime:
        seal_heads.keep_heads(runtime)
        note(runtime, tenant.tenant_id)
        assert prove(runtime.database, "full").is_whole


def test_a_file_of_an_earlier_release_names_no_chain(tmp_path: Path) -> None:
    tenant_id, path = str(uuid.uuid4()), tmp_path / "heads"
    path.write_text(json.dumps({"tenant_id": tenant_id, "seals": 7, "rows": 70, "sha256": "0" * 64}) + "\n")
    assert seal_heads.load_heads(path) == {(tenant_id, 0): Head(tenant_id, 0, 7, 70, "0" * 64)}
