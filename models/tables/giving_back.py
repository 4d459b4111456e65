"""The table of refunds: those that tenants ask for, and those that a policy makes."""

from sqlalchemy import UUID, BigInteger, CheckConstraint, LargeBinary, Text, UniqueConstraint, desc
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.declaration import TIME, index, key, optional, required, table, within_tenant

# The payment carries the mark `has_refunds`: settling reads this table for those payments alone.
refunds = table(
    "refunds",
    "Refunds that tenants asked for or that a policy makes, from the request to the end.",
    key("id", UUID),
    required("tenant_id", UUID),
    required("payment_id", UUID, index=True),
    required("reference", Text, "The provider reference of the money."),
    required("amount_minor", BigInteger),
    required("currency", Text),
    required("status", Text, "pending, processing once the provider has it, completed or failed.", default="'pending'"),
    optional("provider_reference", Text, "The provider's id of the refund."),
    optional("reason", Text),
    optional("failure_reason", Text),
    required("metadata", JSONB, default="'{}'"),
    optional("idempotency_key", Text, "Null for a policy's."),
    optional(
        "request_sha256", LargeBinary, "Hash of the request, so that a repeated key with another request is refused."
    ),
    optional("provider_request", LargeBinary, "Exact bytes of the call, kept so that every attempt sends the same."),
    optional("sent_at", TIME, "First attempt of the call."),
    optional("called_at", TIME, "Last attempt of a call about it."),
    required("created_at", TIME),
    required("updated_at", TIME),
    optional("completed_at", TIME, "When its money moved; it stays where the refund failed later."),
    optional(
        "suspended_minor",
        BigInteger,
        "What was booked into suspense for a policy's, 0 where it repeats one that failed. Null for a tenant's.",
    ),
    optional(
        "credited_minor",
        BigInteger,
        "What a person credited from suspense once it had failed; 0 where that was rejected or is tried again.",
    ),
    UniqueConstraint("tenant_id", "idempotency_key"),
    within_tenant("payment_id", "payment_transactions"),
    CheckConstraint("status in ('pending', 'processing', 'completed', 'failed')", name="status"),
    CheckConstraint("amount_minor > 0", name="amount_minor"),
    CheckConstraint(
        "(suspended_minor is null) = (idempotency_key is not null)"
        " and (suspended_minor is null) = (request_sha256 is not null)",
        name="origin",
    ),
    CheckConstraint("suspended_minor in (0, amount_minor)", name="suspended_minor"),
    CheckConstraint(
        "credited_minor is null or (suspended_minor is not null and status = 'failed' and credited_minor >= 0)",
        name="credited_minor",
    ),
    CheckConstraint("char_length(provider_reference) <= 512", name="provider_reference"),
    index("ix_refunds_newest", "tenant_id", desc("created_at"), desc("id")),
    index("ix_refunds_suspended", "tenant_id", where="suspended_minor is not null"),
)
