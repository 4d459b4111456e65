"""Makes partitions ahead of time and keeps the planner's statistics of partitioned tables."""

from __future__ import annotations

import datetime

from sqlalchemy import exists, func, select, text

from app.runtime.runtime import Runtime
from app.services.records import heartbeats
from models import tables

# Three tables, this month and the next two: all that can be missing at once.
MADE_MAX = 9

# Statistics hardly change within a day, and an analysis reads some thousand pages.
ANALYZE_EVERY = datetime.timedelta(days=1)


def keep_partitions(runtime: Runtime) -> list[str]:
    """Make the missing partitions of this month and the next two; return their names.

    Wait for no lock: a partition of a table in use is made by the next run.
    """
    made: list[str] = []
    for _ in range(MADE_MAX):
        with runtime.database.transaction("worker") as connection:
            name = connection.execute(text("select keep_partitions()")).scalar()
            heartbeats.write(connection, "partitions")
        if name is None:
            break
        made.append(name)
    return made


def analyze_daily(runtime: Runtime) -> None:
    """Gather the planner's statistics over all partitions together, once a day."""
    with runtime.database.transaction("worker") as connection:
        beats = tables.heartbeats
        is_recent = exists().where(beats.c.name == "analyze", beats.c.at > func.now() - ANALYZE_EVERY)
        if connection.execute(select(is_recent)).scalar_one():
            return
        # Written first: an analysis that runs into its time limit must not be repeated every minute.
        heartbeats.write(connection, "analyze")
    with runtime.database.transaction("worker") as connection:
        connection.execute(text("select analyze_partitioned()"))
