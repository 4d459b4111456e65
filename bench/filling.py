"""Fills databases by SQL with what the product itself would have written, so that a round starts within seconds."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from psycopg2.extensions import cursor as Cursor

from bench.measured_stack import MeasuredStack
from testbed.shop import Shop

# Each payment asks for this much, and each webhook says that as much has come.
AMOUNT_MINOR = 2_500
AMOUNT = "25.00"
CURRENCY = "USD"
# As many as the product makes of one clearing wallet (app.services.ledger.posting).
CLEARING_SHARDS = 8
HISTORY_USERS = 10_000
# One transaction's worth of history: the temporary rows of a larger one would not fit into memory.
HISTORY_CHUNK = 500_000

_OPEN_PAYMENTS = """
create temp table filled on commit drop as
    select n, uuidv7() as payment_id, uuidv7() as webhook_id, %(user_prefix)s || (n %% %(users)s) as user_id,
           'sbx_' || md5(random()::text || n) as reference
    from generate_series(1, %(count)s) as n;
alter table filled add primary key (payment_id);
insert into payment_transactions (id, tenant_id, version, user_id, amount_minor, currency, status, provider_id,
        provider_reference, redirect_url, idempotency_scope, idempotency_key, request_sha256, provider_request,
        provider_request_at, expires_at)
    select payment_id, %(tenant)s, 2, user_id, %(amount_minor)s, %(currency)s, 'processing', %(provider)s, reference,
           'https://pay.example/' || reference, '', payment_id::text, sha256(payment_id::text::bytea),
           convert_to('{"merchant_reference":"' || payment_id || '"}', 'UTF8'), now(), now() + interval '1 hour'
    from filled order by n;
insert into wallet_temp_logs (payment_id, tenant_id, user_id, currency, amount_minor)
    select payment_id, %(tenant)s, user_id, %(currency)s, %(amount_minor)s from filled order by n;
insert into payment_work (payment_id, tenant_id, provider_id, action, due_at)
    select payment_id, %(tenant)s, %(provider)s, 'poll', now() + interval '1 hour' from filled order by n;
"""
_BODY = """convert_to(format('{"provider_id":"%%s","event_id":"evt_%%s","event_type":"payment.success",'
    '"transaction_id":"%%s","provider_reference":"%%s","status":"success","amount":"%%s","currency":"%%s",'
    '"occurred_at":"2026-01-01T00:00:00Z"}', %(provider)s, webhook_id, payment_id, reference, %(amount)s, %(currency)s),
    'UTF8')"""
_HEADERS = """jsonb_build_object('webhook-id', 'msg_' || webhook_id, 'webhook-timestamp', '1767225600',
    'webhook-signature', 'v1,' || encode(sha256(webhook_id::text::bytea), 'base64'),
    'content-type', 'application/json', 'user-agent', 'provider/1')"""
_WEBHOOKS = f"""
create temp table bodies on commit drop as select *, {_BODY} as body from filled;
insert into webhook_keys (provider_id, external_id, tenant_id, body_sha256, webhook_id)
    select %(provider)s, 'msg_' || webhook_id, %(tenant)s, sha256(body), webhook_id from bodies order by n;
insert into payment_webhooks (id, tenant_id, provider_id, external_id, path, body, headers, body_sha256,
        remote_address, payment_id)
    select webhook_id, %(tenant)s, %(provider)s, 'msg_' || webhook_id, 'payment-callback', body, {_HEADERS},
           sha256(body), '203.0.113.7', payment_id from bodies order by n;
"""  # noqa: S608  # constants
_KEEP = "create unlogged table if not exists bench_due (webhook_id uuid primary key, payment_id uuid not null)"
_MAKE_DUE = """
with taken as (
    delete from bench_due where webhook_id = any(array(
        select webhook_id from bench_due order by webhook_id limit %(count)s))
    returning webhook_id, payment_id
)
insert into webhook_work (webhook_id, tenant_id, payment_id)
    select webhook_id, %(tenant)s, payment_id from taken order by webhook_id
"""


def _values(shop: Shop, **more: object) -> dict[str, object]:
    values = {"amount_minor": AMOUNT_MINOR, "amount": AMOUNT, "currency": CURRENCY}
    return {**values, "tenant": str(shop.tenant_id), "provider": str(shop.provider_id), **more}


def fill_payments(
    stack: MeasuredStack, count: int, users: int, user_prefix: str = "user-"
) -> list[tuple[uuid.UUID, str, str]]:
    """Make `count` payments that the provider has; return (id, user, provider reference) of each."""
    with stack.databases.superuser.transaction() as cursor:
        cursor.execute(_OPEN_PAYMENTS, _values(stack.shop, count=count, users=users, user_prefix=user_prefix))
        cursor.execute("select payment_id::text, user_id, reference from filled order by n")
        return [(uuid.UUID(row[0]), row[1], row[2]) for row in cursor.fetchall()]


def fill_webhooks(stack: MeasuredStack, count: int, users: int) -> None:
    """Make `count` payments and a stored webhook for each, which is not due yet; see make_due."""
    with stack.databases.superuser.transaction() as cursor:
        cursor.execute(_OPEN_PAYMENTS + _WEBHOOKS, _values(stack.shop, count=count, users=users, user_prefix="user-"))
        cursor.execute(_KEEP)
        cursor.execute("insert into bench_due select webhook_id, payment_id from filled")
    # What was just written is on disk, and known to the planner, as it would be after some minutes of a real day.
    stack.databases.rows("analyze payment_transactions, payment_webhooks, wallet_temp_logs, payment_work")
    stack.databases.rows("checkpoint")


def make_due(stack: MeasuredStack, count: int) -> None:
    """Make `count` filled webhooks due, all in one commit."""
    with stack.databases.superuser.transaction() as cursor:
        take_due(cursor, stack.shop, count)


def take_due(cursor: Cursor, shop: Shop, count: int) -> None:
    """Make `count` filled webhooks due in the cursor's transaction."""
    cursor.execute(_MAKE_DUE, {"tenant": str(shop.tenant_id), "count": count})


_BACKLOG = """
insert into webhook_work (webhook_id, tenant_id, payment_id)
    select uuidv7(), %(tenant)s, uuidv7() from generate_series(1, %(count)s)
"""


def fill_backlog(stack: MeasuredStack, count: int) -> None:
    """Make so many webhooks wait that nobody will settle: they are due, and no more than that is stored of them."""
    run_in_bulk(stack, [_BACKLOG], _values(stack.shop, count=count))
    stack.databases.rows("analyze webhook_work")


# The months that the past below lies in, as the product would have made them while they were to come.
_MONTHS = """
select make_partition(name, (date_trunc('month', now() at time zone 'UTC') - ago * interval '1 month')::date)
    from generate_series(1, 4) as ago, unnest(array['payment_webhooks', 'notifications', 'audit_logs']) as t(name);
"""
_WALLETS = """
insert into wallets (id, tenant_id, kind, user_id, currency)
    select uuidv7(), %(tenant)s, 'user', 'past-' || n, %(currency)s from generate_series(0, %(users)s - 1) as n;
insert into wallets (id, tenant_id, kind, provider_id, shard, currency)
    select uuidv7(), %(tenant)s, 'clearing', %(provider)s, n, %(currency)s from generate_series(0, %(shards)s - 1) as n
    on conflict do nothing;
"""
# What both lanes below fill their tables from, each on a connection of its own: two processors fill faster than one.
# Within a chunk payment n is the (n - first) / users-th of its user and the (n - first) / shards-th of its clearing
# shard, so that balances and versions follow from n and from where the wallet stood before.
_CHUNK = """
drop table if exists bench_filled;
create unlogged table bench_filled (n bigint, payment_id uuid, webhook_id uuid, transfer_id uuid,
    notification_id uuid, user_id text, reference text, at timestamptz)
"""
LANES = 2
_CHUNK_LANES = [
    f"""
    insert into bench_filled
    select n, uuidv7(ago), uuidv7(ago), uuidv7(), uuidv7(ago), 'past-' || (n %% %(users)s),
           'sbx_' || md5(random()::text || n), now() + ago
    from generate_series(%(first)s::bigint, %(last)s::bigint) as n
    cross join lateral (select n * interval '0.5 second' - interval '90 days' as ago) as a where n %% {LANES} = {lane}
    """  # noqa: S608  # constants
    for lane in range(LANES)
]
_SHORTER_LANE = f"""
create temp table bodies on commit drop as select *, {_BODY} as body from bench_filled;
insert into payment_transactions (id, tenant_id, version, user_id, amount_minor, currency, status, provider_id,
        provider_reference, redirect_url, idempotency_scope, idempotency_key, request_sha256, provider_request,
        provider_request_at, received_minor, received_currency, created_at, updated_at, expires_at, completed_at)
    select payment_id, %(tenant)s, 3, user_id, %(amount_minor)s, %(currency)s, 'completed', %(provider)s, reference,
           'https://pay.example/' || reference, '', payment_id::text, sha256(payment_id::text::bytea),
           convert_to('{{"merchant_reference":"' || payment_id || '"}}', 'UTF8'), at, %(amount_minor)s, %(currency)s,
           at, at, at + interval '1 hour', at
    from bench_filled order by n;
insert into wallet_temp_logs (payment_id, tenant_id, user_id, currency, amount_minor, state, created_at, closed_at)
    select payment_id, %(tenant)s, user_id, %(currency)s, %(amount_minor)s, 'applied', at, at
    from bench_filled order by n;
insert into webhook_keys (provider_id, external_id, tenant_id, body_sha256, webhook_id)
    select %(provider)s, 'msg_' || webhook_id, %(tenant)s, sha256(body), webhook_id from bodies order by n;
insert into payment_webhooks (id, tenant_id, provider_id, external_id, path, body, headers, body_sha256,
        remote_address, payment_id, status, verdict, reason, received_at, settled_at)
    select webhook_id, %(tenant)s, %(provider)s, 'msg_' || webhook_id, 'payment-callback', body, {_HEADERS},
           sha256(body), '203.0.113.7', payment_id, 'processed', 'applied', 'the money arrived', at, at
    from bodies order by n;
insert into notifications (id, tenant_id, user_id, payment_id, type, payload, at)
    select notification_id, %(tenant)s, user_id, payment_id, 'payment.completed',
           jsonb_build_object('id', payment_id, 'user_id', user_id, 'amount', %(amount)s, 'status', 'completed'), at
    from bench_filled order by n;
insert into notification_numbers (tenant_id, number, notification_id, user_id)
    select %(tenant)s, coalesce(last_number, 0) + n - %(first)s + 1, notification_id, user_id
    from bench_filled left join notification_counters on tenant_id = %(tenant)s order by n;
"""  # noqa: S608  # constants
_LONGER_LANE = """
insert into wallet_transactions (id, tenant_id, transfer_id, transfer_key, payment_id, wallet_id, wallet_version,
        currency, direction, amount_minor, balance_before_minor, balance_after_minor, type, description, at)
    select uuidv7(), %(tenant)s, transfer_id, 'deposit', payment_id, wallet_id, version + place + 1, %(currency)s,
           direction, %(amount_minor)s, balance_minor + direction * place * %(amount_minor)s,
           balance_minor + direction * (place + 1) * %(amount_minor)s, 'deposit',
           'Payment deposit from external provider', at
    from (select f.*, 1 as direction, (n - %(first)s) / %(users)s as place, w.id as wallet_id, w.version,
                 w.balance_minor
          from bench_filled f join wallets w on w.kind = 'user' and w.tenant_id = %(tenant)s and w.user_id = f.user_id
              and w.currency = %(currency)s
          union all
          select f.*, -1, (n - %(first)s) / %(shards)s, w.id, w.version, w.balance_minor
          from bench_filled f join wallets w on w.kind = 'clearing' and w.provider_id = %(provider)s
              and w.shard = n %% %(shards)s and w.currency = %(currency)s) as leg
    order by n;
insert into audit_logs (tenant_id, at, actor, kind, payment_id, payment_version, detail)
    select %(tenant)s, at, 'provider:' || %(provider)s, kind, payment_id, version,
           jsonb_build_object('to', kind, 'amount_minor', %(amount_minor)s, 'currency', %(currency)s,
                              'webhook_id', webhook_id, 'transfer_id', transfer_id)
    from bench_filled cross join (values (1, 'payment_created'), (2, 'provider_call'), (3, 'payment_completed'))
        as step(version, kind) order by n, version;
"""
_BALANCES = """
update wallets w set balance_minor = balance_minor + total * %(amount_minor)s, version = version + total
    from (select user_id, count(*) as total from bench_filled group by user_id) as f
    where w.tenant_id = %(tenant)s and w.kind = 'user' and w.user_id = f.user_id and w.currency = %(currency)s;
update wallets w set balance_minor = balance_minor - total * %(amount_minor)s, version = version + total
    from (select n %% %(shards)s as shard, count(*) as total from bench_filled group by 1) as f
    where w.tenant_id = %(tenant)s and w.kind = 'clearing' and w.provider_id = %(provider)s and w.shard = f.shard
        and w.currency = %(currency)s;
insert into notification_counters as c (tenant_id, last_number) select %(tenant)s, count(*) from bench_filled
    on conflict (tenant_id) do update set last_number = c.last_number + excluded.last_number;
insert into payment_counts as c (status, total) select 'completed', count(*) from bench_filled
    on conflict (status) do update set total = c.total + excluded.total;
"""


_FILLED = (
    *("audit_logs", "payment_webhooks", "payment_transactions", "wallet_transactions", "notifications"),
    *("webhook_keys", "wallet_temp_logs", "notification_numbers", "wallets"),
)
# Those behind a constraint stay: foreign keys hang on them. The largest tables first, so that both lanes end together.
_INDEXES = """
select i.indexrelid::regclass::text, replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ')
from unnest(%s::text[]) with ordinality as t(name, place) join pg_index i on i.indrelid = t.name::regclass
where not exists (select from pg_constraint c where c.conindid = i.indexrelid) order by t.place
"""
# The product's max_wal_size would force a checkpoint every few seconds of a fill. After each checkpoint, the first
# change of a page writes the whole page to the log.
_LONG_LOG = "alter system set max_wal_size = '4GB'"


def fill_history(stack: MeasuredStack, already: int, count: int) -> None:
    """Make completed payments number `already` to `count` - 1 with all that belongs to them.

    Nothing may be settled there meanwhile. The audit rows are older than the seals: they wait for none.
    """
    values = _values(stack.shop, users=HISTORY_USERS, shards=CLEARING_SHARDS)
    if already == 0:
        run_in_bulk(stack, [_MONTHS, _WALLETS], values)
    with filled_in_bulk(stack, _FILLED):
        for first in range(already, count, HISTORY_CHUNK):
            chunk = {**values, "first": first, "last": min(first + HISTORY_CHUNK, count) - 1}
            run_in_bulk(stack, [_CHUNK], chunk)
            run_in_bulk(stack, _CHUNK_LANES, chunk)
            run_in_bulk(stack, [_LONGER_LANE, _SHORTER_LANE], chunk)
            run_in_bulk(stack, [_BALANCES], chunk)
    stack.databases.rows("drop table bench_filled")


def run_in_bulk(stack: MeasuredStack, scripts: Sequence[str], values: Mapping[str, object]) -> None:
    """Run scripts side by side, each as one transaction."""

    def run(script: str) -> None:
        with stack.databases.superuser.transaction() as cursor:
            # Foreign keys hold by construction; triggers would queue each old audit row for a seal.
            cursor.execute("set local session_replication_role = replica; set local synchronous_commit = off")
            # A chunk's wallets and its payments are joined in memory.
            cursor.execute("set local work_mem = '256MB'")
            cursor.execute(script, values)

    with ThreadPoolExecutor(LANES) as lanes:
        list(lanes.map(run, scripts))


@contextlib.contextmanager
def filled_in_bulk(stack: MeasuredStack, tables: Sequence[str]) -> Iterator[None]:
    """Drop the tables' indexes for the length of a block, then recreate them and vacuum the tables."""
    with stack.databases.superuser.transaction() as cursor:
        cursor.execute(_INDEXES, (list(tables),))
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f"drop index {name}")
    set_server(stack, _LONG_LOG)
    with ThreadPoolExecutor(LANES) as lanes:
        yield
        # Building an index from sorted rows is several times faster than inserting row by row.
        list(lanes.map(lambda index: maintain_in_bulk(stack, index[1]), indexes))
        list(lanes.map(lambda table: maintain_in_bulk(stack, f"vacuum (analyze) {table}"), tables))
    set_server(stack, "alter system reset max_wal_size")
    stack.databases.rows("checkpoint")


def maintain_in_bulk(stack: MeasuredStack, statement: str) -> None:
    """Run a statement that makes an index or vacuum, with the memory for it and without helpers of its own."""
    with contextlib.closing(stack.databases.superuser.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("set maintenance_work_mem = '512MB'")
        cursor.execute("set max_parallel_maintenance_workers = 0")
        cursor.execute(statement)


def set_server(stack: MeasuredStack, statement: str) -> None:
    """Change a setting of the server, for all that run on it."""
    stack.databases.rows(statement)
    stack.databases.rows("select pg_reload_conf()")
