"""Row locks of a session of its own, as a forgotten `psql` or a slow report holds them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg2

from testbed.servers import Databases


@contextlib.contextmanager
def held_lock(databases: Databases, sql: str, *values: object) -> Iterator[None]:
    """Hold the locks that the superuser's `sql` takes, at least one row, for the time of the block."""
    connection = psycopg2.connect(databases.superuser_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, [str(value) for value in values])
            assert cursor.rowcount > 0
        yield
    finally:
        connection.close()
