"""Check PostgreSQL: durability, schema, logins, connections."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, text

from app.doctor.finding import Finding, Level, expect, fail, is_loopback, ok, warn
from app.doctor.logins import examine_logins
from app.doctor.partitions import examine_partitions
from app.doctor.privileges import examine_privileges
from app.local.processes import SETTLE_PROCESSES
from app.runtime.runtime import Runtime
from models.database import POOL_SIZE
from models.database_urls import list_hosts, parse_url
from models.migrations import newest_revision
from models.postgres_version import MAJOR_BEST, UnsupportedServer, check_version, read_version

CLOCK_SECONDS_MAX = 2.0  # Signatures allow 300 s; a clock that is off by seconds is not synchronized.
SPARE_CONNECTIONS = 10  # For migrations, the command line, monitoring and a person with psql.
BUSY_SHARE = 0.8  # Share of the allowed connections; the overlap of a deployment needs the rest.
IDLE_SECONDS_MAX = 60.0  # Six times what our own transactions may be idle.

_SETTINGS = text("select name, setting from pg_settings where name = any(:names)")
_PROTECTING = ("fsync", "full_page_writes", "synchronous_commit")
_NAMES = [
    *_PROTECTING,
    *("autovacuum", "max_connections", "superuser_reserved_connections", "idle_in_transaction_session_timeout"),
]
_UNPROTECTED = text(
    """
    select c.relname from pg_class c
    join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'public'
    where c.relkind in ('r', 'p') and not (c.relrowsecurity and c.relforcerowsecurity)
      and (c.relname = 'tenants' or exists (
          select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped))
    order by c.relname
    """
)
_IDLE = text(
    """
    select count(*) from pg_stat_activity
    where datname = current_database() and state like 'idle in transaction%'
      and state_change < now() - make_interval(secs => :seconds)
    """
)


def examine_postgres(runtime: Runtime) -> Iterator[Finding]:
    """Yield findings about the database. Raise SQLAlchemyError where it cannot be reached."""
    # Without SET ROLE: only the login itself may see the queries of its other sessions.
    with runtime.database.engine.connect() as connection:
        yield from _examine_server(connection)
        values = {row.name: row.setting for row in connection.execute(_SETTINGS, {"names": _NAMES})}
        yield from _examine_settings(values)
        yield _examine_clock(connection)
        yield from _examine_connections(connection, values, runtime.settings.web_workers)
        yield from examine_logins(connection, runtime.settings)
        yield _examine_policies(connection)
        yield _examine_pooler(connection)
        yield from examine_privileges(connection)
    yield _examine_encryption(runtime.settings.required("database_url"))
    revision = _examine_revision(runtime)
    yield revision
    if revision.level is Level.OK:
        # An older schema lacks the tables and functions of these checks.
        yield from examine_partitions(runtime)


def _examine_server(connection: Connection) -> Iterator[Finding]:
    major, version = read_version(connection)
    try:
        check_version(connection)
    except UnsupportedServer as error:
        yield fail("PostgreSQL", str(error))
        return
    tested = f"{version} works; {MAJOR_BEST} is the version tested most"
    yield expect("PostgreSQL", major >= MAJOR_BEST, version, tested, warn)
    if connection.execute(text("select pg_is_in_recovery()")).scalar():
        yield fail("PostgreSQL role", "a standby, which is read-only: DATABASE_URL must name the primary")


def _examine_settings(values: dict[str, str]) -> Iterator[Finding]:
    off = [name for name in _PROTECTING if values[name] == "off"]
    lossy = f"off: {', '.join(off)}; an answered webhook could be lost in a crash: turn them on"
    yield expect("Durability", not off, f"{', '.join(_PROTECTING)} are on", lossy)
    is_on = values["autovacuum"] == "on"
    yield expect("Autovacuum", is_on, "on", "off: dead tuples slow down claims; turn it on")
    if values["idle_in_transaction_session_timeout"] == "0":
        yield warn(
            "Idle transactions",
            "idle_in_transaction_session_timeout is 0: Sluice's transactions set it, but a forgotten psql session"
            " would block the vacuum; set it to some seconds",
        )


def _examine_clock(connection: Connection) -> Finding:
    before = time.time()
    theirs: datetime.datetime = connection.execute(text("select clock_timestamp()")).scalar_one()
    after = time.time()
    # The database read its clock at some time between `before` and `after`.
    difference = max(before - theirs.timestamp(), theirs.timestamp() - after, 0.0)
    if difference > CLOCK_SECONDS_MAX:
        return warn(
            "Clocks", f"the database's and this machine's differ by {difference:.1f} s: synchronize both with NTP"
        )
    return ok("Clocks", f"the database's and this machine's differ by less than {CLOCK_SECONDS_MAX:g} s")


def _examine_connections(connection: Connection, values: dict[str, str], web_workers: int) -> Iterator[Finding]:
    allowed = int(values["max_connections"]) - int(values["superuser_reserved_connections"])
    # Sockets, the provider and the deliver worker are one process each; a settling one works on one batch at a time.
    wanted = (web_workers + 1 + 1 + 1) * POOL_SIZE + SETTLE_PROCESSES
    figures = f"one of each process takes up to {wanted} connections, the server allows {allowed}"
    is_enough = wanted + SPARE_CONNECTIONS <= allowed
    yield expect("Connections", is_enough, figures, f"{figures}: raise max_connections")
    used = connection.execute(text("select count(*) from pg_stat_activity where backend_type = 'client backend'"))
    in_use = int(used.scalar_one())
    if in_use > allowed * BUSY_SHARE:
        yield warn("Connections in use", f"{in_use} of {allowed}: raise max_connections, or run fewer processes")
    idle = int(connection.execute(_IDLE, {"seconds": IDLE_SECONDS_MAX}).scalar_one())
    if idle:
        yield warn("Idle in transaction", f"{idle} sessions for more than {IDLE_SECONDS_MAX:.0f} s: terminate them")


def _examine_pooler(connection: Connection) -> Finding:
    driver: Any = connection.connection.driver_connection
    if connection.execute(text("select pg_backend_pid()")).scalar_one() == driver.info.backend_pid:
        return ok("Pooler", "none: each connection has its own session")
    return ok("Pooler", "in use: statements are not prepared, since the server session may change")


def _examine_policies(connection: Connection) -> Finding:
    unprotected = list(connection.execute(_UNPROTECTED).scalars())
    enforced, lacking = "enabled and forced on every table with tenants' rows", ", ".join(unprotected)
    return expect("Row-level security", not unprotected, enforced, f"not enabled and forced on {lacking}")


def _examine_encryption(url: str) -> Finding:
    hosts = list_hosts(url)
    others = [host for host in hosts if not is_loopback(host)]
    if not others or parse_url(url).query.get("sslmode") in ("require", "verify-ca", "verify-full"):
        return ok("Connection to PostgreSQL", "encrypted" if others else "local")
    return warn(
        "Connection to PostgreSQL",
        f"{', '.join(others)}: another machine, and sslmode does not require TLS: add ?sslmode=verify-full to the URL",
    )


def _examine_revision(runtime: Runtime) -> Finding:
    with runtime.database.transaction("operator") as connection:
        present = connection.execute(text("select version_num from alembic_version")).scalar()
    newest = newest_revision()
    other = f"at revision {present}, this program is for {newest}: run `sluice migrate`"
    return expect("Migrations", present == newest, f"at revision {present}, the newest", other)
