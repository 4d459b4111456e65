"""Measures what an operation costs PostgreSQL, in figures that do not depend on how busy the machine is."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from psycopg2.extensions import TRANSACTION_STATUS_IDLE, cursor
from sqlalchemy import event

from app.runtime.runtime import Runtime
from models import Database
from testbed.servers import Databases

# What a semicolon in a message may stand in without ending a statement: literals and comments.
_LITERALS = re.compile(rb"E'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|--[^\n]*", re.DOTALL)


@dataclass(frozen=True)
class Cost:
    """What one operation sent to the server, and what the server wrote into its log for it."""

    messages: int
    statements: int
    commits: int
    records: int
    wal_bytes: int


@dataclass(frozen=True)
class Meter:
    """One session, which `runtime` does all its work in, and what it has sent since the last measurement.

    The server keeps count of the log that each session writes, so checkpoints, vacuums and other tests do not matter.
    """

    runtime: Runtime
    databases: Databases
    sent: list[tuple[bytes, bool]]

    def measure(self, operation: Callable[[], object]) -> Cost:
        """Return what `operation`, which works on `runtime`, costs."""
        records, wal_bytes = self._read_log()
        self.sent.clear()
        operation()
        sent = list(self.sent)
        after = self._read_log()
        statements = [_split(message) for message, _ in sent]
        return Cost(
            messages=len(sent),
            statements=sum(map(len, statements)),
            commits=sum(_count_commits(split, is_idle) for split, (_, is_idle) in zip(statements, sent, strict=True)),
            records=after[0] - records,
            wal_bytes=after[1] - wal_bytes,
        )

    def _read_log(self) -> tuple[int, int]:
        """Return the records and bytes that the session has written so far."""
        with self.runtime.database.engine.connect() as connection:
            row = connection.exec_driver_sql("select pg_backend_pid(), pg_stat_force_next_flush()").one()
        (log,) = self.databases.rows(
            "select wal_records, wal_bytes::bigint from pg_stat_get_backend_wal(:pid)", pid=row[0]
        )
        return log["wal_records"], log["wal_bytes"]


@contextlib.contextmanager
def open_meter(runtime: Runtime, databases: Databases) -> Iterator[Meter]:
    """Give a meter whose runtime is `runtime` with a single connection of its own."""
    sent: list[tuple[bytes, bool]] = []

    class Noting(cursor):
        """Notes each message as it is sent, and whether no transaction is open after it."""

        def execute(self, query: Any, vars: Any = None) -> None:
            super().execute(query, vars)
            sent.append((self.query, self.connection.info.transaction_status == TRANSACTION_STATUS_IDLE))

    database = Database(databases.database_url, 1)

    @event.listens_for(database.engine, "connect")
    def _note(connection: Any, _record: Any) -> None:
        connection.cursor_factory = Noting

    try:
        yield Meter(replace(runtime, database=database), databases, sent)
    finally:
        database.engine.dispose()


def least(costs: Sequence[Cost]) -> Cost:
    """Return the smallest of each figure.

    What is left out happens now and then, whatever is measured: a page of an index is split, a file grows, a page is
    pruned, a hint is set for the first time after a checkpoint, statements are prepared in a new session.
    """
    return Cost(*(min(getattr(cost, field.name) for cost in costs) for field in fields(Cost)))


def _split(message: bytes) -> list[bytes]:
    return [part.strip() for part in _LITERALS.sub(b"''", message).split(b";") if part.strip()]


def _count_commits(statements: list[bytes], is_idle: bool) -> int:
    """Return how many transactions the message committed: a message outside of one is a transaction of its own."""
    written = statements.count(b"commit")
    is_implicit = is_idle and statements[-1] not in (b"commit", b"rollback")
    return written + is_implicit
