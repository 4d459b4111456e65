"""Heartbeats: when each periodic duty was last done."""

from __future__ import annotations

from sqlalchemy import Connection, func
from sqlalchemy.dialects.postgresql import insert

from models import tables


def write(connection: Connection, duty: str) -> None:
    """Write that `duty` is done now, by the clock of the database."""
    row = insert(tables.heartbeats).values(name=duty, at=func.now())
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"at": row.excluded.at}))
