"""Webhooks that are stored together get what they would have got one by one, whatever happens to the others."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import random
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from app.runtime.group_commit import GroupCommit
from app.runtime.runtime import Runtime
from app.services.webhooks import inbox
from app.services.webhooks.inbox import InboxRow, Receipt
from models import Database, new_id
from testbed.servers import Databases
from testbed.shop import Shop, make_shop
from testbed.waiting import wait_until
from tests.support.commit_turns import run_as_one_group

ANSWER_SECONDS = 20


class Sent(NamedTuple):
    """A delivery of a property: which of a few ids, and which of a few bodies."""

    number: int
    body: bytes


def row(shop: Shop, external_id: str, body: bytes = b"{}", **changes: Any) -> InboxRow:
    """Return a verified delivery of the shop's provider."""
    sha256 = hashlib.sha256(body).digest()
    headers = {"webhook-id": external_id}
    delivered = ("provider", body, headers, sha256, "192.0.2.7", None, None)
    made = InboxRow(new_id(), shop.tenant_id, shop.provider_id, external_id, *delivered)
    return made._replace(**changes)


def what_is_there(databases: Databases, shop: Shop, ids: Sequence[uuid.UUID]) -> dict[str, Any]:
    """All that is stored of a provider's webhooks, deliveries named by their place in `ids`."""
    named = {delivery: number for number, delivery in enumerate(ids)}
    webhooks = databases.rows(
        "select id, external_id, body, status, conflicts_with from payment_webhooks where tenant_id = :id",
        id=shop.tenant_id,
    )
    keys = databases.rows("select * from webhook_keys where tenant_id = :id", id=shop.tenant_id)
    work = databases.rows("select webhook_id from webhook_work where tenant_id = :id", id=shop.tenant_id)
    alerts = databases.rows("select detail from alerts where tenant_id = :id", id=shop.tenant_id)
    return {
        "webhooks": {
            (
                named[w["id"]],
                w["external_id"],
                bytes(w["body"]),
                w["status"],
                named.get(w["conflicts_with"]),
            )
            for w in webhooks
        },
        "keys": {(k["external_id"], bytes(k["body_sha256"]), named[k["webhook_id"]], k["duplicates"]) for k in keys},
        "work": {named[w["webhook_id"]] for w in work},
        "alerts": Counter(named[uuid.UUID(alert["detail"]["webhook_id"])] for alert in alerts),
    }


_SENT = st.builds(Sent, st.integers(0, 3), st.sampled_from([b"{}", b'{"a":1}', b'{"a":2}']))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(_SENT, min_size=1, max_size=8), min_size=1, max_size=4))
def test_a_group_is_stored_like_one_after_the_other(
    runtime: Runtime, databases: Databases, groups: list[list[Sent]]
) -> None:
    one, many = make_shop(runtime), make_shop(runtime)
    seen = []
    for shop, is_grouped in ((one, False), (many, True)):
        rows = [[row(shop, f"msg_{sent.number}", sent.body) for sent in group] for group in groups]
        receipts: list[Receipt] = []
        for group in rows:
            for taken in [group] if is_grouped else [[single] for single in group]:
                receipts += inbox.store_rows(runtime.database, taken)
        ids = [made.id for group in rows for made in group]
        reported = [(ids.index(r.webhook_id), r.is_duplicate, r.is_conflict) for r in receipts]
        seen.append((reported, what_is_there(databases, shop, ids)))
    assert seen[0] == seen[1]


@contextlib.contextmanager
def held(databases: Databases, shop: Shop, ids: Sequence[str]) -> Iterator[None]:
    """Somebody else is storing deliveries with these ids and has not committed yet."""
    with contextlib.closing(psycopg2.connect(databases.superuser_url)) as connection, connection.cursor() as cursor:
        for external_id in ids:
            cursor.execute(
                "insert into webhook_keys (provider_id, external_id, tenant_id, body_sha256, webhook_id)"
                " values (%s, %s, %s, '', %s)",
                (str(shop.provider_id), external_id, str(shop.tenant_id), str(uuid.uuid4())),
            )
        yield
        connection.rollback()


def count_blocked(databases: Databases) -> int:
    """How many sessions wait for somebody else's row."""
    sql = "select count(*) from pg_stat_activity where datname = :name and wait_event_type = 'Lock'"
    return int(databases.value(sql, name=databases.name))


def store_as_one_group(runtime: Runtime, rows: Sequence[InboxRow]) -> list[Future[Receipt]]:
    """Store rows in threads of their own, all in one group; return once all have ended."""
    database = runtime.database
    line = inbox._groups.setdefault(database, GroupCommit())
    return run_as_one_group(line, [functools.partial(inbox.store, database, made) for made in rows])


def test_webhooks_that_come_together_are_committed_together(
    runtime: Runtime, databases: Databases, tenant: Shop
) -> None:
    rows = [row(tenant, f"msg_{number}") for number in range(30)]
    receipts = [future.result() for future in store_as_one_group(runtime, rows)]
    assert receipts == [Receipt(made.id, False, False) for made in rows]
    # A transaction leaves its number on each row that it wrote.
    sql = "select count(*) as rows, count(distinct xmin::text) as commits from payment_webhooks"
    assert databases.rows(sql) == [{"rows": 30, "commits": 1}]


def test_a_row_that_the_database_refuses_fails_no_other(runtime: Runtime, databases: Databases, tenant: Shop) -> None:
    # Random, so that no compression makes it fit into an index after all.
    too_long = random.Random(5).randbytes(6_000).hex()
    rows = [row(tenant, too_long if number == 7 else f"msg_{number}") for number in range(20)]
    futures = store_as_one_group(runtime, rows)
    with pytest.raises(OperationalError, match="index row"):
        futures.pop(7).result()
    assert [future.result().is_duplicate for future in futures] == [False] * 19
    assert databases.value("select count(*) from payment_webhooks where external_id like 'msg%'") == 19


def test_what_is_no_text_is_left_out_before_it_meets_the_others(
    runtime: Runtime, databases: Databases, tenant: Shop
) -> None:
    odd = {"user-agent": "a\x00b\ud800c\u2028", "content-type": 'application/json; a="\\u0000"'}
    rows = [row(tenant, f"msg_{number}") for number in range(5)]
    rows.append(row(tenant, "msg_odd", headers=odd, address="1.2.3.4\x00" + "x" * 100_000))
    for future in store_as_one_group(runtime, rows):
        assert not future.result().is_duplicate
    (kept,) = databases.rows("select headers, remote_address from payment_webhooks where external_id = 'msg_odd'")
    assert kept["headers"] == {"user-agent": "ab?c\u2028", "content-type": 'application/json; a="\\u0000"'}
    assert kept["remote_address"].startswith("1.2.3.4x")
    assert len(kept["remote_address"]) < 100


def test_a_lost_connection_is_reported_to_everyone_and_nothing_is_stored(
    runtime: Runtime, databases: Databases, tenant: Shop
) -> None:
    """The backend of a group's connection dies before the commit: no caller gets the answer that its row is stored."""
    rows = [row(tenant, f"msg_{number}") for number in range(5)]
    rows[2] = rows[2]._replace(external_id="held")
    with ThreadPoolExecutor(1) as pool, held(databases, tenant, ["held"]):
        group = pool.submit(inbox.store_rows, runtime.database, rows)
        wait_until(lambda: count_blocked(databases) == 1, "the group waits")
        databases.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = :name and wait_event_type = 'Lock'",
            name=databases.name,
        )
        with pytest.raises(OperationalError):
            group.result(ANSWER_SECONDS)
    assert databases.value("select count(*) from payment_webhooks") == 0
    assert inbox.store_rows(runtime.database, rows)[4] == Receipt(rows[4].id, False, False)


def test_what_is_stored_again_with_its_own_id_gets_the_same_receipt(
    runtime: Runtime, databases: Databases, tenant: Shop
) -> None:
    """As after a commit whose answer was lost: each row is brought again, alone."""
    rows = [row(tenant, f"msg_{number}") for number in range(3)]
    receipts = inbox.store_rows(runtime.database, rows)
    assert [inbox.store_rows(runtime.database, [made]) for made in rows] == [[receipt] for receipt in receipts]
    assert inbox.store_rows(runtime.database, [*rows, row(tenant, "msg_0")])[:3] == receipts
    assert what_is_there(databases, tenant, [made.id for made in rows])["keys"] == {
        (f"msg_{number}", rows[number].sha256, number, int(number == 0)) for number in range(3)
    }


def test_processes_that_share_ids_do_not_lock_each_other_out(
    runtime: Runtime, databases: Databases, tenant: Shop
) -> None:
    """Two processes, the same ids in any order, new, repeated and changed: no deadlock, and each id has one first."""
    rounds, ids = 60, [f"msg_{number}" for number in range(12)]
    bodies, together = (b"{}", b"{}", b'{"a":1}'), threading.Barrier(4)

    def send(database: Database, seed: int) -> list[tuple[str, Receipt]]:
        chance = random.Random(seed)
        reported: list[tuple[str, Receipt]] = []
        for number in range(rounds):
            # Half of the ids are new in each round.
            names = [f"{name}_{number if index % 2 else 0}" for index, name in enumerate(ids)]
            rows = [row(tenant, name, chance.choice(bodies)) for name in chance.choices(names, k=20)]
            together.wait(ANSWER_SECONDS)
            try:
                stored = inbox.store_rows(database, rows)
            except BaseException:
                together.abort()
                raise
            reported += zip((made.external_id for made in rows), stored, strict=True)
        return reported

    with databases.open_runtime() as other, ThreadPoolExecutor(4) as pool:
        processes = (runtime.database, other.database, runtime.database, other.database)
        reported = [pair for part in pool.map(send, processes, range(4)) for pair in part]
    firsts = Counter(name for name, receipt in reported if not receipt.is_duplicate and not receipt.is_conflict)
    assert set(firsts) == {name for name, _ in reported}
    assert set(firsts.values()) == {1}
    assert len({(name, receipt.webhook_id) for name, receipt in reported}) == len(firsts)
    repeats = sum(receipt.is_duplicate for _, receipt in reported)
    assert databases.value("select sum(duplicates) from webhook_keys") == repeats
    # A changed body is kept and alarmed once, however many sent it at the same time.
    marked = "select count(*) as n, count(distinct (conflicts_with, body_sha256)) as bodies from payment_webhooks"
    (kept,) = databases.rows(marked + " where conflicts_with is not null")
    assert kept["n"] == kept["bodies"] == databases.value("select count(*) from alerts")
