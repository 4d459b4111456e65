"""Row locks held by a session of its own, and how much PostgreSQL has read of a table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg2
from sqlalchemy import text

from app.runtime.runtime import Runtime
from testbed.servers import Databases
from testbed.waiting import wait_until


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
        # The server notices a closed connection some time later; a rollback is over when it returns.
        with contextlib.suppress(psycopg2.Error):
            connection.rollback()
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


def remove_dead_rows(databases: Databases, table: str) -> None:
    """Vacuum the table until none of its rows and index entries is kept for a transaction that began before its end."""

    def vacuumed() -> bool:
        databases.rows(f"vacuum {table}")
        databases.rows("select pg_stat_force_next_flush()")
        return not databases.value("select n_dead_tup from pg_stat_user_tables where relname = :table", table=table)

    wait_until(vacuumed, f"the dead rows of {table} are removed")
