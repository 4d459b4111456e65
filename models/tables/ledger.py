"""The books: wallets, their entries, and the holds of deposits that are under way."""

from sqlalchemy import (
    UUID,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from models.tables.declaration import METADATA, NOW, TIME, required

wallets = Table(
    "wallets",
    METADATA,
    Column("id", UUID, primary_key=True),
    required("tenant_id", UUID, ForeignKey("tenants.id")),
    required("kind", Text, comment="user or clearing."),
    Column("user_id", Text),
    Column("provider_id", UUID),
    required(
        "shard",
        SmallInteger,
        server_default=text("0"),
        comment="Number of the clearing wallet among those of its provider, which share the load; 0 for users.",
    ),
    required("currency", Text),
    required("balance_minor", BigInteger, server_default=text("0")),
    required(
        "version",
        BigInteger,
        server_default=text("0"),
        comment="Number of entries; each entry has the version that it made.",
    ),
    required("created_at", TIME, server_default=NOW),
    required("updated_at", TIME, server_default=NOW),
    UniqueConstraint("tenant_id", "id", "currency"),
    CheckConstraint("kind in ('user', 'clearing')", name="kind"),
    CheckConstraint(
        "(kind = 'user' and user_id is not null and provider_id is null and shard = 0)"
        " or (kind = 'clearing' and user_id is null and provider_id is not null)",
        name="owner",
    ),
    Index("uq_wallets_user", "tenant_id", "user_id", "currency", unique=True, postgresql_where=text("kind = 'user'")),
    Index(
        "uq_wallets_clearing",
        "tenant_id",
        "provider_id",
        "currency",
        "shard",
        unique=True,
        postgresql_where=text("kind = 'clearing'"),
    ),
    # Wallets are hot rows: room in the page keeps their updates heap-only.
    postgresql_with={"fillfactor": "60"},
    # Wallets are hot rows: room in the page keeps their updates heap-only.
    comment="Balances in one currency: of a user, or of one shard of a provider's clearing wallet.",
)

# `transfer_key` says what the money is for and is unique per payment: 'deposit' once, 'case:<id>' per accepted case,
# 'reversal:<total>' per reversal. This is what makes a credit happen once. A trigger proves that wallet and payment
# are there and of the tenant, for all entries of a statement at once; foreign keys ask row by row, which was a tenth
# of PostgreSQL's time in settling.
wallet_transactions = Table(
    "wallet_transactions",
    METADATA,
    Column("id", UUID, primary_key=True),
    required("tenant_id", UUID),
    required("transfer_id", UUID, comment="Shared by the two entries of a transfer."),
    required(
        "transfer_key",
        Text,
        comment="deposit, case:<id> or reversal:<total>; unique per payment, so that no credit happens twice.",
    ),
    required("payment_id", UUID),
    required("wallet_id", UUID),
    required("wallet_version", BigInteger, comment="Version of the wallet after this entry."),
    required("currency", Text),
    required("direction", SmallInteger, comment="+1 into the wallet, -1 out of it."),
    required("amount_minor", BigInteger),
    required("balance_before_minor", BigInteger),
    required("balance_after_minor", BigInteger),
    required("type", Text),
    required("description", Text),
    required("at", TIME, server_default=NOW),
    UniqueConstraint("wallet_id", "wallet_version"),
    Index("ix_wallet_transactions_newest", "wallet_id", text("at desc"), text("id desc")),
    UniqueConstraint("payment_id", "transfer_key", "direction"),
    CheckConstraint("amount_minor > 0", name="amount_minor"),
    CheckConstraint("direction in (-1, 1)", name="direction"),
    CheckConstraint("balance_after_minor = balance_before_minor + direction * amount_minor", name="balance"),
    CheckConstraint("type in ('deposit', 'reversal')", name="type"),
    comment="Append-only entries of the books; a transfer is one entry out of a wallet and one into another.",
)

wallet_temp_logs = Table(
    "wallet_temp_logs",
    METADATA,
    Column("payment_id", UUID, primary_key=True),
    required("tenant_id", UUID),
    required("user_id", Text),
    required("currency", Text),
    required("amount_minor", BigInteger),
    required(
        "state",
        Text,
        server_default=text("'held'"),
        comment="held from the creation on; applied or released when the payment ends.",
    ),
    required("created_at", TIME, server_default=NOW),
    Column("closed_at", TIME),
    ForeignKeyConstraint(["tenant_id", "payment_id"], ["payment_transactions.tenant_id", "payment_transactions.id"]),
    CheckConstraint("state in ('held', 'applied', 'released')", name="state"),
    Index("ix_wallet_temp_logs_held", "tenant_id", "user_id", "currency", postgresql_where=text("state = 'held'")),
    comment="Holds of deposits that are under way.",
)
