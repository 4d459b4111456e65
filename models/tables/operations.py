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

    Ids are unique and ascending without the time, which is in the key because partitions require it.
    """

    __tablename__ = "audit_logs"
    __table_args__ = (
        Index("ix_audit_logs_payment", "tenant_id", "payment_id", "id"),
        {
            "postgresql_partition_by": "RANGE (at)",
            "comment": "Append-only record of changes, written by the transaction itself; partitioned by month of at.",
        },
    )

    id: Mapped[int] = mapped_column(
        BigInteger,
        Identity(always=True),
        primary_key=True,
        comment="Unique by its sequence; the primary key includes at because partitions require it.",
    )
    tenant_id: Mapped[TenantId]
    at: Mapped[Created] = mapped_column(primary_key=True)
    actor: Mapped[str] = mapped_column(
        comment="Who acted: a process, or the operator named on the command line or by an API key."
    )
    kind: Mapped[str]
    payment_id: Mapped[uuid.UUID | None]
    payment_version: Mapped[int | None] = mapped_column(comment="Version of the payment that the change produced.")
    detail: Mapped[dict[str, Any]] = mapped_column(
        comment="Repeats what the transaction wrote elsewhere, so that the two can be compared."
    )


class DeadLetter(Model):
    """Work that needs a person: what it was, why it stopped, and what operators did with it."""

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
        {"comment": "Work that needs a person: what it was, why it stopped, and what operators did with it."},
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    kind: Mapped[str]
    payment_id: Mapped[uuid.UUID | None]
    provider_id: Mapped[uuid.UUID | None]
    webhook_id: Mapped[uuid.UUID | None]
    reason: Mapped[str] = mapped_column(comment="Short code, such as underpaid or attempts_exhausted.")
    detail: Mapped[str]
    amount_minor: Mapped[Minor | None] = mapped_column(
        comment="What accepting it would credit, in minor units; null where nothing can be accepted."
    )
    currency: Mapped[str | None]
    body: Mapped[bytes | None] = mapped_column(
        comment="Body of the webhook or of the provider's answer, as far as it was kept."
    )
    headers: Mapped[dict[str, Any] | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"), comment="Attempts made before it was given up.")
    case_key: Mapped[str | None] = mapped_column(
        comment="The same case reported again has the same key and adds no row."
    )
    case_reference: Mapped[str | None] = mapped_column(
        comment="Provider reference of the money; a later case of one reference supersedes the earlier."
    )
    state: Mapped[str] = mapped_column(server_default=text("'open'"))
    history: Mapped[list[Any]] = mapped_column(
        JSONB,
        server_default=text("'[]'"),
        comment="What operators did with it, oldest first: {at, actor, action}; the audit log has the same, sealed.",
    )
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
        {"comment": "Alarms, one row per occurrence; posted to ALERT_URL where that is set."},
    )

    id: Mapped[Id]
    tenant_id: Mapped[uuid.UUID | None]
    kind: Mapped[str] = mapped_column(
        comment="Type of alarm, such as payment_underpaid; the list is in docs/OPERATIONS.md."
    )
    severity: Mapped[str]
    message: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    at: Mapped[Created]
    due_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="When it is posted next; null once it is posted, or where ALERT_URL is not set."
    )
    attempts: Mapped[int] = mapped_column(server_default=text("0"), comment="Posts that were started.")


class ProviderBreaker(Model):
    """The circuit breaker of a failing provider: it exists from the first failed call until one is answered."""

    __tablename__ = "provider_breakers"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "provider_id"], ["payment_providers.tenant_id", "payment_providers.id"]),
        {"comment": "Circuit breakers of failing providers: from the first failed call until one is answered."},
    )

    provider_id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    failures: Mapped[int] = mapped_column(server_default=text("0"), comment="Failed calls in a row.")
    opens: Mapped[int] = mapped_column(server_default=text("0"), comment="Pauses in a row that they led to.")
    paused_until: Mapped[datetime.datetime | None] = mapped_column(
        comment="No call is made before it; after it, while opens is above zero, a single one."
    )
    probe_until: Mapped[datetime.datetime | None] = mapped_column(comment="Until when that single call is claimed.")
    error: Mapped[str]
    changed_at: Mapped[Created]


class Heartbeat(Model):
    """When a periodic duty (the sweep) was last done, by the database's clock."""

    __tablename__ = "heartbeats"
    __table_args__ = ({"comment": "When each periodic duty was last done, by the clock of the database."},)

    name: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[Moment]


class ProviderTrouble(Model):
    """A provider that cannot be used as it is configured, such as one whose secret no key decrypts."""

    __tablename__ = "provider_troubles"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "provider_id"], ["payment_providers.tenant_id", "payment_providers.id"]),
        {"comment": "Providers that cannot be used as configured, such as one whose secret no key decrypts."},
    )

    provider_id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    problem: Mapped[str]
    at: Mapped[Created] = mapped_column(comment="When a process last met the problem.")


class ProcessKey(Model):
    """An encryption key that a running process holds: its fingerprint, reported again and again while it runs."""

    __tablename__ = "process_keys"
    __table_args__ = (
        {"comment": "Fingerprints of the encryption keys that running processes hold, reported while they run."},
    )

    process: Mapped[str] = mapped_column(
        primary_key=True, comment="Host, process number and start time; unique in an installation."
    )
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(comment="0 for the key that encrypts, then the order in which keys are tried.")
    at: Mapped[Created] = mapped_column(comment="Last report.")
