"""Run PostgreSQL and Valkey out of their wheels, for `sluice up` and the tests.

Both servers listen where only this user or this machine reaches them, keep their rows and appends through a crash,
and end soon after the process that started them. They are for one machine: production uses servers of its own.
"""

from app.local.embedded.postgres import APP_ROLE, DATABASE, OWNER_ROLE, SUPERUSER, PostgresServer
from app.local.embedded.server import ServerUnavailable
from app.local.embedded.valkey import ValkeyServer

__all__ = ["APP_ROLE", "DATABASE", "OWNER_ROLE", "SUPERUSER", "PostgresServer", "ServerUnavailable", "ValkeyServer"]
