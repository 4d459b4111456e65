"""The inbox: webhooks exactly as they were sent, their dedupe keys, and which of them are due."""

from sqlalchemy import (
    UUID,
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.declaration import METADATA, NOW, TIME, due_work, required

payment_webhooks = Table(
    "payment_webhooks",
    METADATA,
    Column("id", UUID, primary_key=True),
    required("tenant_id", UUID),
    required("provider_id", UUID),
    required(
        "external_id", Text, comment="Id that the sender gave (webhook-id); unique per provider through webhook_keys."
    ),
    required(
        "path", Text, comment="Path it was sent to: payment-success, payment-failed, payment-callback or provider."
    ),
    required("body", LargeBinary, comment="Raw bytes; the signature is over these."),
    required("headers", JSONB),
    required("body_sha256", LargeBinary),
    required("remote_address", Text),
    Column(
        "payment_id",
        UUID,
        comment="Payment that the verified body names; no foreign key, since it may be unknown or not yet written.",
    ),
    Column(
        "conflicts_with",
        UUID,
        comment="Earlier webhook with the same external_id and another body; such a repeat is never applied.",
    ),
    required(
        "status",
        Text,
        server_default=text("'pending'"),
        comment="pending until it is settled, then processed or failed.",
    ),
    Column("verdict", Text, comment="What settling decided, such as applied or duplicate."),
    Column("reason", Text),
    required("received_at", TIME, server_default=NOW),
    Column("settled_at", TIME),
    CheckConstraint("status in ('pending', 'processed', 'failed')", name="status"),
    Index("ix_payment_webhooks_payment", "tenant_id", "payment_id"),
    Index("ix_payment_webhooks_conflict", "conflicts_with", postgresql_where=text("conflicts_with is not null")),
    Index("ix_payment_webhooks_newest", "tenant_id", text("received_at desc"), text("id desc")),
    postgresql_partition_by="RANGE (id)",
    comment="Verified webhooks exactly as they were received; partitioned by month of id.",
)

webhook_keys = Table(
    "webhook_keys",
    METADATA,
    Column("provider_id", UUID, primary_key=True),
    Column("external_id", Text, primary_key=True, comment="Id that the sender gave (webhook-id)."),
    required("tenant_id", UUID),
    required("body_sha256", LargeBinary),
    required("webhook_id", UUID, comment="The first webhook with this key."),
    required("duplicates", Integer, server_default=text("0"), comment="Later deliveries with the same key and body."),
    comment="Deduplication keys of webhooks, with the hash of the first body; never deleted.",
)

webhook_work = Table(
    "webhook_work",
    METADATA,
    Column("webhook_id", UUID, primary_key=True),
    required("tenant_id", UUID),
    Column("payment_id", UUID),
    Column(
        "postponed_since",
        TIME,
        comment="Since when it has run into time limits or lost connections while other webhooks were settled.",
    ),
    *due_work(),
    Index("ix_webhook_work_due", "due_at"),
    Index("ix_webhook_work_tenant_due", "tenant_id", "due_at", "webhook_id"),
    Index("ix_webhook_work_payment", "payment_id"),
    comment="Webhooks that wait to be settled.",
)

# A ring: `slot` runs through a fixed range, so that an attacker can overwrite but never fill the disk.
webhook_refusals = Table(
    "webhook_refusals",
    METADATA,
    Column("slot", Integer, primary_key=True, autoincrement=False, comment="Index in the ring."),
    required("sequence", BigInteger, Identity(always=True), comment="Order of the refusals."),
    Column("tenant_id", UUID),
    Column("provider_id", UUID),
    required("reason", Text),
    required("remote_address", Text),
    required("body_head", LargeBinary, comment="First bytes of the unverified body."),
    required("at", TIME, server_default=NOW),
    Column("payment_id", UUID, comment="Payment that the unverified body names, for searching only."),
    Index("ix_webhook_refusals_payment", "payment_id", postgresql_where=text("payment_id is not null")),
    comment="Ring of the last refused webhooks, of fixed size, so that an attacker cannot fill the disk.",
)
