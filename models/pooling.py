"""Detects a pooler between a connection and the server, behind which each transaction may use another session."""

from __future__ import annotations

import contextlib
from typing import Any


def has_own_session(driver: Any) -> bool:
    """Return whether `driver`, a fresh psycopg2 connection, speaks with one server process for as long as it lives.

    The key that cancels a query names the server process, and a pooler gives out keys of its own.
    """
    was_autocommit = driver.autocommit
    driver.autocommit = True
    try:
        with contextlib.closing(driver.cursor()) as cursor:
            cursor.execute("select pg_backend_pid()")
            return bool(cursor.fetchone()[0] == driver.info.backend_pid)
    finally:
        driver.autocommit = was_autocommit
