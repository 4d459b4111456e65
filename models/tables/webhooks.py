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
        {
            "postgresql_partition_by": "RANGE (id)",
            "comment": "Verified webhooks exactly as they were received; partitioned by month of id.",
        },
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    provider_id: Mapped[uuid.UUID]
    external_id: Mapped[str] = mapped_column(
        comment="Id that the sender gave (webhook-id); unique per provider through webhook_keys."
    )
    path: Mapped[str] = mapped_column(
        comment="Path it was sent to: payment-success, payment-failed, payment-callback or provider."
    )
    body: Mapped[bytes] = mapped_column(comment="Raw bytes; the signature is over these.")
    headers: Mapped[dict[str, Any]]
    body_sha256: Mapped[bytes]
    remote_address: Mapped[str]
    payment_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="Payment that the verified body names; no foreign key, since it may be unknown or not yet written."
    )
    conflicts_with: Mapped[uuid.UUID | None] = mapped_column(
        comment="Earlier webhook with the same external_id and another body; such a repeat is never applied."
    )
    status: Mapped[str] = mapped_column(
        server_default=text("'pending'"), comment="pending until it is settled, then processed or failed."
    )
    verdict: Mapped[str | None] = mapped_column(comment="What settling decided, such as applied or duplicate.")
    reason: Mapped[str | None]
    received_at: Mapped[Created]
    settled_at: Mapped[datetime.datetime | None]


class WebhookKey(Model):
    """The dedupe key of a delivery, kept for ever, with the hash of its first bytes."""

    __tablename__ = "webhook_keys"
    __table_args__ = ({"comment": "Deduplication keys of webhooks, with the hash of the first body; never deleted."},)

    provider_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    external_id: Mapped[str] = mapped_column(primary_key=True, comment="Id that the sender gave (webhook-id).")
    tenant_id: Mapped[TenantId]
    body_sha256: Mapped[bytes]
    webhook_id: Mapped[uuid.UUID] = mapped_column(comment="The first webhook with this key.")
    duplicates: Mapped[int] = mapped_column(
        server_default=text("0"), comment="Later deliveries with the same key and body."
    )


class WebhookWork(DueWork, Model):
    """A webhook that waits to be settled."""

    __tablename__ = "webhook_work"
    __table_args__ = (
        Index("ix_webhook_work_due", "due_at"),
        Index("ix_webhook_work_tenant_due", "tenant_id", "due_at", "webhook_id"),
        Index("ix_webhook_work_payment", "payment_id"),
        {"comment": "Webhooks that wait to be settled."},
    )

    webhook_id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    payment_id: Mapped[uuid.UUID | None]
    postponed_since: Mapped[datetime.datetime | None] = mapped_column(
        comment="Since when it has run into time limits or lost connections while other webhooks were settled."
    )


class WebhookRefusal(Model):
    """A delivery that was refused: a bounded record for the operator, never the money's business.

    A ring: `slot` runs through a fixed range, so that an attacker can overwrite but never fill the disk.
    """

    __tablename__ = "webhook_refusals"
    __table_args__ = (
        Index("ix_webhook_refusals_payment", "payment_id", postgresql_where=text("payment_id is not null")),
        {"comment": "Ring of the last refused webhooks, of fixed size, so that an attacker cannot fill the disk."},
    )

    slot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="Index in the ring.")
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True), comment="Order of the refusals.")
    tenant_id: Mapped[uuid.UUID | None]
    provider_id: Mapped[uuid.UUID | None]
    reason: Mapped[str]
    remote_address: Mapped[str]
    body_head: Mapped[bytes] = mapped_column(comment="First bytes of the unverified body.")
    at: Mapped[Created]
    payment_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="Payment that the unverified body names, for searching only."
    )
