"""Tables of money that goes back and comes again: totals that wait, movements by their ids, disputes."""

from sqlalchemy import UUID, BigInteger, CheckConstraint, Text

from models.tables.declaration import NOW, TIME, index, key, optional, required, table, within_tenant

# The payment carries the mark `reversal_waiting` meanwhile: settling reads this table for those payments alone.
waiting_reversals = table(
    "waiting_reversals",
    "Verified reversals whose money is not credited yet; deleted once they are booked.",
    key("payment_id", UUID),
    required("tenant_id", UUID),
    required("provider_id", UUID),
    key("reference", Text, "The provider reference that the reversal named, empty where none.", default="''"),
    key("currency", Text),
    key("amount_minor", BigInteger, "The total given back, in minor units."),
    optional("webhook_id", UUID),
    optional(
        "due_at",
        TIME,
        "When it becomes a dead letter: the end of the monitoring window. Null once a person has been told.",
    ),
    required("created_at", TIME, default=NOW),
    within_tenant("payment_id", "payment_transactions"),
    CheckConstraint("amount_minor > 0", name="amount_minor"),
    index("ix_waiting_reversals_due", "due_at", where="due_at is not null"),
)

# Each movement has its effect once, by this key; the mark `has_movements` of its payment says that there are any.
payment_movements = table(
    "payment_movements",
    "Money that went back or came again in single steps with ids, as first reported.",
    key("payment_id", UUID),
    key("kind", Text, "reversed, or reinstated for money that came again."),
    key(
        "reversal_id",
        Text,
        "The provider's id of the reversal, or that of one cycle of it; the reinstatement has the same.",
    ),
    required("tenant_id", UUID),
    required("provider_id", UUID),
    optional("reference", Text, "The provider reference that it is booked under."),
    required("currency", Text),
    required("amount_minor", BigInteger),
    required("state", Text, "waiting, booked, rejected, or refund where it is a refund of ours, which is booked."),
    optional("webhook_id", UUID, "The webhook that reported it first; null for a lookup."),
    optional(
        "due_at",
        TIME,
        "When a waiting one becomes a dead letter. Null once a person has to decide, or it is settled.",
    ),
    required("created_at", TIME, default=NOW),
    required("suspense_minor", BigInteger, "Part of a booked one that is of money in suspense.", default="0"),
    within_tenant("payment_id", "payment_transactions"),
    CheckConstraint("suspense_minor between 0 and amount_minor", name="suspense_minor"),
    CheckConstraint("kind in ('reversed', 'reinstated')", name="kind"),
    CheckConstraint("state in ('waiting', 'booked', 'rejected', 'refund')", name="state"),
    CheckConstraint("amount_minor > 0", name="amount_minor"),
    index("ix_payment_movements_due", "due_at", where="due_at is not null"),
)

payment_disputes = table(
    "payment_disputes",
    "Payers' disputes at the provider.",
    key("payment_id", UUID),
    key("dispute_id", Text),
    required("tenant_id", UUID),
    required("state", Text, "opened, won or lost."),
    optional("reason", Text, "The payer's, in the provider's words."),
    optional("evidence_due_at", TIME, "By when the provider wants evidence."),
    required("opened_at", TIME, "When it was first reported."),
    optional("closed_at", TIME),
    within_tenant("payment_id", "payment_transactions"),
    CheckConstraint("state in ('opened', 'won', 'lost')", name="state"),
    CheckConstraint("(state = 'opened') = (closed_at is null)", name="closed_at"),
)
