"""The metadata that all tables belong to, and what their columns share."""

from __future__ import annotations

import functools
import uuid
from typing import Any

from sqlalchemy import UUID, Column, DateTime, Integer, MetaData, text
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
NOW = text("now()")
# A column that may be null is a plain `Column`.
required = functools.partial(Column, nullable=False)
# For `info` of a column that is written once, by the insert.
FIXED = {"is_fixed": True}


def due_work() -> tuple[Column[Any], ...]:
    """Return the columns of a work row, which exists while something is left to do."""
    return (
        required(
            "due_at",
            TIME,
            server_default=NOW,
            comment="When it is due: schedule, lease, retry timer and order of the queue in one.",
        ),
        required("attempts", Integer, server_default=text("0"), comment="Claims since the last success."),
        Column("claim_id", UUID, comment="The claim that holds the row; a write after a lease must name it."),
        required(
            "postponed",
            Integer,
            server_default=text("0"),
            comment="How often trouble of the database postponed it, which is no attempt.",
        ),
    )


def new_id() -> uuid.UUID:
    """Return a new time-ordered identifier (UUID version 7, RFC 9562)."""
    return uuid7()
