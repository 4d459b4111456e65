"""Row locks held by a session of its own, and how much PostgreSQL has read of a table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg2
from sqlalchemy import text

from app.runtime.runtime import Runtime
from testbed.servers import Databases


@contextlib.contextmanager
def held_lock(databases: Databases, sql: str, *values: object) -> Iterator[None]:
    """Hold the locks that the superuser's `sql` takes, at least one row, for the length of the block.

    As a forgotten `psql` or a slow report does.
    """
    connection = psycopg2.connect(databases.superuser_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, [str(value) for value in values])
            assert cursor.rowcount > 0
        yield
    finally:
        connection.close()


def count_rows_read(databases: Databases, runtime: Runtime, table: str) -> int:
    """Return how many rows scans of the table, and entries scans of its indexes, have read so far.

    What other connections than the runtime's and the superuser's have read counts once they are closed.
    """
    with runtime.database.transaction("worker") as connection:
        connection.execute(text("select pg_stat_force_next_flush()"))
    databases.rows("select pg_stat_force_next_flush()")
    return int(
        databases.value(
            "select seq_tup_read + (select sum(idx_tup_read) from pg_stat_user_indexes i where i.relid = t.relid)"
            " from pg_stat_user_tables t where relname = :table",
            table=table,
        )
    )
