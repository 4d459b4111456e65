"""The outbox to browsers: notifications, and the numbers that give them one order per tenant."""

from sqlalchemy import UUID, BigInteger, Column, Identity, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.declaration import METADATA, NOW, TIME, required

notifications = Table(
    "notifications",
    METADATA,
    Column("id", UUID, primary_key=True),
    required("tenant_id", UUID),
    required("user_id", Text),
    required("payment_id", UUID),
    required("type", Text),
    required("payload", JSONB, comment="The payment as clients see it at that version."),
    required("at", TIME, server_default=NOW),
    Index("ix_notifications_payment", "tenant_id", "payment_id"),
    postgresql_partition_by="RANGE (id)",
    comment="What users are shown, written with the change of the payment; partitioned by month of id.",
)

notification_work = Table(
    "notification_work",
    METADATA,
    Column(
        "sequence",
        BigInteger,
        Identity(always=True),
        primary_key=True,
        comment="Order of numbering; assigned while the payment's row is locked, hence in the order of its versions.",
    ),
    required("notification_id", UUID),
    required("tenant_id", UUID),
    required("user_id", Text),
    required("due_at", TIME, comment="When it was queued.", server_default=NOW),
    Index("ix_notification_work_tenant", "tenant_id", "sequence"),
    comment="Notifications without a number; deleted when they are numbered.",
)

# Not partitioned and never deleted: numbers are unique over all time, read by number, and prove that none is missing.
notification_numbers = Table(
    "notification_numbers",
    METADATA,
    Column("tenant_id", UUID, primary_key=True),
    Column(
        "number", BigInteger, primary_key=True, comment="Gapless per tenant; cursor of long polls, SSE and WebSocket."
    ),
    required("notification_id", UUID),
    required("user_id", Text),
    Index("ix_notification_numbers_user", "tenant_id", "user_id", "number"),
    Index("uq_notification_numbers_notification", "notification_id", unique=True),
    comment="The number of each notification in its tenant's sequence 1, 2, 3, ...; never deleted.",
)

notification_counters = Table(
    "notification_counters",
    METADATA,
    Column("tenant_id", UUID, primary_key=True),
    required("last_number", BigInteger),
    required(
        "held_after",
        BigInteger,
        server_default=text("0"),
        comment="Notifications up to this number were dropped with their partitions.",
    ),
    comment="The last number given to a tenant's notifications.",
)
