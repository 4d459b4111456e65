"""Shows operators the partitions and the reasons to keep each."""

from __future__ import annotations

from typing import Any

from app.runtime.runtime import Runtime
from app.services.partitions.reasons import Partition, find_reasons, list_partitions


def show_partitions(runtime: Runtime) -> list[dict[str, Any]]:
    """Return every partition: table, name, months (from, to), rows (estimated), bytes, and the reasons to keep it.

    `droppable` says whether no reason to keep it shows.
    """
    shown, older = [], list[Partition]()
    with runtime.database.transaction("operator") as connection:
        for partition in list_partitions(connection):
            older = older if older and older[0].table == partition.table else []
            reasons = find_reasons(connection, partition, older)
            if partition.begins_at is not None:
                older.append(partition)
            shown.append(
                {
                    "table": partition.table,
                    "name": partition.name,
                    "from": partition.begins_at and partition.begins_at.date().isoformat(),
                    "to": partition.ends_at and partition.ends_at.date().isoformat(),
                    "rows": partition.row_estimate,
                    "bytes": partition.bytes,
                    "open_cases": reasons.open_cases,
                    "droppable": not reasons.why,
                    "why": list(reasons.why),
                }
            )
    return shown
