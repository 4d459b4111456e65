"""Makes partitions ahead of time and keeps the planner's numbers of the tables that have them."""

from __future__ import annotations

from sqlalchemy import text

from app.runtime.runtime import Runtime

# Three tables, this month and the two after it: all that can be missing at once.
MADE_MAX = 9

_NOTE = text(
    "insert into heartbeats (name, at) values (:name, now()) on conflict (name) do update set at = excluded.at"
)
# Shares of distinct values hardly change within a day, and one look reads some thousand pages.
_IS_ANALYZED = text("select exists (select from heartbeats where name = 'analyze' and at > now() - interval '1 day')")


def keep_partitions(runtime: Runtime) -> list[str]:
    """Make the partitions that are missing of this month and the next two; return their names.

    Wait for nobody: what is in use now is made at the next look.
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
    """Gathers the planner's numbers over all partitions together, once a day."""
    with runtime.database.transaction("worker") as connection:
        if connection.execute(_IS_ANALYZED).scalar_one():
            return
        # Noted before it is done: a look that runs into its time limit is not repeated every minute.
        connection.execute(_NOTE, {"name": "analyze"})
    with runtime.database.transaction("worker") as connection:
        connection.execute(text("select analyze_partitioned()"))
