"""Statements of the hot path: prepared once a connection, several in one message, buffered writes.

There are two ways to run SQL (docs/decisions/0006):

1. Ordinary statements: `connection.execute(statement)`, within `Database.transaction`. SQLAlchemy Core, made of the
   declared tables where it is run, with its values in it; SQLAlchemy caches what it compiles.

       from models import tables
       tenants = tables.tenants
       connection.execute(update(tenants).where(tenants.c.id == tenant_id).values(name=name))
       connection.execute(select(*columns(tenants, "id", "name")).order_by(tenants.c.name)).mappings()

2. What requests, claims and settling run again and again: a constant made by `prepared`, run by `read` or `buffer` in a
   transaction, or made by `single` and run by `Database.run_single` as a transaction. Values are given when it is run,
   as `bindparam("name")` or `:name`; values that the statement has itself become literals.

       _NAME = single(select(tenants.c.name).where(tenants.c.id == bindparam("tenant_id")))
       database.run_single("web", _NAME, {"tenant_id": tenant_id}, tenant_id)

Where Core says less readably what several parts of a statement do, both take text, with a comment for each part:
`text(...)` for the first, a string for the second. Lists of columns, sets of rows and parts that Core says well are
filled in by `models.sql.sql`:

       _QUEUED = rows_of(tables.notifications, "id", "tenant_id", "payload")
       _QUEUE = prepared(
           sql(
               '''
               with written as ({insert} returning id, tenant_id)
               insert into notification_work (notification_id, tenant_id) select id, tenant_id from written
               ''',
               insert=_QUEUED.insert(),
           )
       )
       buffer(connection, _QUEUE, _QUEUED.encode(rows))

Sets of rows (`rows_of`, `is_any`) are in models/array_params.py.

Why the second way: PostgreSQL parses, rewrites (row-level security) and plans a statement anew each time it is sent as
text; for a batch of one that is more work than running it, and so is waiting for the answer of each write. psycopg2 has
neither a protocol for prepared statements nor a pipeline, so it is SQL's PREPARE and EXECUTE, and several statements in
one message. They go to the driver directly: SQLAlchemy's execution costs as much Python as deciding what a webhook
means.

A prepared statement lives in its session. Behind a pooler, which may change sessions between transactions, and where
`Database`'s `prepares` switches it off, the same statements are sent as text.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg2
import structlog
from sqlalchemy import ClauseElement, Connection, Dialect, Engine, PoolProxiedConnection, event
from sqlalchemy.exc import DBAPIError

from models.pooling import has_own_session
from models.sql import render

log = structlog.get_logger(__name__)

# A parameter as SQLAlchemy's text() has it: not a cast, not a slice.
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]\w*)\b(?!:)")
# What is stored with a connection: the names it knows, None where it is to know none; whether it learns more of them
# at present; writes that wait; where what is sent is noted.
_KNOWN, _KEEPS_PLANS, _WAITING, _WATCHER = ("sluice_known", "sluice_keeps_plans", "sluice_waiting", "sluice_watcher")

# A tuple whose fields have the names of the columns.
Row = Any


@dataclass(frozen=True, slots=True)
class _Statement:
    """One statement: its name and how it is prepared, run by that name, and run as text."""

    name: str
    prepare: str
    execute: str
    plain: str

    @classmethod
    def of(cls, statement: str | ClauseElement) -> _Statement:
        sql = statement.strip() if isinstance(statement, str) else render(statement)
        names = list(dict.fromkeys(_PARAMETER.findall(sql)))
        # By its text: all processes call the same statement the same, as the server's log does then.
        name = "sluice_" + hashlib.sha256(sql.encode()).hexdigest()[:12]
        arguments = "(" + ", ".join(f"%({parameter})s" for parameter in names) + ")" if names else ""
        numbered = _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", sql)
        plain = _PARAMETER.sub(r"%(\1)s", sql.replace("%", "%%")) if names else sql
        return cls(name, f"prepare {name} as {numbered}", f"execute {name}{arguments}", plain)


@dataclass(frozen=True, slots=True)
class Statements:
    """Statements that travel together; the last gives the rows. Made by `prepared` and `as_text`."""

    statements: tuple[_Statement, ...]
    by_name: str
    plain: str


def prepared(*statements: str | ClauseElement, before: str = "") -> Statements:
    """Return a message of statements that are prepared once a connection.

    Each has parameters, whose types follow from where they stand. `before` is sent in front as it is.
    """
    parts = tuple(map(_Statement.of, statements))
    by_name = before + "; ".join(part.execute for part in parts)
    return Statements(parts, by_name, before + "; ".join(part.plain for part in parts))


def as_text(*statements: str | ClauseElement) -> Statements:
    """Return a message of statements that are planned anew each time."""
    plain = "; ".join(_Statement.of(statement).plain for statement in statements)
    return Statements((), plain, plain)


def read(connection: Connection, message: Statements, parameters: Mapping[str, Any]) -> list[Row]:
    """Send `message` after the writes that wait; return the rows of its last statement, none where it gives none.

    Raise sqlalchemy.exc.DBAPIError as the database does, be it for a write that waited.
    """
    with _invalidated(connection):
        return run(connection.connection, connection.dialect, message, parameters)


def buffer(connection: Connection, message: Statements, parameters: Mapping[str, Any]) -> None:
    """Send a write together with what the connection runs next, at the latest with its commit; it raises there."""
    driver: Any = connection.connection
    with _invalidated(connection), _cursor(driver, connection.dialect, message) as cursor:
        sql = _prepare(driver.info, cursor, message, parameters)
        driver.info.setdefault(_WAITING, []).append(cursor.mogrify(sql, parameters))


def finish(connection: Connection, sql: str) -> None:
    """End the transaction: sends `sql` after all writes that wait."""
    with _invalidated(connection):
        run(connection.connection, connection.dialect, Statements((), sql, sql), {})


def run(
    driver: PoolProxiedConnection, dialect: Dialect, message: Statements, parameters: Mapping[str, Any]
) -> list[Row]:
    """Do what `read` does for a connection out of the pool, which it leaves to the caller where it is lost."""
    info = driver.info
    with _cursor(driver, dialect, message) as cursor:
        sql = _prepare(info, cursor, message, parameters)
        if (watcher := info.get(_WATCHER)) is not None:
            watcher.append((sql, parameters))
        if waiting := info.pop(_WAITING, None):
            waiting.append(cursor.mogrify(sql, parameters or None))
            cursor.execute(b"; ".join(waiting))
        else:
            cursor.execute(sql, parameters or None)
        if cursor.description is None:
            return []
        make = _row_type(tuple(column.name for column in cursor.description))._make
        return [make(values) for values in cursor.fetchall()]


@contextlib.contextmanager
def borrowed(engine: Engine) -> Iterator[PoolProxiedConnection]:
    """Take a connection out of the pool and give it back. Raise sqlalchemy.exc.DBAPIError where none can be made."""
    with _as_sqlalchemy_errors(None, engine.dialect, None):
        driver = engine.raw_connection()
    with contextlib.closing(driver):
        yield driver


def keep_plans(driver: PoolProxiedConnection, is_wanted: bool) -> None:
    """Choose whether what `prepared` made is prepared, or sent as text, which is planned for the rows it is about."""
    driver.info[_KEEPS_PLANS] = is_wanted


def forget_waiting(connection: Connection) -> None:
    """Drop the writes that wait: their transaction is rolled back."""
    connection.connection.info.pop(_WAITING, None)


def compose_messages(engine: Engine, *, prepares: bool) -> None:
    """Make the engine's connections ready for messages: what SQLAlchemy sends itself goes after writes that wait."""
    # Found by the first connection and true for all of them: they go the same way.
    is_pooled = False

    @event.listens_for(engine, "connect")
    def _note(driver: Any, record: Any) -> None:
        nonlocal is_pooled
        if prepares and not is_pooled and not has_own_session(driver):
            is_pooled = True
            log.info("pooler_found", statements="sent as text")
        record.info[_KNOWN] = set() if prepares and not is_pooled else None

    @event.listens_for(engine, "before_cursor_execute")
    def _send_waiting(connection: Connection, cursor: Any, *_: Any) -> None:
        driver: Any = connection.connection
        if waiting := driver.info.pop(_WAITING, None):
            with _invalidated(connection), _as_sqlalchemy_errors(None, connection.dialect, driver):
                cursor.execute(b"; ".join(waiting))


@contextlib.contextmanager
def watched(engine: Engine) -> Iterator[list[tuple[str, Mapping[str, Any]]]]:
    """Collect what is sent within the block, with its values; for tests and measurements."""
    sent: list[tuple[str, Mapping[str, Any]]] = []

    def start(_driver: Any, record: Any, _proxy: Any) -> None:
        record.info[_WATCHER] = sent

    def end(_driver: Any, record: Any) -> None:
        record.info.pop(_WATCHER, None)

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    listeners: dict[str, Callable[..., None]] = {"checkout": start, "checkin": end, "before_cursor_execute": note}
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        yield sent
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)


def _prepare(info: Any, cursor: Any, message: Statements, parameters: Mapping[str, Any]) -> str:
    """Return what is sent for `message`; statements that the connection does not know yet are prepared first."""
    known: set[str] | None = info[_KNOWN]
    if known is None or not info.get(_KEEPS_PLANS):
        return message.plain
    for statement in message.statements:
        if statement.name not in known:
            if waiting := info.pop(_WAITING, None):
                # The beginning of the transaction among them: as its role the statement is prepared.
                cursor.execute(b"; ".join(waiting))
            cursor.execute(_taking_role(parameters) + statement.prepare)
            known.add(statement.name)
    return message.by_name


def _taking_role(parameters: Mapping[str, Any]) -> str:
    """Return what comes before PREPARE: a message that takes its role by itself is prepared as that role as well.

    Rewriting asks who is allowed to see the tables, and a login that is no role may not even name them.
    """
    role = parameters.get("role")
    return f"select set_config('role', '{role}', true); " if role else ""


@functools.lru_cache(maxsize=1_000)
def _row_type(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names, rename=True)  # the names are known at run time only


@contextlib.contextmanager
def _cursor(driver: Any, dialect: Dialect, message: Statements) -> Iterator[Any]:
    # The statement without its values, which may be a person's.
    with _as_sqlalchemy_errors(message.plain, dialect, driver), contextlib.closing(driver.cursor()) as cursor:
        yield cursor


@contextlib.contextmanager
def _as_sqlalchemy_errors(sql: str | None, dialect: Dialect, driver: Any) -> Iterator[None]:
    """Raise what the driver raises as SQLAlchemy would, whose exceptions all callers know."""
    try:
        yield
    except psycopg2.Error as error:
        is_lost = dialect.is_disconnect(error, driver, None)  # type: ignore[arg-type]  # it is one of the driver's
        raise DBAPIError.instance(
            sql, None, error, psycopg2.Error, connection_invalidated=is_lost, dialect=dialect
        ) from error


@contextlib.contextmanager
def _invalidated(connection: Connection) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if error.connection_invalidated and not connection.invalidated:
            connection.invalidate(error.orig)
        raise
