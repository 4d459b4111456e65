"""What keeps settling fast: as many statements for a large batch as for a small one, a claim that reads no history."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from app.services.webhooks import claims, settle
from app.services.webhooks.claims import WebhookQueue
from bench.filling import fill_webhooks, filled_in_bulk, make_due
from bench.measured_stack import MeasuredStack, open_measured_stack
from models import Database
from models.statements import watched
from testbed.servers import NO_SYNC, Servers, open_servers

# Per batch: one message claims, six settle and number. Measured, not wished for.
MESSAGES_MAX = 7
HISTORY = 1_000_000
WAITING = 20_000
# The claim reads each row of its batch a few times (find, lock, update), and no others.
ROWS_PER_CLAIMED = 5
# A lookup by index is some three pages deep, and the update touches the row's page and its index entries.
BUFFERS_PER_CLAIMED = 40


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers of the bench."""
    with open_servers(tmp_path_factory.mktemp("guards"), NO_SYNC) as opened:
        yield opened


def settle_one_batch(
    stack: MeasuredStack, count: int, users: int, *, as_text: bool = False
) -> list[tuple[str, Mapping[str, Any]]]:
    """Settle one batch of `count` webhooks; return its messages, spelled out where they are wanted `as_text`."""
    fill_webhooks(stack, count, users)
    make_due(stack, count)
    database = Database(stack.databases.database_url, 2, prepares=False) if as_text else None
    runtime = replace(stack.runtime, database=database) if database else stack.runtime
    with watched(runtime.database.engine) as messages:
        assert settle.settle_batch(runtime, WebhookQueue()) == count
    if database:
        database.engine.dispose()
    return messages


@pytest.mark.timeout(180)
def test_a_batch_takes_the_same_messages_whatever_its_size(servers: Servers) -> None:
    with open_measured_stack(servers) as stack:
        settle_one_batch(stack, 200, users=200)  # Opens the wallets, once for each.
        counts = {size: len(settle_one_batch(stack, size, users=200)) for size in (2, 20, 200)}
        assert len(set(counts.values())) == 1, counts
        assert counts[200] <= MESSAGES_MAX


@pytest.mark.timeout(180)
def test_one_wallet_takes_no_more_messages_than_many(servers: Servers) -> None:
    with open_measured_stack(servers) as stack:
        settle_one_batch(stack, 200, users=200)
        assert len(settle_one_batch(stack, 100, users=1)) == len(settle_one_batch(stack, 100, users=100))


@pytest.mark.timeout(180)
def test_a_large_batch_looks_its_rows_up_and_reads_no_table_as_a_whole(servers: Servers) -> None:
    with open_measured_stack(servers) as stack:
        # Few enough rows for the planner to prefer reading all of them.
        settle_one_batch(stack, 300, users=300)
        stack.databases.rows("analyze")
        fill_webhooks(stack, 300, users=300)
        make_due(stack, 300)
        before = count_rows_read_in_scans(stack)
        assert settle.settle_batch(stack.runtime, WebhookQueue()) == 300
        after = count_rows_read_in_scans(stack)
    assert {table: rows - before[table] for table, rows in after.items() if rows != before[table]} == {}


def count_rows_read_in_scans(stack: MeasuredStack) -> dict[str, int]:
    """Return by table how many rows sequential scans have read so far."""
    with stack.runtime.database.transaction("worker") as connection:
        connection.exec_driver_sql("select pg_stat_force_next_flush()")
    with stack.databases.superuser.transaction() as cursor:
        cursor.execute("select relname, seq_tup_read from pg_stat_user_tables")
        return {name: rows or 0 for name, rows in cursor.fetchall()}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_claim_reads_its_batch_and_no_history(servers: Servers) -> None:
    with open_measured_stack(servers) as stack:
        message, values = next(
            sent for sent in settle_one_batch(stack, 200, users=200, as_text=True) if "skip locked" in sent[0]
        )
        # What takes the role goes before it in the same message.
        claim = message[message.index("with recursive") :]
        fill_settled_webhooks(stack, HISTORY)
        fill_webhooks(stack, WAITING, users=1_000)
        make_due(stack, WAITING)
        # As many again wait for a later time: leases and retries must cost the claim nothing either.
        fill_webhooks(stack, WAITING, users=1_000)
        make_due(stack, WAITING)
        # Without statistics this update may compare every row with every other one.
        stack.databases.rows("analyze webhook_work")
        with stack.databases.superuser.transaction() as cursor:
            cursor.execute(
                "update webhook_work set due_at = now() + interval '1 hour'"
                " where webhook_id in (select webhook_id from webhook_work order by webhook_id desc limit %s)",
                (WAITING,),
            )
        stack.databases.rows("vacuum (analyze) webhook_work")
        with stack.runtime.database.transaction("worker") as connection:
            answer = connection.exec_driver_sql(f"explain (analyze, buffers, format json) {claim}", values).scalar_one()
        plan = (json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]
    nodes = list(walk(plan))
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"]
    scans = [node for node in nodes if node.get("Relation Name") == "webhook_work" and "Scan" in node["Node Type"]]
    assert scans
    read = sum(node["Actual Rows"] * node["Actual Loops"] for node in scans)
    assert read <= claims.BATCH_ROWS * ROWS_PER_CLAIMED, nodes
    buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert buffers <= claims.BATCH_ROWS * BUFFERS_PER_CLAIMED


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All nodes of a plan, from the top."""
    yield node
    for child in node.get("Plans", ()):
        yield from walk(child)


def fill_settled_webhooks(stack: MeasuredStack, count: int) -> None:
    """Make webhooks that were settled long ago, with all their indexes."""
    with filled_in_bulk(stack, ["payment_webhooks"]), stack.databases.superuser.transaction() as cursor:
        cursor.execute(
            """
            insert into payment_webhooks (id, tenant_id, provider_id, external_id, path, body, headers, body_sha256,
                remote_address, payment_id, status, verdict, reason, received_at, settled_at)
            select uuidv7(), %(tenant)s, %(provider)s, 'past_' || n, 'payment-callback', '{}', '{}', '', '192.0.2.7',
                uuidv7(), 'processed', 'applied', '', now() - n * interval '1 second', now() - n * interval '1 second'
            from generate_series(1, %(count)s) as n
            """,
            {"tenant": str(stack.shop.tenant_id), "provider": str(stack.shop.provider_id), "count": count},
        )
