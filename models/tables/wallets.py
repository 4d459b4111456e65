"""The books: wallets, their entries, and the holds of deposits that are under way."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.declaration import Created, Id, Minor, Model, Number, TenantId


class Wallet(Model):
    """A balance in one currency: a user's, or one shard of a provider's clearing wallet (the counter-side)."""

    __tablename__ = "wallets"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id", "currency"),
        CheckConstraint("kind in ('user', 'clearing')", name="kind"),
        CheckConstraint(
            "(kind = 'user' and user_id is not null and provider_id is null and shard = 0)"
            " or (kind = 'clearing' and user_id is null and provider_id is not null)",
            name="owner",
        ),
        Index(
            "uq_wallets_user", "tenant_id", "user_id", "currency", unique=True, postgresql_where=text("kind = 'user'")
        ),
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
        {
            "postgresql_with": {"fillfactor": "60"},
            "comment": "Balances in one currency: of a user, or of one shard of a provider's clearing wallet.",
        },
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId] = mapped_column(ForeignKey("tenants.id"))
    kind: Mapped[str] = mapped_column(comment="user or clearing.")
    user_id: Mapped[str | None]
    provider_id: Mapped[uuid.UUID | None]
    shard: Mapped[int] = mapped_column(
        SmallInteger,
        server_default=text("0"),
        comment="Number of the clearing wallet among those of its provider, which share the load; 0 for users.",
    )
    currency: Mapped[str]
    balance_minor: Mapped[Minor] = mapped_column(server_default=text("0"))
    version: Mapped[Number] = mapped_column(
        server_default=text("0"), comment="Number of entries; each entry has the version that it made."
    )
    created_at: Mapped[Created]
    updated_at: Mapped[Created]


class WalletTransaction(Model):
    """An entry: one leg of a transfer, append-only. `direction` is +1 into the wallet, -1 out of it.

    `transfer_key` says what the money is for and is unique per payment: 'deposit' once, 'case:<id>' per accepted
    case, 'reversal:<total>' per reversal. This is what makes a credit happen once. A trigger proves that wallet and
    payment are there and of the tenant, for all entries of a statement at once; foreign keys ask row by row, which was
    a tenth of PostgreSQL's time in settling.
    """

    __tablename__ = "wallet_transactions"
    __table_args__ = (
        UniqueConstraint("wallet_id", "wallet_version"),
        Index("ix_wallet_transactions_newest", "wallet_id", text("at desc"), text("id desc")),
        UniqueConstraint("payment_id", "transfer_key", "direction"),
        CheckConstraint("amount_minor > 0", name="amount_minor"),
        CheckConstraint("direction in (-1, 1)", name="direction"),
        CheckConstraint("balance_after_minor = balance_before_minor + direction * amount_minor", name="balance"),
        CheckConstraint("type in ('deposit', 'reversal')", name="type"),
        {"comment": "Append-only entries of the books; a transfer is one entry out of a wallet and one into another."},
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    transfer_id: Mapped[uuid.UUID] = mapped_column(comment="Shared by the two entries of a transfer.")
    transfer_key: Mapped[str] = mapped_column(
        comment="deposit, case:<id> or reversal:<total>; unique per payment, so that no credit happens twice."
    )
    payment_id: Mapped[uuid.UUID]
    wallet_id: Mapped[uuid.UUID]
    wallet_version: Mapped[Number] = mapped_column(comment="Version of the wallet after this entry.")
    currency: Mapped[str]
    direction: Mapped[int] = mapped_column(SmallInteger, comment="+1 into the wallet, -1 out of it.")
    amount_minor: Mapped[Minor]
    balance_before_minor: Mapped[Minor]
    balance_after_minor: Mapped[Minor]
    type: Mapped[str]
    description: Mapped[str]
    at: Mapped[Created]


class WalletTempLog(Model):
    """The hold of a deposit: `held` from its creation, `applied` or `released` when the payment ends."""

    __tablename__ = "wallet_temp_logs"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "payment_id"], ["payment_transactions.tenant_id", "payment_transactions.id"]
        ),
        CheckConstraint("state in ('held', 'applied', 'released')", name="state"),
        Index("ix_wallet_temp_logs_held", "tenant_id", "user_id", "currency", postgresql_where=text("state = 'held'")),
        {"comment": "Holds of deposits that are under way."},
    )

    payment_id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    user_id: Mapped[str]
    currency: Mapped[str]
    amount_minor: Mapped[Minor]
    state: Mapped[str] = mapped_column(
        server_default=text("'held'"), comment="held from the creation on; applied or released when the payment ends."
    )
    created_at: Mapped[Created]
    closed_at: Mapped[datetime.datetime | None]
