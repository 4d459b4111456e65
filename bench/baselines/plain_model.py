"""Tables and settings of the plain baseline: what a competent Python team would build with SQLAlchemy."""

from __future__ import annotations

import datetime
import os
import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, MetaData, String, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID
from sqlalchemy.engine import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

# A schema of its own: the database also has the product's tables.
SCHEMA = "plain"
Moment = TIMESTAMP(timezone=True)


class PlainTable(DeclarativeBase):
    """A table of the baseline."""

    metadata = MetaData(schema=SCHEMA)


class PlainPayment(PlainTable):
    """A deposit and what became of it."""

    __tablename__ = "payments"
    __table_args__ = (Index("payments_user", "user_id", "created_at"),)
    id: Mapped[uuid.UUID] = mapped_column(UUID(as_uuid=True), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(Text, unique=True)
    user_id: Mapped[str] = mapped_column(Text)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    provider_reference: Mapped[str | None] = mapped_column(Text, unique=True)
    redirect_url: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime.datetime] = mapped_column(Moment, server_default=func.now())
    updated_at: Mapped[datetime.datetime] = mapped_column(Moment, server_default=func.now())
    completed_at: Mapped[datetime.datetime | None] = mapped_column(Moment)


class PlainWebhook(PlainTable):
    """A webhook as it came."""

    __tablename__ = "webhook_events"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    event_id: Mapped[str] = mapped_column(Text, unique=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(Text, server_default="received")
    received_at: Mapped[datetime.datetime] = mapped_column(Moment, server_default=func.now())
    processed_at: Mapped[datetime.datetime | None] = mapped_column(Moment)


class PlainWallet(PlainTable):
    """A user's balance."""

    __tablename__ = "wallets"
    __table_args__ = (UniqueConstraint("user_id", "currency"), CheckConstraint("balance_minor >= 0"))
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    user_id: Mapped[str] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(String(3))
    balance_minor: Mapped[int] = mapped_column(BigInteger, server_default="0")
    updated_at: Mapped[datetime.datetime] = mapped_column(Moment, server_default=func.now())


class PlainEntry(PlainTable):
    """One change of a balance: single entry."""

    __tablename__ = "wallet_entries"
    __table_args__ = (Index("wallet_entries_wallet", "wallet_id", "created_at"),)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    wallet_id: Mapped[int] = mapped_column(ForeignKey(PlainWallet.id))
    payment_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(PlainPayment.id), unique=True)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    balance_after_minor: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime.datetime] = mapped_column(Moment, server_default=func.now())


class PlainAudit(PlainTable):
    """What happened, for people."""

    __tablename__ = "audit_logs"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    payment_id: Mapped[uuid.UUID | None] = mapped_column(UUID(as_uuid=True), index=True)
    kind: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)
    at: Mapped[datetime.datetime] = mapped_column(Moment, server_default=func.now())


engine = create_engine(
    os.environ["PLAIN_DATABASE_URL"], pool_size=int(os.environ.get("PLAIN_POOL", "2")), max_overflow=8
)
Transaction = sessionmaker(engine, expire_on_commit=False)
