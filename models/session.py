"""Transactions: each one names the role it acts as and, where it acts for a tenant, the tenant."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, Engine, Row, TextClause, create_engine, text
from sqlalchemy.engine import make_url

from models.driver_types import remember_ids

Role = Literal["web", "door", "worker", "operator", "clerk"]

# A web request must answer within seconds; a settled batch of some hundred rows takes well under one.
STATEMENT_TIMEOUT_MS: dict[Role, int] = {
    "web": 5_000,
    "door": 2_000,
    "worker": 15_000,
    "operator": 60_000,
    "clerk": 15_000,
}

# Per process: ten transactions at once keep two cores of PostgreSQL busy, and ten processes fit into its connections.
POOL_SIZE = 10

# Role, tenant and limits go in one round trip and end with the transaction: safe with pooled connections.
_TAKE_ROLE = (
    "select set_config('role', :role, true), set_config('app.tenant', :tenant, true),"
    " set_config('statement_timeout', :timeout, true), set_config('lock_timeout', '2000', true),"
    " set_config('idle_in_transaction_session_timeout', '10000', true)"
)
_BEGIN = text(_TAKE_ROLE)


def psycopg2_url(url: str) -> str:
    """Returns `url` with the psycopg2 driver named; SQLAlchemy would take another one for a plain `postgresql://`."""
    return make_url(url).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


class Database:
    """The application's connections to PostgreSQL, made lazily and so once per process.

    `url` is the application's login, a member of the sluice_* roles that inherits nothing: a transaction that
    forgets its role may do nothing at all.
    """

    def __init__(self, url: str, pool_size: int = POOL_SIZE, pool_timeout: float = 5.0) -> None:
        # Five seconds: a request that gets no connection until then is better told 503 than kept.
        self.engine: Engine = create_engine(
            psycopg2_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=pool_timeout,
            pool_pre_ping=False,
            json_deserializer=orjson.loads,
            connect_args={"connect_timeout": 3, "application_name": "sluice"},
        )
        remember_ids(self.engine)

    @contextmanager
    def transaction(self, role: Role, tenant_id: uuid.UUID | None = None) -> Iterator[Connection]:
        """Opens a transaction as `role`, bound to `tenant_id` where row-level security asks for one.

        Commits at the end, rolls back on any exception. Raises sqlalchemy.exc.DBAPIError as the database does.
        """
        with self.engine.begin() as connection:
            take_role(connection, role, tenant_id)
            yield connection

    def run_alone(
        self, role: Role, statement: TextClause, parameters: Mapping[str, Any], tenant_id: uuid.UUID | None = None
    ) -> list[Row[Any]]:
        """Runs a statement made by `alone` as a transaction of `role`; it is committed once this returns its rows.

        One round trip instead of four: measured with a statement that does nothing, two thirds of the time. Raises
        sqlalchemy.exc.DBAPIError as the database does.
        """
        with self.engine.connect() as connection, _unopened(connection):
            return list(connection.execute(statement, {**_settings(role, tenant_id), **parameters}).all())

    @contextmanager
    def snapshot(self, role: Role) -> Iterator[Connection]:
        """Opens a read-only transaction as `role` in which all statements see the rows of one moment."""
        with self.engine.connect() as plain:
            connection = plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                take_role(connection, role, None)
                yield connection

    def forget_connections(self) -> None:
        """Drops inherited connections without closing them; to be called in a forked child."""
        self.engine.dispose(close=False)


@contextmanager
def _unopened(connection: Connection) -> Iterator[None]:
    """Keeps the driver from opening a transaction of its own.

    By the driver's own switch, which says nothing to the server: SQLAlchemy's AUTOCOMMIT is taken back by a statement,
    which is one more round trip, and which fails after the commit where the connection is gone by then.
    """
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101  # nosec B101  # it has just been taken from the pool
    driver.autocommit = True
    try:
        yield
    finally:
        if not driver.closed:
            driver.autocommit = False


def take_role(connection: Connection, role: Role, tenant_id: uuid.UUID | None) -> None:
    """Makes the transaction under way act as `role`, bound to `tenant_id`, with that role's limits."""
    connection.execute(_BEGIN, _settings(role, tenant_id))


def alone(sql: str) -> TextClause:
    """Returns the statement for `Database.run_alone`; `:role`, `:tenant` and `:timeout` are taken.

    `sql` may be several statements, the last of which gives rows. Statements that travel in one message are one
    transaction: role and limits end with it; each sees what was committed before it began.
    """
    return text(f"{_TAKE_ROLE}; {sql}")


def _settings(role: Role, tenant_id: uuid.UUID | None) -> dict[str, str]:
    return {
        "role": f"sluice_{role}",
        "tenant": str(tenant_id) if tenant_id else "",
        "timeout": str(STATEMENT_TIMEOUT_MS[role]),
    }
