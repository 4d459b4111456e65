"""The metadata of all tables, and functions that declare tables, columns, indexes and foreign keys."""

from __future__ import annotations

import functools
import uuid
from typing import Any

from sqlalchemy import (
    UUID,
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    TextClause,
    text,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine
from uuid_utils.compat import uuid7

# Constraint names are spelled out so that a migration can name what it changes.
METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

TIME = DateTime(timezone=True)
NOW = "now()"
# For `info` of a column that is written once, by the insert.
FIXED = {"is_fixed": True}


def table(name: str, comment: str, *items: SchemaItem, **options: Any) -> Table:
    """Return a table of METADATA."""
    return Table(name, METADATA, *items, comment=comment, **options)


def optional(
    name: str,
    kind: type[TypeEngine[Any]] | TypeEngine[Any],
    comment: str | None = None,
    *,
    default: str | None = None,
    references: str | None = None,
    **options: Any,
) -> Column[Any]:
    """Return a column that may be null; `default` is SQL, `references` the column of a foreign key."""
    foreign = [] if references is None else [ForeignKey(references)]
    value = None if default is None else text(default)
    return Column(name, kind, *foreign, comment=comment, server_default=value, **options)


required = functools.partial(optional, nullable=False)
key = functools.partial(optional, primary_key=True, autoincrement=False)


def sequence(name: str, comment: str | None = None, *, primary_key: bool = True) -> Column[int]:
    """Return a column that the database numbers by itself."""
    return Column(name, BigInteger, Identity(always=True), primary_key=primary_key, nullable=False, comment=comment)


def index(
    name: str,
    *columns: str | ColumnElement[Any] | TextClause,
    unique: bool = False,
    where: str | None = None,
    using: str = "btree",
    nulls_are_equal: bool = False,
) -> Index:
    """Return an index over `columns`, of the rows for which the SQL of `where` is true; `using` is its method."""
    is_of = None if where is None else text(where)
    return Index(
        name,
        *columns,
        unique=unique,
        postgresql_where=is_of,
        postgresql_using=using,
        postgresql_nulls_not_distinct=nulls_are_equal or None,
    )


def within_tenant(column: str, target: str, **options: Any) -> ForeignKeyConstraint:
    """Return the foreign key by which `column` is the id of a row in the table `target`, of the same tenant."""
    return ForeignKeyConstraint(["tenant_id", column], [f"{target}.tenant_id", f"{target}.id"], **options)


def due_work() -> tuple[Column[Any], ...]:
    """Return the columns of a work row, which exists while something is left to do."""
    return (
        required(
            "due_at",
            TIME,
            "When it is due: schedule, retry timer and order of the queue in one, and a provider call's lease.",
            default=NOW,
        ),
        required("attempts", Integer, "Claims since the last success.", default="0"),
        optional("claim_id", UUID, "The claim that holds the row; a write after a lease must name it."),
        required(
            "postponed", Integer, "How often trouble of the database postponed it, which is no attempt.", default="0"
        ),
    )


def new_id() -> uuid.UUID:
    """Return a new time-ordered identifier (UUID version 7, RFC 9562)."""
    return uuid7()
