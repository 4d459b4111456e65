"""The tables that are cut by the month, the names of their partitions, and the record of those that were dropped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.declaration import Model, Moment, Number, TenantId

PARTITIONED = ("payment_webhooks", "notifications", "audit_logs")

_PARTITION = re.compile(rf"(?:{'|'.join(PARTITIONED)})_(?:default|[0-9]{{4}}_[0-9]{{2}})")


class DroppedPartition(Model):
    """A partition that was dropped, for a tenant that had rows in it; append-only.

    The audit row `audit_id` tells the same, is in the tenant's chain of seals and, by `previous_sha256`, stands for
    all drops before it. Of audit rows those of the seals from `first_seal` to `last_seal` are gone, but for
    `kept_seals`, whose rows are of a later month.
    """

    __tablename__ = "dropped_partitions"
    __table_args__ = (UniqueConstraint("tenant_id", "table_name", "begins_at"),)

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    audit_id: Mapped[Number] = mapped_column(primary_key=True, autoincrement=False)
    audit_at: Mapped[Moment]
    actor: Mapped[str]
    table_name: Mapped[str]
    begins_at: Mapped[Moment]
    ends_at: Mapped[Moment]
    row_count: Mapped[Number]
    first_seal: Mapped[int | None] = mapped_column(BigInteger)
    last_seal: Mapped[int | None] = mapped_column(BigInteger)
    kept_seals: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=text("'{}'"))
    previous_sha256: Mapped[bytes]


def is_described(name: str | None, kind: str, parent_names: Mapping[Any, str | None]) -> bool:
    """Tell whether the models describe an object of the schema, as Alembic's `include_name` asks.

    Partitions are made as time goes on; what they are follows from the table that they are of.
    """
    table = name if kind == "table" else parent_names.get("table_name")
    return not (table and _PARTITION.fullmatch(table))
