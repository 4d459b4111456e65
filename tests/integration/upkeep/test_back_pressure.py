"""When workers are behind: intake costs what it did before, doorbells stay few, and the backlog is reported."""

from __future__ import annotations

import time
import uuid

import requests
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from app.local.embedded import APP_ROLE
from app.runtime.broker.transport import DOORBELLS_MAX
from app.runtime.doorbells import BELL_MS
from app.runtime.runtime import Runtime
from app.services.upkeep import sweep
from models import new_id
from testbed.servers import Databases
from testbed.shop import Shop, make_shop
from testbed.stack import Stack
from testbed.waiting import wait_until
from tests.support.clients.api import Api

WEBHOOKS = 100
# Deliveries per sample: enough that a page split here and there weighs little.
SAMPLE = 40
FEW, MANY = 1_000, 100_000
# What watch_work counts at most; beyond it the number says "this many or more".
COUNTED_MAX = 100_000

# Rows of work without webhooks: they slow down inserts and are never settled.
BACKLOG = """
set local session_replication_role = replica;
insert into webhook_work (webhook_id, tenant_id, payment_id, due_at)
select uuidv7(), :tenant, uuidv7(), now() - make_interval(secs => :age) from generate_series(1, :rows)
"""
# The inbox's tables as they lie on the disk: of a partitioned one its parts.
TABLES = """
select oid, oid::regclass::text as name from pg_class where relkind = 'r' and (
    oid in ('webhook_keys'::regclass, 'webhook_work'::regclass, 'payment_webhooks'::regclass)
    or oid in (select inhrelid from pg_inherits where inhparent = 'payment_webhooks'::regclass))
"""


def body_of(shop: Shop) -> bytes:
    """Return a webhook about a payment that nobody knows: it is stored like any other."""
    return (
        f'{{"provider_id": "{shop.provider_id}", "event_id": "evt_{uuid.uuid4()}", "event_type": "payment.success",'
        f' "transaction_id": "{new_id()}", "provider_reference": "sbx_x", "status": "success", "amount": "25.00",'
        f' "currency": "USD"}}'
    ).encode()


def pile_up(databases: Databases, shop: Shop, rows: int, age: float = 0.0) -> None:
    """Make so many webhooks wait, all of them due for `age` seconds."""
    databases.rows(BACKLOG, tenant=shop.tenant_id, rows=rows, age=age)


def test_webhooks_without_a_worker_are_taken_and_leave_a_handful_of_doorbells(front: Stack, shop: Shop) -> None:
    with Redis.from_url(front.databases.redis_url) as redis, requests.Session() as provider:
        before, began = redis.llen("ring.settle"), time.monotonic()
        for _ in range(WEBHOOKS):
            body = body_of(shop)
            url = f"{front.web}/webhooks/payment-callback"
            answer = provider.post(url, data=body, headers=shop.sign(body), timeout=10)
            assert answer.status_code == 200
        # One when the first came, and one each time that the bell had expired.
        bells = 1 + (time.monotonic() - began) * 1000 / BELL_MS
        assert redis.llen("ring.settle") - before <= bells + 1
    stored = "select count(*) from webhook_work where tenant_id = :tenant"
    assert front.databases.value(stored, tenant=shop.tenant_id) == WEBHOOKS


def test_doorbells_that_nobody_answers_do_not_pile_up(runtime: Runtime, databases: Databases, tenant: Shop) -> None:
    pile_up(databases, tenant, 1)
    with Redis.from_url(databases.redis_url) as redis:
        for _ in range(DOORBELLS_MAX + 20):
            sweep.sweep(runtime)
        assert redis.llen("ring.settle") == DOORBELLS_MAX
    # The newest are kept: those that have not expired.
    runtime.doorbells.ring("notify")
    with Redis.from_url(databases.redis_url) as redis:
        assert redis.llen("ring.notify") == 1


def test_the_backlog_and_its_age_are_reported(front: Stack, shop: Shop) -> None:
    def gauge(name: str) -> float:
        page = requests.get(f"{front.web}/metrics", timeout=10).text
        families = {family.name: family for family in text_string_to_metric_families(page)}
        return next(s.value for s in families[name].samples if s.labels == {"queue": "settle"})

    others = gauge("sluice_due_rows")
    pile_up(front.databases, shop, FEW, age=600)
    try:
        # A scrape may be answered out of what the last one read.
        wait_until(lambda: gauge("sluice_due_rows") >= FEW + others, "the backlog is reported")
        assert 600 <= gauge("sluice_due_oldest_seconds") < 900
        pile_up(front.databases, shop, COUNTED_MAX, age=300)
        wait_until(lambda: gauge("sluice_due_rows") == COUNTED_MAX, "counted up to a bound, however many wait")
        state = requests.get(f"{front.web}/health/work", timeout=10)
        # The other queues of this shared process may have old work of other tests.
        assert state.status_code == 503
        assert "settle" in state.json()["failing"]
    finally:
        front.databases.rows("delete from webhook_work where tenant_id = :id", id=shop.tenant_id)


def count_blocks(databases: Databases) -> int:
    """Return how many pages of the inbox's tables and indexes were read or written so far."""
    # A session reports its statistics when it ends, and not before a second has passed.
    open_sessions = "select count(*) from pg_stat_activity where usename = :login and datname = current_database()"
    wait_until(lambda: databases.value(open_sessions, login=APP_ROLE) == 0, "the sessions have ended")
    return int(
        databases.value(
            "select sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read)"
            f" from pg_statio_user_tables where relid in (select oid from ({TABLES}) as t)"
        )
    )


def count_blocks_each(databases: Databases, shop: Shop) -> float:
    """Return how many pages the taking of one webhook touches."""
    shop.runtime.database.engine.dispose()
    before = count_blocks(databases)
    for _ in range(SAMPLE):
        shop.deliver(body_of(shop))
    shop.runtime.database.engine.dispose()
    return (count_blocks(databases) - before) / SAMPLE


def test_taking_a_webhook_touches_as_few_pages_with_a_long_backlog_as_with_a_short_one(
    runtime: Runtime, databases: Databases
) -> None:
    shop = make_shop(runtime)
    # A vacuum in between would be counted too.
    for table in databases.rows(TABLES):
        databases.rows(f"alter table {table['name']} set (autovacuum_enabled = false)")
    pile_up(databases, shop, FEW)
    count_blocks_each(databases, shop)
    with_few = count_blocks_each(databases, shop)
    pile_up(databases, shop, MANY)
    with_many = count_blocks_each(databases, shop)
    assert with_few > 0
    # A tree a hundred times as large is a level or two higher; a scan of the queue would read a thousand pages.
    assert with_many < with_few + 12, (with_few, with_many)


def test_a_provider_that_hangs_holds_up_its_own_payments_only(stack: Stack) -> None:
    stack.start("web", "sandbox", "worker-provider")
    slow, quick = stack.make_shop(), stack.make_shop()
    stack.sandbox.script(match={"metadata": {"case": "hangs"}}, create={"answer": "timeout", "hold": 30})
    calls_max = stack.databases.value("select calls_max from payment_providers where id = :id", id=slow.provider_id)
    hanging = [Api(stack.web, slow.secret_key).deposit(metadata={"case": "hangs"}) for _ in range(calls_max + 4)]
    assert [answer.status_code for answer in hanging] == [202] * len(hanging)
    claimed = "select count(*) from payment_work where provider_id = :id and claim_id is not null and due_at > now()"

    def under_way() -> int:
        return int(stack.databases.value(claimed, id=slow.provider_id))

    wait_until(lambda: under_way() == calls_max, "the slow provider has all the calls that it may have")
    answer = Api(stack.web, quick.secret_key).deposit(headers={"Prefer": "wait=10"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["redirect_url"]
    # The other one still hangs, in no more calls than before (some may have timed out), and its payments wait.
    assert under_way() <= calls_max
    statuses = {str(slow.payment(uuid.UUID(taken.json()["id"])).status) for taken in hanging}
    assert statuses == {"pending"}
