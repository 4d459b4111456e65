"""What operators look at: audit, dead letters, alerts, heartbeats."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.declaration import Created, Id, Minor, Model, Moment, TenantId


class AuditLog(Model):
    """One thing that happened, written by the transaction that did it; append-only.

    `payment_version`, `detail` and the entries in it repeat what the transaction wrote elsewhere, so that the two
    can be held against each other. Cut by month; the key has the time in it because the partitions ask for that, the
    ids alone are unique and in order.
    """

    __tablename__ = "audit_logs"
    __table_args__ = (
        Index("ix_audit_logs_payment", "tenant_id", "payment_id", "id"),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    tenant_id: Mapped[TenantId]
    at: Mapped[Created] = mapped_column(primary_key=True)
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
        CheckConstraint("kind in ('webhook', 'provider_call', 'reconciliation')", name="kind"),
        CheckConstraint("state in ('open', 'redriven', 'accepted', 'rejected', 'superseded')", name="state"),
        Index("ix_dead_letters_open", "tenant_id", "created_at", postgresql_where=text("state = 'open'")),
        Index("ix_dead_letters_newest", "tenant_id", text("created_at desc"), text("id desc")),
        Index("ix_dead_letters_payment", "tenant_id", "payment_id"),
        Index("ix_dead_letters_webhook", "webhook_id", postgresql_where=text("webhook_id is not null")),
        Index("uq_dead_letters_case", "payment_id", "case_key", unique=True),
        # A payment that only the provider knows has no payment of ours to be unique with.
        Index(
            "uq_dead_letters_difference",
            "provider_id",
            "case_key",
            unique=True,
            postgresql_where=text("kind = 'reconciliation'"),
        ),
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
    # What operators did with it, oldest first: {at, actor, action}. The audit says the same, sealed.
    history: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))
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


class ProviderBreaker(Model):
    """A provider that fails: it is there from the first failed call to the next answered one.

    `failures` counts failed calls in a row, `opens` the pauses in a row that they led to. No call is made before
    `paused_until`; after it, while `opens` is above zero, a single one, which is given until `probe_until`.
    """

    __tablename__ = "provider_breakers"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "provider_id"], ["payment_providers.tenant_id", "payment_providers.id"]),
    )

    provider_id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    opens: Mapped[int] = mapped_column(server_default=text("0"))
    paused_until: Mapped[datetime.datetime | None]
    probe_until: Mapped[datetime.datetime | None]
    error: Mapped[str]
    changed_at: Mapped[Created]


class Heartbeat(Model):
    """When a periodic duty (the sweep) was last done, by the database's clock."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[Moment]


class ProviderTrouble(Model):
    """A provider that cannot be used as it is configured, such as one whose secret no key decrypts.

    `at` is when a process last met the trouble; one that no process meets any more is history.
    """

    __tablename__ = "provider_troubles"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "provider_id"], ["payment_providers.tenant_id", "payment_providers.id"]),
    )

    provider_id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    problem: Mapped[str]
    at: Mapped[Created]


class ProcessKey(Model):
    """An encryption key that a running process holds: its fingerprint, reported again and again while it runs."""

    __tablename__ = "process_keys"

    # Host, process number and start: unique among the processes of an installation.
    process: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    # 0 for the key that the process encrypts with, then in the order in which it tries them.
    place: Mapped[int]
    at: Mapped[Created]
