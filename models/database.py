"""Database connections and transactions; each transaction names its role and, where it has one, its tenant."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import orjson
from sqlalchemy import ClauseElement, Connection, Engine, PoolProxiedConnection, create_engine
from sqlalchemy.exc import DBAPIError

from models.database_urls import psycopg2_url
from models.statements import (
    Row,
    Statements,
    as_text,
    borrowed,
    buffer,
    compose_messages,
    finish,
    forget_waiting,
    keep_plans,
    prepared,
    read,
    run,
)
from models.uuid_cache import remember_ids

Role = Literal["web", "door", "worker", "operator", "clerk", "sockets", "auditor", "deliver"]
# How many rows a transaction finds by their keys; None where it may read whole tables.
ByKeys = Literal["few", "many"]

# A web request must answer within seconds; a settled batch of some hundred rows takes well under one.
STATEMENT_TIMEOUT_MS: dict[Role, int] = {
    "web": 5_000,
    "door": 2_000,
    "worker": 15_000,
    "operator": 60_000,
    "clerk": 15_000,
    "sockets": 2_000,
    "auditor": 60_000,
    "deliver": 15_000,
}

# Per process: ten transactions at once keep two cores of PostgreSQL busy, and ten processes fit into its connections.
POOL_SIZE = 10

# Role, tenant and limits go in one round trip and end with the transaction: safe with pooled connections.
_TAKE_ROLE = (
    "select set_config('role', :role, true), set_config('app.tenant', :tenant, true),"
    " set_config('statement_timeout', :timeout, true), set_config('lock_timeout', '2000', true),"
    " set_config('idle_in_transaction_session_timeout', '10000', true)"
)
# Rows are found by index, whatever the size of the table: the planner would choose sequential scans for tables of up to
# some ten thousand rows, and learn late that a table has grown. Without bitmaps they are found in the order of the
# index, in which a statement that changes them locks them.
_TAKE_ROLE_FOR_MANY = (
    _TAKE_ROLE + ", set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)"
)
# A kept plan may be made while tables are still small: a plan that hashes a whole table would be kept as well.
_TAKE_ROLE_FOR_FEW = (
    _TAKE_ROLE_FOR_MANY
    + ", set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true)"
)
_TAKE = prepared(_TAKE_ROLE)
# The driver would send BEGIN by itself, and wait for the answer.
_BEGIN: dict[ByKeys | None, Statements] = {
    None: prepared(_TAKE_ROLE, before="begin; "),
    "few": prepared(_TAKE_ROLE_FOR_FEW, before="begin; "),
    "many": prepared(_TAKE_ROLE_FOR_MANY, before="begin; "),
}


class Database:
    """The application's connection pool, made lazily and so once per process.

    `url` is the application's login, a member of the sluice_* roles that inherits nothing: a transaction without a role
    has no rights. `prepares`: statements about few rows are prepared once per connection. `instead` maps roles that
    shared code names to those that the login of this process type has (models/logins.py).
    """

    def __init__(
        self,
        url: str,
        pool_size: int = POOL_SIZE,
        pool_timeout: float = 5.0,
        *,
        prepares: bool = True,
        instead: Mapping[Role, Role] | None = None,
    ) -> None:
        self._instead = dict(instead or {})
        # Five seconds: a request that gets no connection until then is better answered 503 than kept waiting.
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
        compose_messages(self.engine, prepares=prepares)

    @contextmanager
    def transaction(
        self, role: Role, tenant_id: uuid.UUID | None = None, *, by_keys: ByKeys | None = None
    ) -> Iterator[Connection]:
        """Open a transaction as `role`, bound to `tenant_id` where row-level security asks for one.

        Commit at the end, roll back on any exception. Raise sqlalchemy.exc.DBAPIError for errors of the database. With
        `by_keys` no table is scanned sequentially; with few rows, statements made by `prepared` are prepared on the
        server and their plans are kept.
        """
        with self._renewed_pool(), self.engine.connect() as connection, _unopened(connection.connection):
            keep_plans(connection.connection, by_keys == "few")
            try:
                buffer(connection, _BEGIN[by_keys], self._settings(role, tenant_id))
                yield connection
                finish(connection, "commit")
            except BaseException:
                _roll_back(connection)
                raise

    def run_single(
        self, role: Role, message: Statements, parameters: Mapping[str, Any], tenant_id: uuid.UUID | None = None
    ) -> list[Row]:
        """Run a message made by `single` as a transaction of `role`; it is committed once this returns its rows.

        One round trip instead of four: an empty statement takes two thirds of the time. Raise
        sqlalchemy.exc.DBAPIError for errors of the database.
        """
        with self._renewed_pool(), borrowed(self.engine) as driver, _unopened(driver):
            keep_plans(driver, True)
            try:
                return run(driver, self.engine.dialect, message, {**self._settings(role, tenant_id), **parameters})
            except DBAPIError as error:
                if error.connection_invalidated:
                    driver.invalidate(error.orig)
                raise

    @contextmanager
    def _renewed_pool(self) -> Iterator[None]:
        """Replace the pool after a lost connection: its other connections were lost as well."""
        pool = self.engine.pool
        try:
            yield
        except DBAPIError as error:
            if error.connection_invalidated and self.engine.pool is pool:
                self.engine.dispose(close=False)
            raise

    @contextmanager
    def snapshot(self, role: Role) -> Iterator[Connection]:
        """Open a read-only transaction as `role` in which all statements see the rows of one moment."""
        with self.engine.connect() as plain:
            connection = plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                read(connection, _TAKE, self._settings(role, None))
                yield connection

    def _settings(self, role: Role, tenant_id: uuid.UUID | None) -> dict[str, str]:
        acted = self._instead.get(role, role)
        return {
            "role": f"sluice_{acted}",
            "tenant": str(tenant_id) if tenant_id else "",
            "timeout": str(STATEMENT_TIMEOUT_MS[acted]),
        }

    def forget_connections(self) -> None:
        """Drop inherited connections without closing them; to be called in a forked child."""
        self.engine.dispose(close=False)


@contextmanager
def _unopened(connection: PoolProxiedConnection) -> Iterator[None]:
    """Keep the driver from opening a transaction of its own.

    The driver's own switch sends nothing to the server. SQLAlchemy's AUTOCOMMIT is reset by a statement: one more round
    trip, which fails after the commit where the connection is lost by then.
    """
    driver = connection.driver_connection
    assert driver is not None  # noqa: S101  # nosec B101  # it has just been taken from the pool
    driver.autocommit = True
    try:
        yield
    finally:
        if not driver.closed:
            driver.autocommit = False


def _roll_back(connection: Connection) -> None:
    """Roll back a failed transaction; discard the connection where that fails as well."""
    if connection.invalidated or connection.closed:
        return
    forget_waiting(connection)
    try:
        finish(connection, "rollback")
    except DBAPIError:
        if not connection.invalidated:
            connection.invalidate()


def single(*statements: str | ClauseElement, plans_anew: bool = False) -> Statements:
    """Return `statements` for `Database.run_single`; the last returns rows. Reserved: `:role`, `:tenant`, `:timeout`.

    Statements sent in one message are one transaction: role and limits end with it; each sees what was committed
    before it began. They are prepared unless `plans_anew`: for pages of lists, whose best plan depends on the filters.
    """
    return as_text(_TAKE_ROLE, *statements) if plans_anew else prepared(_TAKE_ROLE_FOR_FEW, *statements)
