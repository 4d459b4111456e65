"""The audit's chain of seals, and what the proofs of the books have found."""

from sqlalchemy import (
    UUID,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from models.tables.declaration import METADATA, NOW, TIME, required

audit_work = Table(
    "audit_work",
    METADATA,
    Column("tenant_id", UUID, primary_key=True),
    Column(
        "audit_id",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="With audit_at the whole key of the audit row, so that one partition is searched.",
    ),
    required("audit_at", TIME),
    required("due_at", TIME, comment="When it was queued.", server_default=NOW),
    comment="Audit rows that no seal covers yet; written by a trigger, deleted by the sealer.",
)

audit_seals = Table(
    "audit_seals",
    METADATA,
    Column("tenant_id", UUID, primary_key=True),
    Column(
        "number",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="Position of the seal in the tenant's chain: 1, 2, 3, ...",
    ),
    required(
        "first_position",
        BigInteger,
        comment="Position of its first audit row; rows are counted 1, 2, 3, ... per tenant as they are sealed.",
    ),
    required("last_position", BigInteger, comment="Position of its last audit row."),
    required("audit_ids", ARRAY(BigInteger), comment="Its audit rows, in the order of their positions."),
    required("first_audit_id", BigInteger, comment="Smallest id among its audit rows."),
    required("last_audit_id", BigInteger, comment="Largest id among its audit rows."),
    required(
        "row_marks",
        LargeBinary,
        comment="First eight bytes of the hash of each row, so that a changed row can be named.",
    ),
    required("rows_sha256", LargeBinary, comment="Hash over every column of all its rows."),
    required("previous_sha256", LargeBinary, comment="seal_sha256 of the seal before; 32 zero bytes in the first."),
    required("seal_sha256", LargeBinary, comment="Hash over this seal's other columns."),
    required("sealed_at", TIME),
    CheckConstraint("last_position - first_position + 1 = cardinality(audit_ids)", name="positions"),
    Index("ix_audit_seals_rows", "tenant_id", "last_audit_id"),
    comment="Append-only hash chain over a tenant's audit rows, one seal for a run of rows.",
)

verification_runs = Table(
    "verification_runs",
    METADATA,
    Column("id", UUID, primary_key=True),
    required("mode", Text, comment="full, or incremental: from verification_places on."),
    Column("tenant_id", UUID, comment="Null for a proof of all tenants."),
    required("started_at", TIME),
    required("finished_at", TIME, server_default=NOW),
    required("is_complete", Boolean, comment="False where the time allowed ended before the proof did."),
    required("counts", JSONB, comment="Rows proved, by kind."),
    required("broken", JSONB, comment="Invariants that did not hold."),
    CheckConstraint("mode in ('full', 'incremental')", name="mode"),
    Index("ix_verification_runs_newest", text("finished_at desc")),
    comment="Proofs of the books and their results.",
)

verification_places = Table(
    "verification_places",
    METADATA,
    Column("tenant_id", UUID, primary_key=True),
    required("seal_number", BigInteger, comment="Last seal that was proved."),
    required("seal_sha256", LargeBinary, comment="Its hash when it was proved."),
    required("notification_number", BigInteger, comment="Last notification number that was proved."),
    required("webhooks_until", TIME, comment="Webhooks settled before this time are proved."),
    required("verified_at", TIME),
    comment="How far a tenant's books are proved; the next incremental proof starts there.",
)

dropped_partitions = Table(
    "dropped_partitions",
    METADATA,
    Column("tenant_id", UUID, primary_key=True),
    Column(
        "audit_id",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="The audit row of kind partition_dropped that records the same within the chain of seals.",
    ),
    required("audit_at", TIME),
    required("actor", Text, comment="The operator who dropped it."),
    required("table_name", Text),
    required("begins_at", TIME, comment="Start of the partition's month, inclusive."),
    required("ends_at", TIME, comment="End of the partition's month, exclusive."),
    required("row_count", BigInteger, comment="Rows of the tenant that were dropped."),
    Column("first_seal", BigInteger, comment="First seal whose audit rows were dropped; null for other tables."),
    Column("last_seal", BigInteger, comment="Last seal whose audit rows were dropped; null for other tables."),
    required(
        "kept_seals",
        ARRAY(BigInteger),
        server_default=text("'{}'"),
        comment="Seals between those two whose rows are of a later month and were kept.",
    ),
    required(
        "previous_sha256",
        LargeBinary,
        comment="Hash of the tenant's drop before, so that none can be removed unnoticed.",
    ),
    UniqueConstraint("tenant_id", "table_name", "begins_at"),
    comment="Append-only record of dropped partitions, one row for each tenant that had rows in one.",
)
