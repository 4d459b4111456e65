"""The tables that are partitioned by the month, and the names of their partitions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PARTITIONED = ("payment_webhooks", "notifications", "audit_logs")

_PARTITION = re.compile(rf"(?:{'|'.join(PARTITIONED)})_(?:default|[0-9]{{4}}_[0-9]{{2}})")


def is_described(name: str | None, kind: str, parent_names: Mapping[Any, str | None]) -> bool:
    """Return whether the declared tables describe an object of the schema, as Alembic's `include_name` asks.

    Partitions are made as time passes; their definition follows from the table that they belong to.
    """
    table = name if kind == "table" else parent_names.get("table_name")
    return not (table and _PARTITION.fullmatch(table))
