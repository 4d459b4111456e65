"""Payments and the calls that are due for them."""

from sqlalchemy import (
    UUID,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    desc,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from models.tables.declaration import FIXED, METADATA, NOW, TIME, due_work, required

payment_transactions = Table(
    "payment_transactions",
    METADATA,
    Column("id", UUID, primary_key=True, info=FIXED),
    required("tenant_id", UUID, ForeignKey("tenants.id"), info=FIXED),
    required(
        "version", Integer, server_default=text("1"), comment="Counts changes; notifications and audit rows name it."
    ),
    required("user_id", Text, info=FIXED),
    required("amount_minor", BigInteger, info=FIXED, comment="Amount asked, in minor units."),
    required("currency", Text, info=FIXED),
    required("status", Text, server_default=text("'pending'")),
    required(
        "exceptions",
        ARRAY(Text),
        server_default=text("'{}'"),
        comment="What did not go as asked, such as underpaid, late or conflict.",
    ),
    required("provider_id", UUID, info=FIXED),
    Column("provider_reference", Text, comment="The provider's own id of the payment."),
    Column("redirect_url", Text, comment="Page of the provider on which the user pays."),
    Column("failure_reason", Text),
    Column("success_url", Text, comment="Where the user is sent after paying."),
    Column("failure_url", Text, comment="Where the user is sent when the payment fails."),
    required(
        "metadata", JSONB, info=FIXED, server_default=text("'{}'"), comment="Values of the caller, returned unchanged."
    ),
    required(
        "idempotency_scope",
        Text,
        comment="Empty for secret keys, user:<id> for client tokens; a key is unique within its scope.",
    ),
    required("idempotency_key", Text),
    required(
        "request_sha256",
        LargeBinary,
        comment="Hash of the request, so that a repeated key with another request is refused.",
    ),
    Column(
        "provider_request",
        LargeBinary,
        comment="Exact bytes of the create call, kept so that every attempt sends the same.",
    ),
    Column("provider_request_at", TIME, comment="First attempt of the create call."),
    required(
        "session_closed",
        Boolean,
        server_default=text("false"),
        comment="Whether the payment page at the provider is closed.",
    ),
    Column(
        "received_minor",
        BigInteger,
        comment="Total received under provider_reference, credited or held, in minor units.",
    ),
    Column("received_currency", Text),
    required("reversed_minor", BigInteger, server_default=text("0"), comment="Total given back, in minor units."),
    required("created_at", TIME, info=FIXED, server_default=NOW),
    required("updated_at", TIME, server_default=NOW),
    required("expires_at", TIME, info=FIXED, comment="When the payment expires if no money has arrived."),
    Column("completed_at", TIME),
    Column(
        "committed_until",
        TIME,
        comment="Time by which a slow payment method settles; the payment does not expire before it.",
    ),
    UniqueConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "idempotency_scope", "idempotency_key"),
    ForeignKeyConstraint(["tenant_id", "provider_id"], ["payment_providers.tenant_id", "payment_providers.id"]),
    CheckConstraint("status in ('pending', 'processing', 'completed', 'failed', 'cancelled')", name="status"),
    CheckConstraint("amount_minor > 0 and amount_minor <= 1000000000000000", name="amount_minor"),
    CheckConstraint("(status = 'completed') = (completed_at is not null)", name="completed_at"),
    # The bounds of app.core.validation.provider_values, in whatever way a value came.
    CheckConstraint("char_length(provider_reference) <= 512", name="provider_reference"),
    CheckConstraint(
        "char_length(redirect_url) <= 2048 and redirect_url ~ '^[Hh][Tt][Tt][Pp][Ss]?://'", name="redirect_url"
    ),
    Index("ix_payments_newest", "tenant_id", desc("created_at"), desc("id")),
    Index("ix_payments_user_newest", "tenant_id", "user_id", desc("created_at"), desc("id")),
    Index("ix_payments_reference", "provider_id", "provider_reference"),
    postgresql_with={"fillfactor": "50"},
    comment="Payments: one deposit from its request to its end.",
)

payment_work = Table(
    "payment_work",
    METADATA,
    Column("payment_id", UUID, primary_key=True),
    required("tenant_id", UUID),
    required("provider_id", UUID),
    required("action", Text, comment="create, poll or close."),
    required(
        "polls",
        Integer,
        server_default=text("0"),
        comment="Polls that were answered: the step in the poll schedule, apart from attempts, which count failures.",
    ),
    *due_work(),
    ForeignKeyConstraint(["tenant_id", "payment_id"], ["payment_transactions.tenant_id", "payment_transactions.id"]),
    CheckConstraint("action in ('create', 'poll', 'close')", name="action"),
    # Creates are claimed before polls, the oldest first: the index is in that order.
    Index("ix_payment_work_due", "provider_id", text("(action <> 'create')"), "due_at"),
    Index("ix_payment_work_due_at", "due_at"),
    Index("ix_payment_work_claimed", "provider_id", postgresql_where=text("claim_id is not null")),
    comment="The next provider call that is due for a payment.",
)

# The payment carries the mark `reversal_waiting` meanwhile: settling reads this table for those payments alone.
waiting_reversals = Table(
    "waiting_reversals",
    METADATA,
    Column("payment_id", UUID, primary_key=True),
    required("tenant_id", UUID),
    required("provider_id", UUID),
    Column(
        "reference",
        Text,
        primary_key=True,
        server_default=text("''"),
        comment="The provider reference that the reversal named, empty where none.",
    ),
    Column("currency", Text, primary_key=True),
    Column(
        "amount_minor",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="The total given back, in minor units.",
    ),
    Column("webhook_id", UUID),
    Column(
        "due_at",
        TIME,
        comment="When it becomes a dead letter: the end of the monitoring window. Null once a person has been told.",
    ),
    required("created_at", TIME, server_default=NOW),
    ForeignKeyConstraint(["tenant_id", "payment_id"], ["payment_transactions.tenant_id", "payment_transactions.id"]),
    CheckConstraint("amount_minor > 0", name="amount_minor"),
    Index("ix_waiting_reversals_due", "due_at", postgresql_where=text("due_at is not null")),
    comment="Verified reversals whose money is not credited yet; deleted once they are booked.",
)

payment_count_deltas = Table(
    "payment_count_deltas",
    METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    required("status", Text),
    required("delta", Integer, comment="How many payments one statement added to the status, or took from it."),
    comment="Changes of the number of payments by status; written by a trigger, folded by the sweep.",
)

payment_counts = Table(
    "payment_counts",
    METADATA,
    Column("status", Text, primary_key=True),
    required("total", BigInteger),
    comment="Number of payments by status, folded from payment_count_deltas, for metrics.",
)
