"""Sluice with its defaults behind a pooler that gives each transaction another session of the server."""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg2
import pytest
from psycopg2 import errors

from app.doctor import examine
from app.local.spawn import find_unprivileged_identity, launch
from app.runtime.runtime import Runtime
from app.services import verification
from app.services.records import notifications
from app.services.webhooks import settle
from models import Database, prepared, read
from models.statements import watched
from testbed.servers import Databases
from testbed.shop import make_shop
from testbed.waiting import wait_until
from tests.integration.deployment.pooler import open_pooler
from tests.support.programs import find_program


def through(url: str, query: str) -> str:
    """Return the URL with the pooler's socket instead of the server's."""
    return url.partition("?")[0] + "?" + query


@pytest.fixture(params=["own", "pgbouncer"])
def pooler(request: pytest.FixtureRequest, databases: Databases) -> Iterator[str]:
    """How a URL names a pooler in front of the tests' server: one of the tests' own, and PgBouncer where it is."""
    folder = unquote(databases.database_url.partition("?host=")[2].partition("&")[0])
    with tempfile.TemporaryDirectory(prefix="pool-") as own:
        opened = open_pooler(Path(own), Path(folder) / ".s.PGSQL.5432") if request.param == "own" else None
        with opened or open_pgbouncer(Path(own), folder) as query:
            yield query


@contextlib.contextmanager
def open_pgbouncer(own: Path, server: str) -> Iterator[str]:
    program = find_program("pgbouncer", "pgbouncer")
    (own / "users").write_text('"sluice_app" ""\n"sluice_owner" ""\n')
    (own / "settings").write_text(
        f"[databases]\n* = host={server} port=5432\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n"
        f"unix_socket_dir = {own}\nauth_type = trust\nauth_file = {own}/users\npool_mode = transaction\n"
        "default_pool_size = 4\n"
    )
    # It refuses to run as root, as PostgreSQL does.
    running = launch([program, str(own / "settings")], log_path=own / "log", identity=find_unprivileged_identity())
    try:
        wait_until((own / ".s.PGSQL.6432").exists, "PgBouncer listens", 10)
        yield f"host={own}&port=6432"
    finally:
        running.send_signal(signal.SIGINT)
        running.wait()


def test_a_prepared_statement_is_gone_with_its_session(databases: Databases, pooler: str) -> None:
    """What the fallback is for: where this passes for another reason, the others prove nothing."""
    url = through(databases.database_url, pooler)
    with contextlib.closing(psycopg2.connect(url)) as first, contextlib.closing(psycopg2.connect(url)) as second:
        first.autocommit = True
        with first.cursor() as cursor, second.cursor() as other:
            cursor.execute("prepare gone as select 1")
            # Another transaction holds a session meanwhile.
            other.execute("select 1")
            with contextlib.suppress(errors.InvalidSqlStatementName):
                cursor.execute("execute gone")
                cursor.execute("execute gone")
                pytest.fail("the statement outlived its transaction")


def test_money_arrives_with_the_defaults(databases: Databases, pooler: str, runtime: Runtime) -> None:
    database = Database(through(databases.database_url, pooler), 4)
    pooled = Runtime(runtime.settings, database, runtime.redis, runtime.doorbells)
    try:
        shop = make_shop(pooled)
        payments = [shop.deposit() for _ in range(6)]
        for payment in payments:
            shop.deliver(shop.body(payment))
            settle.settle_due(pooled)
        notifications.number_due(pooled)
        assert {shop.payment(payment.id).status for payment in payments} == {"completed"}
        assert verification.prove(database, "full").broken == {}
        findings = {f.check: (f.level, f.detail) for _, f in examine(pooled, ["PostgreSQL"])}
        assert findings["Pooler"][0] == "ok"
        assert "not prepared" in findings["Pooler"][1]
    finally:
        database.engine.dispose()


def test_statements_are_prepared_where_the_session_is_the_connections_own(databases: Databases, pooler: str) -> None:
    def sends(url: str) -> list[str]:
        database = Database(url, 1)
        message: Any = prepared("select 1")
        with watched(database.engine) as sent, database.transaction("door", by_keys="few") as connection:
            read(connection, message, {})
        database.engine.dispose()
        return [sql for sql, _ in sent if "select 1" in sql or sql.startswith("execute")]

    assert sends(through(databases.database_url, pooler)) == ["select 1"]
    assert all(sql.startswith("execute sluice_") for sql in sends(databases.database_url))
