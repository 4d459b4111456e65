"""What travels in one message: prepared once a connection, writes that wait, and what becomes of both when it fails."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import uuid
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, bindparam, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from app.runtime.runtime import Runtime
from app.services.ledger.wallets import read_entries
from app.services.payments.queries import Filters, list_payments
from app.services.records import notifications
from app.services.webhooks import settle
from models import Database, buffer, prepared, read, statements, tables
from models.array_params import is_any
from models.database import single
from models.statements import watched
from testbed.servers import Databases
from testbed.shop import make_shop

NAME = tables.heartbeats.c.name
# As Core; others here are text.
BEAT = prepared(insert(tables.heartbeats).values(name=bindparam("name"), at=func.now()))
BEATS = prepared(select(NAME).where(is_any(NAME, "names")).order_by(NAME))
KNOWN = "select count(*) from pg_prepared_statements"


@pytest.fixture
def one_connection(databases: Databases) -> Iterator[Database]:
    """Provide a database with one connection, so that all calls see what earlier ones left there."""
    database = Database(databases.database_url, 1)
    yield database
    database.engine.dispose()


def names(connection: Connection, *wanted: str) -> list[str]:
    return [row.name for row in read(connection, BEATS, {"names": list(wanted)})]


def count_known(database: Database) -> int:
    with database.transaction("worker") as connection:
        return int(connection.execute(text(KNOWN)).scalar_one())


def test_a_connection_prepares_a_statement_once(one_connection: Database) -> None:
    with watched(one_connection.engine) as sent:
        for _ in range(3):
            with one_connection.transaction("worker", by_keys="few") as connection:
                assert names(connection, "nobody") == []
    # Taking the role, and the statement itself.
    assert count_known(one_connection) == 2
    assert all("execute sluice_" in message for message, _ in sent if message != "commit")


def test_what_is_about_many_rows_is_planned_for_them(one_connection: Database) -> None:
    with one_connection.transaction("worker") as connection:
        assert names(connection, "nobody") == []
    assert count_known(one_connection) == 0


def test_nothing_is_prepared_where_a_pooler_forbids_it(databases: Databases, runtime: Runtime) -> None:
    database = Database(databases.database_url, 1, prepares=False)
    shop = make_shop(dataclasses.replace(runtime, database=database))
    payment = shop.deposit()
    shop.deliver(shop.body(payment))
    settle.settle_due(shop.runtime)
    assert shop.payment(payment.id).status == "completed"
    assert notifications.last_number(database, shop.tenant_id) == 1
    assert count_known(database) == 0
    database.engine.dispose()


def test_pages_of_lists_are_built_once(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, cursor = make_shop(runtime), (datetime.datetime.now(datetime.UTC), uuid.uuid4())

    def read_pages() -> None:
        for before in (None, cursor):
            assert list_payments(runtime.database, shop.caller, Filters(before=before), 9) == []
        for currency, versions in itertools.product((None, "USD"), (None, {"USD": 1})):
            page = read_entries(runtime.database, shop.tenant_id, "ann", currency, versions, 9)
            assert page == ([], None)

    read_pages()
    monkeypatch.setattr(statements._Statement, "of", None)
    read_pages()


def test_writes_wait_for_the_next_message_and_go_before_it(one_connection: Database) -> None:
    with watched(one_connection.engine) as sent, one_connection.transaction("worker", by_keys="few") as connection:
        buffer(connection, BEAT, {"name": "first"})
        buffer(connection, BEAT, {"name": "it's 100 % second"})
        assert names(connection, "first", "it's 100 % second") == ["first", "it's 100 % second"]
        buffer(connection, BEAT, {"name": "third"})
        # Statements that SQLAlchemy sends come after them as well.
        assert connection.execute(text("select count(*) from heartbeats where name = 'third'")).scalar_one() == 1
        buffer(connection, BEAT, {"name": "last"})
    with one_connection.transaction("worker", by_keys="few") as connection:
        assert names(connection, "last", "third") == ["last", "third"]
    assert len(sent) == 3


def beat_twice(database: Database, name: str, *, is_read: bool) -> None:
    with database.transaction("worker", by_keys="few") as connection:
        buffer(connection, BEAT, {"name": name})
        buffer(connection, BEAT, {"name": name})
        if is_read:
            names(connection, name)
            raise AssertionError("the query was answered")


@pytest.mark.parametrize("is_read", [True, False])
def test_a_write_that_fails_raises_at_the_next_message(one_connection: Database, is_read: bool) -> None:
    with pytest.raises(IntegrityError):
        beat_twice(one_connection, "twice", is_read=is_read)
    with one_connection.transaction("worker", by_keys="few") as connection:
        assert names(connection, "twice") == []


def test_writes_that_wait_are_forgotten_with_their_transaction(one_connection: Database) -> None:
    with contextlib.suppress(RuntimeError), one_connection.transaction("worker", by_keys="few") as connection:
        buffer(connection, BEAT, {"name": "undone"})
        raise RuntimeError
    with one_connection.transaction("worker", by_keys="few") as connection:
        assert names(connection, "undone") == []


def test_an_error_carries_no_values(one_connection: Database) -> None:
    secret = f"person-{uuid.uuid4()}"
    with pytest.raises(DBAPIError) as raised, one_connection.transaction("worker", by_keys="few") as connection:
        read(connection, prepared("select 1 / (length(cast(:name as text)) - 43)"), {"name": secret})
    assert "division by zero" in str(raised.value)
    assert secret not in str(raised.value)


def end_sessions(databases: Databases) -> None:
    databases.rows(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
    )


def query_single(database: Database) -> list[int]:
    return [row.one for row in database.run_single("worker", single("select 1 as one"), {})]


def query_by_statements(database: Database) -> list[int]:
    with database.transaction("worker", by_keys="few") as connection:
        return [row.one for row in read(connection, prepared("select 1 as one"), {})]


def query_by_sqlalchemy(database: Database) -> list[int]:
    with database.transaction("worker") as connection:
        return list(connection.execute(text("select 1")).scalars())


def query_nothing(database: Database) -> list[int]:
    with database.transaction("worker"):
        return [1]


@pytest.mark.parametrize("query", [query_single, query_by_statements, query_by_sqlalchemy, query_nothing])
def test_a_lost_connection_takes_the_others_of_its_pool_along(
    databases: Databases, runtime: Runtime, query: Callable[[Database], list[int]]
) -> None:
    database = runtime.database
    with database.transaction("worker") as one, database.transaction("worker") as two:
        one.execute(text("select 1"))
        two.execute(text("select 1"))
    end_sessions(databases)
    with pytest.raises(OperationalError) as raised:
        query(database)
    assert raised.value.connection_invalidated
    for _ in range(3):
        assert query(database) == [1]


def test_a_connection_lost_in_a_transaction_is_reported_and_replaced(
    databases: Databases, one_connection: Database
) -> None:
    def lose_it() -> None:
        with one_connection.transaction("worker", by_keys="few") as connection:
            assert names(connection, "lost") == []
            end_sessions(databases)
            buffer(connection, BEAT, {"name": "lost"})

    with pytest.raises(OperationalError):
        lose_it()
    with one_connection.transaction("worker", by_keys="few") as connection:
        assert names(connection, "lost") == []


def test_a_server_that_is_not_there_raises_as_sqlalchemy_does() -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:9/nothing")
    with pytest.raises(OperationalError):
        nowhere.run_single("worker", single("select 1"), {})


# Rows as they lie there after a while.
GROWN = """
set local session_replication_role = replica;
insert into payment_transactions (id, tenant_id, user_id, amount_minor, currency, status, provider_id,
                                  idempotency_scope, idempotency_key, request_sha256, expires_at)
    select uuidv7(), :tenant, 'user-' || n, 100, 'USD', 'failed', :provider, '', 'old-' || n, '', now()
    from generate_series(1, 20000) n;
insert into wallets (id, tenant_id, kind, user_id, currency)
    select uuidv7(), :tenant, 'user', 'user-' || n, 'USD' from generate_series(1, 20000) n;
insert into wallet_temp_logs (payment_id, tenant_id, user_id, currency, amount_minor)
    select uuidv7(), :tenant, 'user-' || n, 'USD', 100 from generate_series(1, 20000) n;
insert into payment_work (payment_id, tenant_id, provider_id, action, due_at)
    select uuidv7(), :tenant, :provider, 'poll', now() + interval '1 day' from generate_series(1, 20000) n;
insert into webhook_work (webhook_id, tenant_id, payment_id, due_at)
    select uuidv7(), :tenant, uuidv7(), now() + interval '1 day' from generate_series(1, 20000) n;
insert into webhook_keys (provider_id, external_id, tenant_id, body_sha256, webhook_id)
    select :provider, 'old-' || n, :tenant, '', uuidv7() from generate_series(1, 20000) n;
insert into dead_letters (id, tenant_id, kind, payment_id, reason, detail)
    select uuidv7(), :tenant, 'webhook', uuidv7(), 'unusable', '' from generate_series(1, 20000) n;
insert into notifications (id, tenant_id, user_id, payment_id, type, payload)
    select uuidv7(), :tenant, 'user-' || n, uuidv7(), 'payment.failed', '{}' from generate_series(1, 20000) n;
insert into notification_numbers (tenant_id, number, notification_id, user_id)
    select :tenant, -n, uuidv7(), 'user-' || n from generate_series(1, 20000) n;
insert into audit_logs (tenant_id, actor, kind, detail)
    select :tenant, 'system', 'old', '{}' from generate_series(1, 20000) n
"""


def test_kept_plans_read_no_more_once_tables_have_grown_and_were_analyzed(
    databases: Databases, runtime: Runtime, one_connection: Database
) -> None:
    """The same connection for all: its first plans were made when there was next to nothing to read."""
    # Autovacuum would analyze within seconds, as this test does explicitly, and its reads of any table that has grown,
    # a partition too, would be counted.
    stored = "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
    for table in databases.rows(stored):
        databases.rows(f"alter table {table['relname']} set (autovacuum_enabled = false)")
    shop = make_shop(dataclasses.replace(runtime, database=one_connection))

    def count_blocks() -> int:
        with one_connection.transaction("worker") as connection:
            connection.execute(text("select pg_stat_force_next_flush()"))
        return int(
            databases.value(
                "select sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0))"
                " from pg_statio_user_tables"
            )
        )

    def count_one() -> int:
        before = count_blocks()
        payment = shop.deposit()
        body = shop.body(payment)
        shop.deliver(body, webhook_id=f"msg_{payment.id}")
        shop.deliver(body, webhook_id=f"msg_{payment.id}")
        settle.settle_due(shop.runtime)
        assert shop.payment(payment.id).status == "completed"
        return count_blocks() - before

    count_one()
    with_few = count_one()
    databases.rows(GROWN, tenant=shop.tenant_id, provider=shop.provider_id)
    databases.rows("analyze")
    count_one()
    with_many = count_one()
    # Some forty trees are a level or two higher; one scan of a table would read hundreds of pages.
    assert with_many < with_few + 120, (with_few, with_many)
