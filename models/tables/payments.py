"""Tables of payments: the payments, their due provider calls, and counts by status."""

from sqlalchemy import (
    UUID,
    BigInteger,
    Boolean,
    CheckConstraint,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    desc,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from models.tables.declaration import (
    FIXED,
    NOW,
    TIME,
    due_work,
    index,
    key,
    optional,
    required,
    sequence,
    table,
    within_tenant,
)

payment_transactions = table(
    "payment_transactions",
    "Payments: one deposit from its request to its end.",
    key("id", UUID, info=FIXED),
    required("tenant_id", UUID, references="tenants.id", info=FIXED),
    required("version", Integer, "Counts changes; notifications and audit rows name it.", default="1"),
    required("user_id", Text, info=FIXED),
    required("amount_minor", BigInteger, "Amount asked, in minor units.", info=FIXED),
    required("currency", Text, info=FIXED),
    required("status", Text, default="'pending'"),
    required(
        "exceptions", ARRAY(Text), "What did not go as asked, such as underpaid, late or conflict.", default="'{}'"
    ),
    required("provider_id", UUID, info=FIXED),
    optional("provider_reference", Text, "The provider's own id of the payment."),
    optional("redirect_url", Text, "Page of the provider on which the user pays."),
    optional("prompt", Text, "What the payer reads where the provider asks on a device, not on a page."),
    optional("failure_reason", Text),
    optional("success_url", Text, "Where the user is sent after paying."),
    optional("failure_url", Text, "Where the user is sent when the payment fails."),
    required("metadata", JSONB, "Values of the caller, returned unchanged.", default="'{}'", info=FIXED),
    required(
        "idempotency_scope",
        Text,
        "Empty for secret keys, user:<id> for client tokens; a key is unique within its scope.",
    ),
    required("idempotency_key", Text),
    required(
        "request_sha256", LargeBinary, "Hash of the request, so that a repeated key with another request is refused."
    ),
    optional(
        "provider_request", LargeBinary, "Exact bytes of the create call, kept so that every attempt sends the same."
    ),
    optional("provider_request_at", TIME, "First attempt of the create call."),
    required("session_closed", Boolean, "Whether the payment page at the provider is closed.", default="false"),
    optional(
        "received_minor", BigInteger, "Total received under provider_reference, credited or held, in minor units."
    ),
    optional("received_currency", Text),
    required("reversed_minor", BigInteger, "Total given back, in minor units.", default="0"),
    required("created_at", TIME, default=NOW, info=FIXED),
    required("updated_at", TIME, default=NOW),
    required("expires_at", TIME, "When the payment expires if no money has arrived.", info=FIXED),
    optional("completed_at", TIME),
    optional(
        "committed_until", TIME, "Time by which a slow payment method settles; the payment does not expire before it."
    ),
    optional("last_attempt_error", Text, "Why the last attempt to pay was declined, for the payer."),
    optional("approved_until", TIME, "The payer has approved: time by which the money has to be captured."),
    required("approvals", Integer, "How often the payer has approved.", default="0"),
    optional(
        "capture_sent_at",
        TIME,
        "First attempt of the capture of the last approval; the payment is neither cancelled nor expired from then on.",
    ),
    UniqueConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "idempotency_scope", "idempotency_key"),
    within_tenant("provider_id", "payment_providers"),
    CheckConstraint("status in ('pending', 'processing', 'completed', 'failed', 'cancelled')", name="status"),
    CheckConstraint("amount_minor > 0 and amount_minor <= 1000000000000000", name="amount_minor"),
    CheckConstraint("(status = 'completed') = (completed_at is not null)", name="completed_at"),
    # The bounds of app.core.validation.provider_values, in whatever way a value came.
    CheckConstraint("char_length(provider_reference) <= 512", name="provider_reference"),
    CheckConstraint(
        "char_length(redirect_url) <= 2048 and redirect_url ~ '^[Hh][Tt][Tt][Pp][Ss]?://'", name="redirect_url"
    ),
    index("ix_payments_newest", "tenant_id", desc("created_at"), desc("id")),
    index("ix_payments_user_newest", "tenant_id", "user_id", desc("created_at"), desc("id")),
    index("ix_payments_reference", "provider_id", "provider_reference"),
    postgresql_with={"fillfactor": "50"},
)

provider_references = table(
    "provider_references",
    "Ids of the provider's objects that belong to a payment, with which facts may name it as well as by its reference.",
    key("provider_id", UUID),
    key("reference", Text),
    required("tenant_id", UUID),
    required("payment_id", UUID, index=True),
    required("created_at", TIME, default=NOW),
    within_tenant("payment_id", "payment_transactions"),
    within_tenant("provider_id", "payment_providers"),
    CheckConstraint("char_length(reference) <= 512", name="reference"),
)

payment_details = table(
    "payment_details",
    "The payer's details and the description of deposits that have any, encrypted.",
    key("payment_id", UUID),
    required("tenant_id", UUID),
    required(
        "details_encrypted",
        LargeBinary,
        "JSON object with customer and description, encrypted with SLUICE_ENCRYPTION_KEYS (Fernet).",
    ),
    optional(
        "request_encrypted",
        LargeBinary,
        "Exact bytes of the create call, which have the details in them, instead of"
        " payment_transactions.provider_request.",
    ),
    within_tenant("payment_id", "payment_transactions"),
)

payment_work = table(
    "payment_work",
    "The next provider call that is due for a payment.",
    key("payment_id", UUID),
    required("tenant_id", UUID),
    required("provider_id", UUID),
    required("action", Text, "create, advance (capture what the payer approved), refund, poll or close."),
    required(
        "polls",
        Integer,
        "Polls that were answered: the step in the poll schedule, apart from attempts, which count failures.",
        default="0",
    ),
    *due_work(),
    optional(
        "route_position",
        SmallInteger,
        "Position in provider_routes of the provider; null where the payment may not move to the next one, as from a"
        " claim on.",
    ),
    within_tenant("payment_id", "payment_transactions"),
    CheckConstraint("action in ('create', 'advance', 'refund', 'poll', 'close')", name="action"),
    # Calls that a payer waits for are claimed before polls, the oldest first: the index is in that order.
    index("ix_payment_work_due", "provider_id", text("(action = any (array['poll', 'close']))"), "due_at"),
    index("ix_payment_work_claimed", "provider_id", where="claim_id is not null"),
)

payment_count_deltas = table(
    "payment_count_deltas",
    "Changes of the number of payments by status; written by a trigger, folded by the sweep.",
    sequence("id"),
    required("status", Text),
    required("delta", Integer, "How many payments one statement added to the status, or took from it."),
)

payment_counts = table(
    "payment_counts",
    "Number of payments by status, folded from payment_count_deltas, for metrics.",
    key("status", Text),
    required("total", BigInteger),
)
