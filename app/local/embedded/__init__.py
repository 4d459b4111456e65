"""Runs PostgreSQL and Valkey out of their wheels, for `sluice up` and the tests.

Both servers listen where only this user or this machine reaches them, keep their rows and appends through a crash,
and end soon after the process that started them. They are for one machine: production uses servers of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.local.embedded.postgres import APP_ROLE, DATABASE, OWNER_ROLE, SUPERUSER, PostgresServer
from app.local.embedded.server import RunningServer, ServerUnavailable
from app.local.embedded.valkey import ValkeyServer

__all__ = [
    "APP_ROLE",
    "DATABASE",
    "OWNER_ROLE",
    "SUPERUSER",
    "PostgresServer",
    "RunningServer",
    "ServerUnavailable",
    "ValkeyServer",
    "embedded_postgres",
    "embedded_valkey",
    "start_postgres",
    "start_valkey",
]


def start_postgres(home: Path, settings: Mapping[str, str] | None = None) -> PostgresServer:
    """Start PostgreSQL with its data in `home`/postgres; `settings` go over the server's own.

    ServerUnavailable says what to do where it cannot run.
    """
    return PostgresServer(home, settings).start()


def start_valkey(home: Path) -> ValkeyServer:
    """Start Valkey with its data in `home`/valkey; ServerUnavailable says what to do where it cannot run."""
    return ValkeyServer(home).start()


@contextlib.contextmanager
def embedded_postgres(home: Path, settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """PostgreSQL for the length of a block."""
    server = start_postgres(home, settings)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def embedded_valkey(home: Path) -> Iterator[ValkeyServer]:
    """Valkey for the length of a block."""
    server = start_valkey(home)
    try:
        yield server
    finally:
        server.stop()
