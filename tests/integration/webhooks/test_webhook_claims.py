"""Claims of due webhooks: nobody is passed over, and rows that are long done cost the next claim nothing."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, text

from app.runtime.runtime import Runtime
from app.services.webhooks.claims import BATCH_ROWS, WebhookQueue
from models.database_urls import psycopg2_url
from testbed.servers import Databases
from testbed.shop import Shop, make_shop
from tests.support.postgres import count_rows_read

WAITING = 4 * BATCH_ROWS
# What one tenant gets of a batch while others wait.
SHARE = BATCH_ROWS // 3
DONE = 60_000


@pytest.fixture
def reader(databases: Databases) -> Iterator[None]:
    """Hold a long read transaction, as a backup or a proof does: rows deleted meanwhile are kept for it."""
    engine = create_engine(psycopg2_url(databases.superuser_url), isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        connection.execute(text("select count(*) from webhook_work"))
        yield
    engine.dispose()


def make_wait(databases: Databases, shop: Shop, count: int, seconds_ago: int = 0) -> set[uuid.UUID]:
    """Make `count` webhooks due; no more of them is there than that."""
    rows = databases.rows(
        "insert into webhook_work (webhook_id, tenant_id, payment_id, due_at)"
        " select uuidv7(), :id, uuidv7(), now() - make_interval(secs => :ago) from generate_series(1, :count)"
        " returning webhook_id",
        id=shop.tenant_id,
        count=count,
        ago=seconds_ago,
    )
    return {row["webhook_id"] for row in rows}


@pytest.mark.usefixtures("reader")
def test_rows_that_are_kept_for_a_reader_are_passed_once_not_by_every_claim(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    make_wait(databases, tenant, DONE, seconds_ago=60)
    databases.rows("delete from webhook_work")
    waiting = make_wait(databases, tenant, WAITING)
    queue, claimed, read = WebhookQueue(), [], [count_rows_read(databases, runtime, "webhook_work")]
    for _ in range(3):
        claimed += queue.claim(runtime).together
        read.append(count_rows_read(databases, runtime, "webhook_work"))
    first, second, third = (after - before for before, after in itertools.pairwise(read))
    assert first > DONE
    assert max(second, third) < first / 4, (first, second, third)
    # The next claim reaches the end of the queue; the one after it reads from the beginning.
    while claim := queue.claim(runtime).together:
        claimed += claim
    assert len(claimed) == len(set(claimed)) == WAITING
    assert set(claimed) == waiting


@pytest.mark.usefixtures("reader")
def test_what_comes_before_the_place_is_found_before_the_queue_is_said_to_be_empty(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    other = make_shop(runtime)
    make_wait(databases, tenant, DONE, seconds_ago=60)
    databases.rows("delete from webhook_work")
    waiting = make_wait(databases, tenant, WAITING)
    queue = WebhookQueue()
    claimed = queue.claim(runtime).together
    # Older ones of the same tenant, as another worker had them locked, and a tenant that was not there before.
    waiting |= make_wait(databases, tenant, 3, seconds_ago=120) | make_wait(databases, other, 3)
    while claim := queue.claim(runtime).together:
        claimed += claim
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == waiting


@pytest.mark.parametrize(
    ("tenants", "each"), [(1, 3), (1, SHARE - 1), (1, SHARE), (2, 3), (2, SHARE), (3, BATCH_ROWS), (4, SHARE - 1)]
)
def test_a_claim_that_says_so_leaves_nothing_due(
    databases: Databases, runtime: Runtime, tenants: int, each: int
) -> None:
    databases.rows("delete from webhook_work")
    for _ in range(tenants):
        make_wait(databases, make_shop(runtime), each)
    queue, left = WebhookQueue(), tenants * each
    while left:
        left -= len(queue.claim(runtime))
        assert not (queue.is_drained and left)
    # Where a tenant had its share, or several were claimed for, only one more claim shows it.
    assert queue.is_drained is (tenants * each < 2 * SHARE)
    assert len(queue.claim(runtime)) == 0
    assert queue.is_drained


def test_batches_grow_with_the_queue(databases: Databases, runtime: Runtime, tenant: Shop) -> None:
    databases.rows("delete from webhook_work")
    make_wait(databases, tenant, 2 * BATCH_ROWS)
    queue = WebhookQueue(100)
    assert [len(queue.claim(runtime)) for _ in range(5)] == [100, 200, 400, 300, 0]
    assert queue.rows_max == BATCH_ROWS
    make_wait(databases, tenant, 2 * BATCH_ROWS)
    assert len(queue.claim(runtime)) == BATCH_ROWS


def test_a_claim_that_leaves_suspects_does_not_say_that_nothing_is_due(
    databases: Databases, runtime: Runtime, tenant: Shop
) -> None:
    databases.rows("delete from webhook_work")
    make_wait(databases, tenant, 3)
    databases.rows("update webhook_work set claim_id = uuidv7()")
    queue = WebhookQueue()
    assert len(queue.claim(runtime)) == 1
    assert not queue.is_drained
