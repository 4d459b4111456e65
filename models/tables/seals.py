"""Tables of the audit log's chains of seals, of verification runs, and of dropped partitions."""

from sqlalchemy import (
    UUID,
    BigInteger,
    Boolean,
    CheckConstraint,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    desc,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from models.tables.declaration import NOW, TIME, index, key, optional, required, table

audit_seals = table(
    "audit_seals",
    "Append-only hash chains over a tenant's audit rows, one seal for a run of rows.",
    key("tenant_id", UUID),
    key(
        "chain",
        SmallInteger,
        "The tenant's chains are 1, 2, 3, ...; 0 has the seals of releases that sealed rows after their commit.",
    ),
    key("number", BigInteger, "Position of the seal in its chain: 1, 2, 3, ..."),
    required(
        "first_position",
        BigInteger,
        "Position of its first audit row; the rows of a chain are counted 1, 2, 3, ... as they are sealed.",
    ),
    required("last_position", BigInteger, "Position of its last audit row."),
    required("audit_ids", ARRAY(BigInteger), "Its audit rows, in the order of their positions."),
    required("first_audit_id", BigInteger, "Smallest id among its audit rows."),
    required("last_audit_id", BigInteger, "Largest id among its audit rows."),
    required(
        "row_marks", LargeBinary, "First eight bytes of the hash of each row, so that a changed row can be named."
    ),
    required("rows_sha256", LargeBinary, "Hash over every column of all its rows."),
    required("previous_sha256", LargeBinary, "seal_sha256 of the seal before; 32 zero bytes in the first."),
    required("seal_sha256", LargeBinary, "Hash over this seal's other columns."),
    required("sealed_at", TIME, "The time of its rows, which is that of their transaction; later in chain 0."),
    CheckConstraint("last_position - first_position + 1 = cardinality(audit_ids)", name="positions"),
    index("ix_audit_seals_rows", "tenant_id", "last_audit_id", where="chain = 0"),
    index("ix_audit_seals_sealed_at", "tenant_id", "sealed_at", where="chain > 0"),
)

verification_runs = table(
    "verification_runs",
    "Proofs of the books and their results.",
    key("id", UUID),
    required("mode", Text, "full, or incremental: from verification_places on."),
    optional("tenant_id", UUID, "Null for a proof of all tenants."),
    required("started_at", TIME),
    required("finished_at", TIME, default=NOW),
    required("is_complete", Boolean, "False where the time allowed ended before the proof did."),
    required("counts", JSONB, "Rows proved, by kind."),
    required("broken", JSONB, "Invariants that did not hold."),
    CheckConstraint("mode in ('full', 'incremental')", name="mode"),
    index("ix_verification_runs_newest", desc("finished_at")),
)

verification_places = table(
    "verification_places",
    "How far a tenant's books are proved; the next incremental proof starts there.",
    key("tenant_id", UUID),
    required("notification_number", BigInteger, "Last notification number that was proved."),
    required("webhooks_until", TIME, "Webhooks settled before this time are proved."),
    required("verified_at", TIME),
)

verification_chains = table(
    "verification_chains",
    "How far a chain of seals is proved; the next incremental proof starts there.",
    key("tenant_id", UUID),
    key("chain", SmallInteger),
    required("seal_number", BigInteger, "Last seal that was proved."),
    required("seal_sha256", LargeBinary, "Its hash when it was proved."),
)

dropped_partitions = table(
    "dropped_partitions",
    "Append-only record of dropped partitions, one row for each tenant that had rows in one.",
    key("tenant_id", UUID),
    key(
        "audit_id",
        BigInteger,
        "The audit row of kind partition_dropped that records the same within the chain of seals.",
    ),
    required("audit_at", TIME),
    required("actor", Text, "The operator who dropped it."),
    required("table_name", Text),
    required("begins_at", TIME, "Start of the partition's month, inclusive."),
    required("ends_at", TIME, "End of the partition's month, exclusive."),
    required("row_count", BigInteger, "Rows of the tenant that were dropped."),
    optional("first_seal", BigInteger, "First seal whose audit rows were dropped; null for other tables."),
    optional("last_seal", BigInteger, "Last seal whose audit rows were dropped; null for other tables."),
    required(
        "kept_seals",
        ARRAY(BigInteger),
        "Seals between those two whose rows are of a later month and were kept.",
        default="'{}'",
    ),
    required(
        "previous_sha256", LargeBinary, "Hash of the tenant's drop before, so that none can be removed unnoticed."
    ),
    UniqueConstraint("tenant_id", "table_name", "begins_at"),
)
