"""Tables of the outbox: notifications for browsers, and the numbers that order them within a tenant."""

from sqlalchemy import UUID, BigInteger, Boolean, Text
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.declaration import NOW, TIME, index, key, optional, required, sequence, table

notifications = table(
    "notifications",
    "What users are shown, written with the change of the payment; partitioned by month of id.",
    key("id", UUID),
    required("tenant_id", UUID),
    required("user_id", Text),
    required("payment_id", UUID),
    required("type", Text),
    required("payload", JSONB, "The payment as clients see it at that version."),
    required("at", TIME, default=NOW),
    optional(
        "about",
        JSONB,
        "What it is about in addition to the payment, by its name: {dispute: {...}} or {refund: {...}}.",
    ),
    optional("number", BigInteger, "Its number, where it was written with one; null where it was queued."),
    index("ix_notifications_payment", "tenant_id", "payment_id"),
    postgresql_partition_by="RANGE (id)",
)

notification_work = table(
    "notification_work",
    "Notifications without a number; deleted when they are numbered.",
    sequence(
        "sequence",
        "Order of numbering; assigned while the payment's row is locked, hence in the order of its versions.",
    ),
    required("notification_id", UUID),
    required("tenant_id", UUID),
    required("user_id", Text),
    required("due_at", TIME, "When it was queued.", default=NOW),
    index("ix_notification_work_tenant", "tenant_id", "sequence"),
)

# Not partitioned and never deleted: numbers are unique over all time, read by number, and prove that none is missing.
notification_numbers = table(
    "notification_numbers",
    "The number of each notification in its tenant's sequence 1, 2, 3, ...; never deleted.",
    key("tenant_id", UUID),
    key("number", BigInteger, "Gapless per tenant; cursor of long polls, SSE and WebSocket."),
    required("notification_id", UUID),
    required("user_id", Text),
    required("is_queued", Boolean, "False where the notification was written with its number.", default="true"),
    index("ix_notification_numbers_user", "tenant_id", "user_id", "number"),
    # One that was written with its number names it; the other ones are found, and unique, by this index.
    index("uq_notification_numbers_queued", "notification_id", unique=True, where="is_queued"),
    # By their notifications' months, with which partitions are dropped.
    index("ix_notification_numbers_notification", "notification_id", using="brin"),
)

notification_counters = table(
    "notification_counters",
    "The last number given to a tenant's notifications.",
    key("tenant_id", UUID),
    required("last_number", BigInteger),
    required(
        "held_after", BigInteger, "Notifications up to this number were dropped with their partitions.", default="0"
    ),
)
