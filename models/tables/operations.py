"""Tables for operators: the audit log, dead letters, alarms, circuit breakers and reports of processes."""

from sqlalchemy import UUID, BigInteger, CheckConstraint, Integer, LargeBinary, Text, desc
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.declaration import NOW, TIME, index, key, optional, required, sequence, table, within_tenant

# Alarms about what lasts, while it lasts.
OPEN_ALARM = "resolved_at is null and subject is not null"

# Ids are unique and ascending without the time, which is in the key because partitions require it.
audit_logs = table(
    "audit_logs",
    "Append-only record of changes, written by the transaction itself; partitioned by month of at.",
    sequence("id", "Unique by its sequence; the primary key includes at because partitions require it."),
    required("tenant_id", UUID),
    key("at", TIME, default=NOW),
    required("actor", Text, "Who acted: a process, or the operator named on the command line or by an API key."),
    required("kind", Text),
    optional("payment_id", UUID),
    optional("payment_version", Integer, "Version of the payment that the change produced."),
    required("detail", JSONB, "Repeats what the transaction wrote elsewhere, so that the two can be compared."),
    index("ix_audit_logs_payment", "tenant_id", "payment_id", "id"),
    postgresql_partition_by="RANGE (at)",
)

dead_letters = table(
    "dead_letters",
    "Work that needs a person: what it was, why it stopped, and what operators did with it.",
    key("id", UUID),
    required("tenant_id", UUID),
    required("kind", Text),
    optional("payment_id", UUID),
    optional("provider_id", UUID),
    optional("webhook_id", UUID),
    required("reason", Text, "Short code, such as underpaid or attempts_exhausted."),
    required("detail", Text),
    optional(
        "amount_minor",
        BigInteger,
        "What accepting it would credit, in minor units, less than nothing for what it would take back; null where"
        " nothing can be accepted.",
    ),
    optional("currency", Text),
    optional("body", LargeBinary, "Body of the webhook or of the provider's answer, as far as it was kept."),
    optional("headers", JSONB),
    required("attempts", Integer, "Attempts made before it was given up.", default="0"),
    optional("case_key", Text, "The same case reported again has the same key and adds no row."),
    optional(
        "case_reference", Text, "Provider reference of the money; a later case of one reference supersedes the earlier."
    ),
    required("state", Text, default="'open'"),
    required(
        "history",
        JSONB,
        "What operators did with it, oldest first: {at, actor, action}; the audit log has the same, sealed.",
        default="'[]'",
    ),
    required("created_at", TIME, default=NOW),
    optional("closed_at", TIME),
    optional("closed_by", Text),
    CheckConstraint("kind in ('webhook', 'provider_call', 'reconciliation')", name="kind"),
    CheckConstraint("state in ('open', 'redriven', 'accepted', 'rejected', 'superseded')", name="state"),
    index("ix_dead_letters_open", "tenant_id", "created_at", where="state = 'open'"),
    index("ix_dead_letters_newest", "tenant_id", desc("created_at"), desc("id")),
    index("ix_dead_letters_payment", "tenant_id", "payment_id"),
    index("ix_dead_letters_webhook", "webhook_id", where="webhook_id is not null"),
    index("uq_dead_letters_case", "payment_id", "case_key", unique=True),
    # A payment that only the provider knows has no payment of ours to be unique with.
    index("uq_dead_letters_difference", "provider_id", "case_key", unique=True, where="kind = 'reconciliation'"),
)

alerts = table(
    "alerts",
    "Alarms, one row from when one is raised until it is resolved; posted to ALERT_URL where that is set.",
    key("id", UUID),
    optional("tenant_id", UUID),
    required("kind", Text, "Type of alarm, such as payment_underpaid; the list is in docs/OPERATIONS.md."),
    optional(
        "subject",
        Text,
        "What an alarm of its kind lasts for, such as a wallet or a dead letter; null where it reports an event.",
    ),
    required("severity", Text),
    required("message", Text),
    required("detail", JSONB, default="'{}'"),
    required("at", TIME, "When it was raised.", default=NOW),
    required("occurrences", Integer, "How often it was raised while it was open.", default="1"),
    required("last_at", TIME, "When it was last raised.", default=NOW),
    optional("resolved_at", TIME, "When what raised it was over."),
    optional("resolved_by", Text, "What ended it, for people."),
    optional(
        "due_at",
        TIME,
        "When it is posted next, and again once it is resolved; null once it is posted, or where ALERT_URL is not set.",
    ),
    required("attempts", Integer, "Posts that were started.", default="0"),
    CheckConstraint("severity in ('warning', 'critical')", name="severity"),
    CheckConstraint("(resolved_at is null) = (resolved_by is null)", name="resolved"),
    CheckConstraint("resolved_at is null or subject is not null", name="subject"),
    index("ix_alerts_newest", desc("at")),
    index("ix_alerts_due", "due_at", where="due_at is not null"),
    index("uq_alerts_open", "tenant_id", "kind", "subject", unique=True, where=OPEN_ALARM, nulls_are_equal=True),
)

provider_breakers = table(
    "provider_breakers",
    "Circuit breakers of failing providers: from the first failed call until one is answered.",
    key("provider_id", UUID),
    required("tenant_id", UUID),
    required("failures", Integer, "Failed calls in a row.", default="0"),
    required("opens", Integer, "Pauses in a row that they led to.", default="0"),
    optional("paused_until", TIME, "No call is made before it; after it, while opens is above zero, a single one."),
    optional("probe_until", TIME, "Until when that single call is claimed."),
    required("error", Text),
    required("changed_at", TIME, default=NOW),
    within_tenant("provider_id", "payment_providers"),
)

heartbeats = table(
    "heartbeats",
    "When each periodic duty was last done, by the clock of the database.",
    key("name", Text),
    required("at", TIME),
)

provider_troubles = table(
    "provider_troubles",
    "Providers that cannot be used as configured, such as one whose secret no key decrypts.",
    key("provider_id", UUID),
    required("tenant_id", UUID),
    required("problem", Text),
    required("at", TIME, "When a process last met the problem.", default=NOW),
    within_tenant("provider_id", "payment_providers"),
)

process_keys = table(
    "process_keys",
    "Fingerprints of the encryption keys that running processes hold, reported while they run.",
    key("process", Text, "Host, process number and start time; unique in an installation."),
    key("fingerprint", Text),
    required("place", Integer, "0 for the key that encrypts, then the order in which keys are tried."),
    required("at", TIME, "Last report.", default=NOW),
)
