"""What operators read: audit, dead letters, alerts, heartbeats."""

from sqlalchemy import (
    UUID,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.declaration import METADATA, NOW, TIME, required

# Ids are unique and ascending without the time, which is in the key because partitions require it.
audit_logs = Table(
    "audit_logs",
    METADATA,
    Column(
        "id",
        BigInteger,
        Identity(always=True),
        primary_key=True,
        comment="Unique by its sequence; the primary key includes at because partitions require it.",
    ),
    required("tenant_id", UUID),
    Column("at", TIME, primary_key=True, server_default=NOW),
    required(
        "actor", Text, comment="Who acted: a process, or the operator named on the command line or by an API key."
    ),
    required("kind", Text),
    Column("payment_id", UUID),
    Column("payment_version", Integer, comment="Version of the payment that the change produced."),
    required("detail", JSONB, comment="Repeats what the transaction wrote elsewhere, so that the two can be compared."),
    Index("ix_audit_logs_payment", "tenant_id", "payment_id", "id"),
    postgresql_partition_by="RANGE (at)",
    comment="Append-only record of changes, written by the transaction itself; partitioned by month of at.",
)

dead_letters = Table(
    "dead_letters",
    METADATA,
    Column("id", UUID, primary_key=True),
    required("tenant_id", UUID),
    required("kind", Text),
    Column("payment_id", UUID),
    Column("provider_id", UUID),
    Column("webhook_id", UUID),
    required("reason", Text, comment="Short code, such as underpaid or attempts_exhausted."),
    required("detail", Text),
    Column(
        "amount_minor",
        BigInteger,
        comment="What accepting it would credit, in minor units; null where nothing can be accepted.",
    ),
    Column("currency", Text),
    Column("body", LargeBinary, comment="Body of the webhook or of the provider's answer, as far as it was kept."),
    Column("headers", JSONB),
    required("attempts", Integer, server_default=text("0"), comment="Attempts made before it was given up."),
    Column("case_key", Text, comment="The same case reported again has the same key and adds no row."),
    Column(
        "case_reference",
        Text,
        comment="Provider reference of the money; a later case of one reference supersedes the earlier.",
    ),
    required("state", Text, server_default=text("'open'")),
    required(
        "history",
        JSONB,
        server_default=text("'[]'"),
        comment="What operators did with it, oldest first: {at, actor, action}; the audit log has the same, sealed.",
    ),
    required("created_at", TIME, server_default=NOW),
    Column("closed_at", TIME),
    Column("closed_by", Text),
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
    comment="Work that needs a person: what it was, why it stopped, and what operators did with it.",
)

alerts = Table(
    "alerts",
    METADATA,
    Column("id", UUID, primary_key=True),
    Column("tenant_id", UUID),
    required("kind", Text, comment="Type of alarm, such as payment_underpaid; the list is in docs/OPERATIONS.md."),
    required("severity", Text),
    required("message", Text),
    required("detail", JSONB, server_default=text("'{}'")),
    required("at", TIME, server_default=NOW),
    Column("due_at", TIME, comment="When it is posted next; null once it is posted, or where ALERT_URL is not set."),
    required("attempts", Integer, server_default=text("0"), comment="Posts that were started."),
    CheckConstraint("severity in ('warning', 'critical')", name="severity"),
    Index("ix_alerts_newest", text("at desc")),
    Index("ix_alerts_due", "due_at", postgresql_where=text("due_at is not null")),
    comment="Alarms, one row per occurrence; posted to ALERT_URL where that is set.",
)

provider_breakers = Table(
    "provider_breakers",
    METADATA,
    Column("provider_id", UUID, primary_key=True),
    required("tenant_id", UUID),
    required("failures", Integer, server_default=text("0"), comment="Failed calls in a row."),
    required("opens", Integer, server_default=text("0"), comment="Pauses in a row that they led to."),
    Column(
        "paused_until", TIME, comment="No call is made before it; after it, while opens is above zero, a single one."
    ),
    Column("probe_until", TIME, comment="Until when that single call is claimed."),
    required("error", Text),
    required("changed_at", TIME, server_default=NOW),
    ForeignKeyConstraint(["tenant_id", "provider_id"], ["payment_providers.tenant_id", "payment_providers.id"]),
    comment="Circuit breakers of failing providers: from the first failed call until one is answered.",
)

heartbeats = Table(
    "heartbeats",
    METADATA,
    Column("name", Text, primary_key=True),
    required("at", TIME),
    comment="When each periodic duty was last done, by the clock of the database.",
)

provider_troubles = Table(
    "provider_troubles",
    METADATA,
    Column("provider_id", UUID, primary_key=True),
    required("tenant_id", UUID),
    required("problem", Text),
    required("at", TIME, comment="When a process last met the problem.", server_default=NOW),
    ForeignKeyConstraint(["tenant_id", "provider_id"], ["payment_providers.tenant_id", "payment_providers.id"]),
    comment="Providers that cannot be used as configured, such as one whose secret no key decrypts.",
)

process_keys = Table(
    "process_keys",
    METADATA,
    Column(
        "process", Text, primary_key=True, comment="Host, process number and start time; unique in an installation."
    ),
    Column("fingerprint", Text, primary_key=True),
    required("place", Integer, comment="0 for the key that encrypts, then the order in which keys are tried."),
    required("at", TIME, comment="Last report.", server_default=NOW),
    comment="Fingerprints of the encryption keys that running processes hold, reported while they run.",
)
