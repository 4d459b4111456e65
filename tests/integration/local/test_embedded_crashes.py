"""The processes that watch PostgreSQL survive its crash, however long the recovery takes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from app.local.embedded import PostgresServer
from app.local.server_watch import ServerWatch
from testbed.waiting import wait_until


def query(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Return a query's rows; a statement without rows is committed."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[PostgresServer, ServerWatch, list[str]]]:
    """Provide a PostgreSQL of the test's own under a watch, and what the watch reports."""
    reports: list[str] = []
    with PostgresServer(tmp_path) as server:
        yield server, ServerWatch(server, reports.append, lambda: None), reports


def test_a_killed_postmaster_is_started_again_as_often_as_it_takes(
    watched: tuple[PostgresServer, ServerWatch, list[str]],
) -> None:
    server, watch, reports = watched
    query(server.owner_database_url, "create table kept as select 1 as n")
    server.kill()
    # While the folder is away no start can succeed, and none may raise.
    hidden = server.data.rename(server.data.with_name("hidden"))
    server.data.touch()
    wait_until(lambda: not watch.step() and any("could not be started again" in line for line in reports), "it fails")
    server.data.unlink()
    hidden.rename(server.data)
    wait_until(watch.step, "it answers again", 20)
    assert reports[-1] == f"postgres started again (process {server.pid})"
    assert query(server.owner_database_url, "select n from kept") == [(1,)]


@pytest.mark.parametrize("kind", ["backend", "checkpointer"])
def test_a_crash_that_postgres_recovers_from_by_itself_is_left_to_it(
    watched: tuple[PostgresServer, ServerWatch, list[str]], kind: str
) -> None:
    server, watch, reports = watched
    before = server.pid
    with closing(psycopg2.connect(server.superuser_url)) as connection, connection.cursor() as cursor:
        condition = "pid = pg_backend_pid()" if kind == "backend" else "backend_type = 'checkpointer'"
        cursor.execute(f"select pid from pg_stat_activity where {condition}")
        (victim,) = cursor.fetchone() or (0,)
        psutil.Process(victim).kill()
    wait_until(server.answers, "it has recovered")
    assert watch.step()
    assert (server.pid, reports) == (before, [])


def test_a_recovery_may_take_longer_than_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers 57P03 is running: it is neither given up nor restarted."""
    monkeypatch.setattr("app.local.embedded.server.START_SECONDS", 0.5)
    monkeypatch.setattr("app.local.embedded.server.POLL_SECONDS", 0.05)
    PostgresServer(tmp_path).start().stop()
    # A standby without hot standby takes no connections until it is promoted.
    server = PostgresServer(tmp_path, {"hot_standby": "off"})
    (server.data / "standby.signal").touch()

    def promote() -> None:
        wait_until(lambda: server.is_recovering, "it recovers")
        time.sleep(1.5)
        (server.data / "promote").touch()
        os.kill(server.pid, signal.SIGUSR1)

    helper = threading.Thread(target=promote)
    helper.start()
    try:
        server.start()
    finally:
        helper.join()
        server.stop()
    assert "promote" in server.log_path.read_text(encoding="utf-8")
