"""The outbox to browsers: notifications, and the numbers that give them one order per tenant."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import BigInteger, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.declaration import Created, Id, Model, Number, TenantId


class Notification(Model):
    """What a user should see, written by the deciding transaction, without a number yet. Cut by its id's month."""

    __tablename__ = "notifications"
    __table_args__ = (
        Index("ix_notifications_payment", "tenant_id", "payment_id"),
        {
            "postgresql_partition_by": "RANGE (id)",
            "comment": "What users are shown, written with the change of the payment; partitioned by month of id.",
        },
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    user_id: Mapped[str]
    payment_id: Mapped[uuid.UUID]
    type: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(comment="The payment as clients see it at that version.")
    at: Mapped[Created]


class NotificationWork(Model):
    """A notification that has no number yet; the numberer takes it away."""

    __tablename__ = "notification_work"
    __table_args__ = (
        Index("ix_notification_work_tenant", "tenant_id", "sequence"),
        {"comment": "Notifications without a number; deleted when they are numbered."},
    )

    sequence: Mapped[int] = mapped_column(
        BigInteger,
        Identity(always=True),
        primary_key=True,
        comment="Order of numbering; assigned while the payment's row is locked, hence in the order of its versions.",
    )
    notification_id: Mapped[uuid.UUID]
    tenant_id: Mapped[TenantId]
    user_id: Mapped[str]
    due_at: Mapped[Created] = mapped_column(comment="When it was queued.")


class NotificationNumber(Model):
    """The place of a notification in its tenant's sequence 1, 2, 3, ...; readers see numbered ones only.

    Not cut by time and kept for ever: numbers are unique over all time, read by number, and prove that none is missing.
    """

    __tablename__ = "notification_numbers"
    __table_args__ = (
        Index("ix_notification_numbers_user", "tenant_id", "user_id", "number"),
        Index("uq_notification_numbers_notification", "notification_id", unique=True),
        {"comment": "The number of each notification in its tenant's sequence 1, 2, 3, ...; never deleted."},
    )

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    number: Mapped[Number] = mapped_column(
        primary_key=True, comment="Gapless per tenant; cursor of long polls, SSE and WebSocket."
    )
    notification_id: Mapped[uuid.UUID]
    user_id: Mapped[str]


class NotificationCounter(Model):
    """The last number given to a tenant's notifications, and the one up to which they were dropped."""

    __tablename__ = "notification_counters"
    __table_args__ = ({"comment": "The last number given to a tenant's notifications."},)

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    last_number: Mapped[Number]
    held_after: Mapped[Number] = mapped_column(
        server_default=text("0"), comment="Notifications up to this number were dropped with their partitions."
    )
