"""Check that this and the next month have partitions, and that no row is in a default partition."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, text

from app.doctor.finding import Finding, fail, ok, warn
from app.runtime.runtime import Runtime
from app.services.partitions.reasons import Partition, list_partitions
from models.partitions import PARTITIONED

# Concurrent readers of every month for which the server must have room in its lock table.
READERS = 20

# A query without a month locks every partition and every index of a table.
_LOCKS = text(
    """
    select (select max(n) from (
                select sum(1 + (select count(*) from pg_index x where x.indrelid = t.relid)) as n
                from unnest(cast(:tables as text[])) as p(name) cross join lateral pg_partition_tree(p.name::regclass) t
                group by p.name) as l) as wanted,
           current_setting('max_locks_per_transaction')::bigint
           * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint) as room
    """
)


def examine_partitions(runtime: Runtime) -> Iterator[Finding]:
    """Yield findings about the partitions. Raise SQLAlchemyError where the database cannot be reached."""
    with runtime.database.transaction("operator") as connection:
        yield _examine_months(list_partitions(connection), datetime.datetime.now(datetime.UTC))
        rows = connection.execute(text("select table_name, total from count_default_rows()"))
        misplaced = [f"{row.total} of {row.table_name}" for row in rows if row.total]
        yield from _examine_locks(connection)
    if misplaced:
        yield warn(
            "Default partitions",
            f"rows outside the monthly partitions: {', '.join(misplaced)}; a clock was wrong, or partitions came"
            " too late: `sluice migrate` moves them, except rows with a time in the future",
        )


def _examine_months(partitions: Sequence[Partition], now: datetime.datetime) -> Finding:
    this_month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    next_month = (this_month + datetime.timedelta(days=32)).replace(day=1)
    there = {(each.table, each.begins_at) for each in partitions}
    advice = "are beat and worker-provider running? `sluice migrate` creates them"
    for month, judge in ((this_month, fail), (next_month, warn)):
        missing = [table for table in PARTITIONED if (table, month) not in there]
        if missing:
            return judge("Partitions", f"none for {month:%Y-%m} of {', '.join(missing)}: {advice}")
    oldest = min(each.begins_at for each in partitions if each.begins_at is not None)
    return ok("Partitions", f"{len(partitions)} from {oldest:%Y-%m} on, including the next month")


def _examine_locks(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(_LOCKS, {"tables": list(PARTITIONED)}).one()
    if row.wanted * READERS > row.room:
        yield warn(
            "Room for locks",
            f"a query of every month takes up to {row.wanted} locks, the server has room for {row.room}: raise"
            " max_locks_per_transaction",
        )
