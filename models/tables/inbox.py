"""Tables of the inbox: received webhooks, their deduplication keys, their queue, and refused deliveries."""

from sqlalchemy import UUID, CheckConstraint, Integer, LargeBinary, Text, desc
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.declaration import (
    NOW,
    TIME,
    due_work,
    index,
    key,
    optional,
    required,
    sequence,
    table,
    within_tenant,
)

payment_webhooks = table(
    "payment_webhooks",
    "Verified webhooks exactly as they were received; partitioned by month of id.",
    key("id", UUID),
    required("tenant_id", UUID),
    required("provider_id", UUID),
    required("external_id", Text, "Id that the sender gave (webhook-id); unique per provider through webhook_keys."),
    required(
        "path",
        Text,
        "Path it was sent to: payment-success, payment-failed, payment-callback, provider, or poke (unsigned).",
    ),
    required("body", LargeBinary, "Raw bytes; the signature is over these."),
    required("headers", JSONB),
    required("body_sha256", LargeBinary),
    required("remote_address", Text),
    optional(
        "payment_id",
        UUID,
        "Payment that the verified body names; no foreign key, since it may be unknown or not yet written.",
    ),
    optional(
        "conflicts_with",
        UUID,
        "Earlier webhook with the same external_id and another body; such a repeat is never applied.",
    ),
    required("status", Text, "pending until it is settled, then processed or failed.", default="'pending'"),
    optional("verdict", Text, "What settling decided, such as applied or duplicate."),
    optional("reason", Text),
    required("received_at", TIME, default=NOW),
    optional("settled_at", TIME),
    CheckConstraint("status in ('pending', 'processed', 'failed')", name="status"),
    index("ix_payment_webhooks_payment", "tenant_id", "payment_id"),
    index("ix_payment_webhooks_conflict", "conflicts_with", where="conflicts_with is not null"),
    index("ix_payment_webhooks_newest", "tenant_id", desc("received_at"), desc("id")),
    postgresql_partition_by="RANGE (id)",
)

webhook_keys = table(
    "webhook_keys",
    "Deduplication keys of webhooks, with the hash of the first body; never deleted.",
    key("provider_id", UUID),
    key("external_id", Text, "Id that the sender gave (webhook-id)."),
    required("tenant_id", UUID),
    required("body_sha256", LargeBinary),
    required("webhook_id", UUID, "The first webhook with this key."),
    required("duplicates", Integer, "Later deliveries with the same key and body.", default="0"),
)

webhook_events = table(
    "webhook_events",
    "Settled events that have an id of their own: deliveries may carry several, and an event may come in several.",
    key("provider_id", UUID),
    key("event_id", Text, "The provider's id of the event."),
    required("tenant_id", UUID),
    required("webhook_id", UUID, "The delivery with which it was settled."),
    optional("payment_id", UUID),
    required("verdict", Text, "What settling decided, as payment_webhooks has it."),
    required("reason", Text),
    required("settled_at", TIME, default=NOW),
    within_tenant("provider_id", "payment_providers"),
)

webhook_work = table(
    "webhook_work",
    "Webhooks that wait to be settled.",
    key("webhook_id", UUID),
    required("tenant_id", UUID),
    optional("payment_id", UUID),
    optional(
        "postponed_since",
        TIME,
        "Since when it has run into time limits or lost connections while other webhooks were settled.",
    ),
    *due_work(),
    optional(
        "leased_until",
        TIME,
        "Until when the claim holds the row, which is not due meanwhile; in no index, so that a claim writes none.",
    ),
    index("ix_webhook_work_tenant_due", "tenant_id", "due_at", "webhook_id"),
    index("ix_webhook_work_payment", "payment_id"),
    # A claim changes many rows of a page at once: their new versions, which are longer, fit into it.
    postgresql_with={"fillfactor": "40"},
)

# A ring: `slot` runs through a fixed range, so that an attacker can overwrite but never fill the disk.
webhook_refusals = table(
    "webhook_refusals",
    "Ring of the last refused webhooks, of fixed size, so that an attacker cannot fill the disk.",
    key("slot", Integer, "Index in the ring."),
    sequence("sequence", "Order of the refusals.", primary_key=False),
    optional("tenant_id", UUID),
    optional("provider_id", UUID),
    required("reason", Text),
    required("remote_address", Text),
    required("body_head", LargeBinary, "First bytes of the unverified body."),
    required("at", TIME, default=NOW),
    optional("payment_id", UUID, "Payment that the unverified body names, for searching only."),
    index("ix_webhook_refusals_payment", "payment_id", where="payment_id is not null"),
)
