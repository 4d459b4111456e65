"""The inbox: webhooks exactly as they were sent, their dedupe keys, and which of them are due."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.declaration import Created, DueWork, Id, Model, TenantId


class PaymentWebhook(Model):
    """One verified delivery: raw bytes, headers, and what became of it. Cut by the month that its id was made in."""

    __tablename__ = "payment_webhooks"
    __table_args__ = (
        CheckConstraint("status in ('pending', 'processed', 'failed')", name="status"),
        Index("ix_payment_webhooks_payment", "tenant_id", "payment_id"),
        Index("ix_payment_webhooks_conflict", "conflicts_with", postgresql_where=text("conflicts_with is not null")),
        Index("ix_payment_webhooks_newest", "tenant_id", text("received_at desc"), text("id desc")),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    provider_id: Mapped[uuid.UUID]
    # The sender's own id (webhook-id), unique per provider through webhook_keys.
    external_id: Mapped[str]
    # Which path it came by: payment-success, payment-failed, payment-callback or provider.
    path: Mapped[str]
    body: Mapped[bytes]
    headers: Mapped[dict[str, Any]]
    body_sha256: Mapped[bytes]
    remote_address: Mapped[str]
    # What the verified body says of our payment; no foreign key, it may be unknown or not there yet.
    payment_id: Mapped[uuid.UUID | None]
    # Set on a delivery that repeats an id with other bytes: kept, never applied.
    conflicts_with: Mapped[uuid.UUID | None]
    status: Mapped[str] = mapped_column(server_default=text("'pending'"))
    verdict: Mapped[str | None]
    reason: Mapped[str | None]
    received_at: Mapped[Created]
    settled_at: Mapped[datetime.datetime | None]


class WebhookKey(Model):
    """The dedupe key of a delivery, kept for ever, with the hash of its first bytes."""

    __tablename__ = "webhook_keys"

    provider_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    external_id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[TenantId]
    body_sha256: Mapped[bytes]
    webhook_id: Mapped[uuid.UUID]
    duplicates: Mapped[int] = mapped_column(server_default=text("0"))


class WebhookWork(DueWork, Model):
    """A webhook that waits to be settled."""

    __tablename__ = "webhook_work"
    __table_args__ = (
        Index("ix_webhook_work_due", "due_at"),
        Index("ix_webhook_work_tenant_due", "tenant_id", "due_at", "webhook_id"),
        Index("ix_webhook_work_payment", "payment_id"),
    )

    webhook_id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    payment_id: Mapped[uuid.UUID | None]
    # Since when it alone has run into time limits and lost connections, while others were settled.
    postponed_since: Mapped[datetime.datetime | None]


class WebhookRefusal(Model):
    """A delivery that was refused: a bounded record for the operator, never the money's business.

    A ring: `slot` runs through a fixed range, so that an attacker can overwrite but never fill the disk.
    """

    __tablename__ = "webhook_refusals"
    __table_args__ = (
        Index("ix_webhook_refusals_payment", "payment_id", postgresql_where=text("payment_id is not null")),
    )

    slot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    tenant_id: Mapped[uuid.UUID | None]
    provider_id: Mapped[uuid.UUID | None]
    reason: Mapped[str]
    remote_address: Mapped[str]
    body_head: Mapped[bytes]
    at: Mapped[Created]
    # The payment that the body names, where there is one; nothing else of the body is believed.
    payment_id: Mapped[uuid.UUID | None]
