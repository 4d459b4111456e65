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
    """A partition that was dropped, for a tenant that had rows in it; append-only."""

    __tablename__ = "dropped_partitions"
    __table_args__ = (
        UniqueConstraint("tenant_id", "table_name", "begins_at"),
        {"comment": "Append-only record of dropped partitions, one row for each tenant that had rows in one."},
    )

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    audit_id: Mapped[Number] = mapped_column(
        primary_key=True,
        autoincrement=False,
        comment="The audit row of kind partition_dropped that records the same within the chain of seals.",
    )
    audit_at: Mapped[Moment]
    actor: Mapped[str] = mapped_column(comment="The operator who dropped it.")
    table_name: Mapped[str]
    begins_at: Mapped[Moment] = mapped_column(comment="Start of the partition's month, inclusive.")
    ends_at: Mapped[Moment] = mapped_column(comment="End of the partition's month, exclusive.")
    row_count: Mapped[Number] = mapped_column(comment="Rows of the tenant that were dropped.")
    first_seal: Mapped[int | None] = mapped_column(
        BigInteger, comment="First seal whose audit rows were dropped; null for other tables."
    )
    last_seal: Mapped[int | None] = mapped_column(
        BigInteger, comment="Last seal whose audit rows were dropped; null for other tables."
    )
    kept_seals: Mapped[list[int]] = mapped_column(
        ARRAY(BigInteger),
        server_default=text("'{}'"),
        comment="Seals between those two whose rows are of a later month and were kept.",
    )
    previous_sha256: Mapped[bytes] = mapped_column(
        comment="Hash of the tenant's drop before, so that none can be removed unnoticed."
    )


def is_described(name: str | None, kind: str, parent_names: Mapping[Any, str | None]) -> bool:
    """Tell whether the models describe an object of the schema, as Alembic's `include_name` asks.

    Partitions are made as time goes on; what they are follows from the table that they are of.
    """
    table = name if kind == "table" else parent_names.get("table_name")
    return not (table and _PARTITION.fullmatch(table))
