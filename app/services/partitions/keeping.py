"""Makes partitions ahead of time and keeps the planner's statistics of partitioned tables."""

from __future__ import annotations

from sqlalchemy import text

from app.runtime.runtime import Runtime

# Three tables, this month and the next two: all that can be missing at once.
MADE_MAX = 9

_NOTE = text(
    "insert into heartbeats (name, at) values (:name, now()) on conflict (name) do update set at = excluded.at"
)
# Statistics hardly change within a day, and an analysis reads some thousand pages.
_IS_ANALYZED = text("select exists (select from heartbeats where name = 'analyze' and at > now() - interval '1 day')")


def keep_partitions(runtime: Runtime) -> list[str]:
    """Make the missing partitions of this month and the next two; return their names.

    Wait for no lock: a partition of a table in use is made by the next run.
    """
    made: list[str] = []
    for _ in range(MADE_MAX):
        with runtime.database.transaction("worker") as connection:
            name = connection.execute(text("select keep_partitions()")).scalar()
            connection.execute(_NOTE, {"name": "partitions"})
        if name is None:
            break
        made.append(name)
    return made


def analyze_daily(runtime: Runtime) -> None:
    """Gather the planner's statistics over all partitions together, once a day."""
    with runtime.database.transaction("worker") as connection:
        if connection.execute(_IS_ANALYZED).scalar_one():
            return
        # Written first: an analysis that runs into its time limit must not be repeated every minute.
        connection.execute(_NOTE, {"name": "analyze"})
    with runtime.database.transaction("worker") as connection:
        connection.execute(text("select analyze_partitioned()"))
