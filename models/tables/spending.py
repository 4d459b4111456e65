"""The table of debits, by which a tenant's backend spends its users' wallets."""

from sqlalchemy import UUID, BigInteger, CheckConstraint, LargeBinary, Text, UniqueConstraint, desc

from models.tables.declaration import NOW, TIME, index, key, optional, required, table

debits = table(
    "debits",
    "What tenants took out of their users' wallets; each may be reversed once.",
    key("id", UUID),
    required("tenant_id", UUID, references="tenants.id"),
    required("user_id", Text),
    required("currency", Text),
    required("amount_minor", BigInteger),
    required("reference", Text, "The tenant's own name for it, such as an order."),
    optional("description", Text),
    required("idempotency_key", Text),
    required(
        "request_sha256", LargeBinary, "Hash of the request, so that a repeated key with another request is refused."
    ),
    required(
        "created_at", TIME, "Time of its transaction, which its entries and its audit row have as well.", default=NOW
    ),
    optional("reversed_at", TIME, "Time of the transaction that gave it back."),
    optional("reversal_reason", Text),
    UniqueConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "idempotency_key"),
    CheckConstraint("amount_minor > 0", name="amount_minor"),
    CheckConstraint("reversal_reason is null or reversed_at is not null", name="reversal_reason"),
    index("ix_debits_newest", "tenant_id", desc("created_at"), desc("id")),
    index("ix_debits_of_user", "tenant_id", "user_id", desc("created_at"), desc("id")),
    index("ix_debits_of_reference", "tenant_id", "reference", desc("created_at"), desc("id")),
)
