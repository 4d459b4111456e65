"""What operators look at: audit, dead letters, alerts, heartbeats."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.declaration import Created, Id, Minor, Model, Moment, TenantId


class AuditLog(Model):
    """One thing that happened, written by the transaction that did it; append-only.

    `payment_version`, `detail` and the entries in it repeat what the transaction wrote elsewhere, so that the two
    can be held against each other.
    """

    __tablename__ = "audit_logs"
    __table_args__ = (Index("ix_audit_logs_payment", "tenant_id", "payment_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    tenant_id: Mapped[TenantId]
    at: Mapped[Created]
    actor: Mapped[str]
    kind: Mapped[str]
    payment_id: Mapped[uuid.UUID | None]
    payment_version: Mapped[int | None]
    detail: Mapped[dict[str, Any]]


class DeadLetter(Model):
    """Work that a person must look at: what it was, why it stopped, what an operator did with it.

    `amount_minor` and `currency` are what accepting it would credit; null where nothing can be accepted.
    """

    __tablename__ = "dead_letters"
    __table_args__ = (
        CheckConstraint("kind in ('webhook', 'provider_call')", name="kind"),
        CheckConstraint("state in ('open', 'redriven', 'accepted', 'rejected', 'superseded')", name="state"),
        Index("ix_dead_letters_open", "tenant_id", "created_at", postgresql_where=text("state = 'open'")),
        Index("ix_dead_letters_payment", "tenant_id", "payment_id"),
        Index("uq_dead_letters_case", "payment_id", "case_key", unique=True),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    kind: Mapped[str]
    payment_id: Mapped[uuid.UUID | None]
    provider_id: Mapped[uuid.UUID | None]
    webhook_id: Mapped[uuid.UUID | None]
    reason: Mapped[str]
    detail: Mapped[str]
    amount_minor: Mapped[Minor | None]
    currency: Mapped[str | None]
    body: Mapped[bytes | None]
    headers: Mapped[dict[str, Any] | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    # The same case told twice (a retried webhook, a poll) is one row; cases of one reference replace each other.
    case_key: Mapped[str | None]
    case_reference: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default=text("'open'"))
    created_at: Mapped[Created]
    closed_at: Mapped[datetime.datetime | None]
    closed_by: Mapped[str | None]


class Alert(Model):
    """An alarm: raised once per occurrence, optionally posted to ALERT_URL while `due_at` is set."""

    __tablename__ = "alerts"
    __table_args__ = (
        CheckConstraint("severity in ('warning', 'critical')", name="severity"),
        Index("ix_alerts_newest", text("at desc")),
        Index("ix_alerts_due", "due_at", postgresql_where=text("due_at is not null")),
    )

    id: Mapped[Id]
    tenant_id: Mapped[uuid.UUID | None]
    kind: Mapped[str]
    severity: Mapped[str]
    message: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    at: Mapped[Created]
    due_at: Mapped[datetime.datetime | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))


class Heartbeat(Model):
    """When a periodic duty (the sweep) was last done, by the database's clock."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[Moment]
