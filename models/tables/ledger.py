"""Tables of the ledger: wallets, their entries, and the holds of deposits and refunds that are under way."""

from sqlalchemy import UUID, BigInteger, CheckConstraint, SmallInteger, Text, UniqueConstraint

from models.tables.declaration import NOW, TIME, index, key, optional, required, table, within_tenant

wallets = table(
    "wallets",
    "Balances in one currency: of a user, or of a shard of a provider's clearing or suspense wallet, or of a tenant's"
    " spending wallet.",
    key("id", UUID),
    required("tenant_id", UUID, references="tenants.id"),
    required(
        "kind", Text, "user, clearing, spending, or suspense: money that a policy gives back and that is no user's."
    ),
    optional("user_id", Text),
    optional("provider_id", UUID),
    required(
        "shard",
        SmallInteger,
        "Number of the wallet among those that share the load of one that is no user's; 0 for users.",
        default="0",
    ),
    required("currency", Text),
    required("balance_minor", BigInteger, default="0"),
    required("version", BigInteger, "Number of entries; each entry has the version that it made.", default="0"),
    required("created_at", TIME, default=NOW),
    required("updated_at", TIME, default=NOW),
    UniqueConstraint("tenant_id", "id", "currency"),
    CheckConstraint("kind in ('user', 'clearing', 'spending', 'suspense')", name="kind"),
    CheckConstraint(
        "(kind = 'user' and user_id is not null and provider_id is null and shard = 0)"
        " or (kind in ('clearing', 'suspense') and user_id is null and provider_id is not null)"
        " or (kind = 'spending' and user_id is null and provider_id is null)",
        name="owner",
    ),
    index("uq_wallets_user", "tenant_id", "user_id", "currency", unique=True, where="kind = 'user'"),
    index(
        "uq_wallets_clearing", "tenant_id", "provider_id", "currency", "shard", unique=True, where="kind = 'clearing'"
    ),
    index(
        "uq_wallets_suspense", "tenant_id", "provider_id", "currency", "shard", unique=True, where="kind = 'suspense'"
    ),
    index("uq_wallets_spending", "tenant_id", "currency", "shard", unique=True, where="kind = 'spending'"),
    # Wallets are hot rows: room in the page keeps their updates heap-only, also where a batch changes all of a page.
    postgresql_with={"fillfactor": "50"},
)

# `transfer_key` says what the money is for and is unique per payment: 'deposit' once, 'case:<id>' per accepted case,
# 'reversal:<total>' per total given back, 'reversed:<id>' and 'reinstated:<id>' per movement with an id,
# 'refund:<id>' per refund of ours, and 'refund_failed:<id>' where one failed later. What is put into suspense has
# 'suspense:<refund>', and what of a movement is taken from there 'suspense_<its key>'. This is what makes a credit
# happen once. An entry of a debit names that in place of a payment, and its key is 'debit' or 'debit_reversal',
# unique per debit. A trigger proves that wallet and payment or debit exist and are of the tenant, for all entries of
# a statement at once; foreign keys are checked row by row, which was a tenth of PostgreSQL's time in settling.
wallet_transactions = table(
    "wallet_transactions",
    "Append-only entries of the books; a transfer has those of users' wallets and one that is their sum, against them.",
    required("id", UUID),
    required("tenant_id", UUID),
    required("transfer_id", UUID, "Shared by the entries of a transfer; in the clearing wallet it has one."),
    required(
        "transfer_key",
        Text,
        "deposit, case:<id>, reversal:<total>, reversed:<id>, reinstated:<id>, refund:<id>, refund_failed:<id>,"
        " suspense:<refund> or suspense_<movement>; unique per payment. debit or debit_reversal; unique per debit.",
    ),
    optional(
        "payment_id",
        UUID,
        "Of the entry in a clearing wallet: one of the transfer's payments; null where it is a debit's.",
    ),
    key("wallet_id", UUID),
    key("wallet_version", BigInteger, "Version of the wallet after this entry."),
    required("currency", Text),
    required("direction", SmallInteger, "+1 into the wallet, -1 out of it."),
    required("amount_minor", BigInteger),
    required("balance_before_minor", BigInteger),
    required("balance_after_minor", BigInteger),
    required("type", Text),
    required("description", Text),
    required("at", TIME, default=NOW),
    optional("debit_id", UUID, "The debit that the entry is of, if it is of one."),
    index("ix_wallet_transactions_transfer", "transfer_id"),
    UniqueConstraint("payment_id", "transfer_key", "direction"),
    index(
        "uq_wallet_transactions_debit",
        *("debit_id", "transfer_key", "direction"),
        unique=True,
        where="debit_id is not null",
    ),
    CheckConstraint("amount_minor > 0", name="amount_minor"),
    CheckConstraint("direction in (-1, 1)", name="direction"),
    CheckConstraint("balance_after_minor = balance_before_minor + direction * amount_minor", name="balance"),
    CheckConstraint(
        "type in ('deposit', 'reversal', 'reinstatement', 'refund', 'debit', 'debit_reversal', 'suspense',"
        " 'suspense_refund', 'suspense_reversal', 'suspense_reinstatement')",
        name="type",
    ),
    CheckConstraint(
        "(payment_id is null) <> (debit_id is null) and (debit_id is not null) = (type in ('debit', 'debit_reversal'))",
        name="subject",
    ),
)

wallet_temp_logs = table(
    "wallet_temp_logs",
    "Holds of deposits and refunds that are under way.",
    key("payment_id", UUID),
    key("refund_id", UUID, "The refund; all zeros for a deposit.", default="'00000000-0000-0000-0000-000000000000'"),
    required("tenant_id", UUID),
    required("user_id", Text),
    required("currency", Text),
    required("amount_minor", BigInteger),
    required(
        "state",
        Text,
        "held from the creation on; applied or released when the payment or refund ends.",
        default="'held'",
    ),
    required("created_at", TIME, default=NOW),
    optional("closed_at", TIME),
    required("kind", Text, "deposit, or refund: money that is not available any more.", default="'deposit'"),
    within_tenant("payment_id", "payment_transactions"),
    CheckConstraint("state in ('held', 'applied', 'released')", name="state"),
    CheckConstraint("kind in ('deposit', 'refund')", name="kinds"),
    CheckConstraint("(kind = 'refund') = (refund_id <> '00000000-0000-0000-0000-000000000000')", name="kind"),
    index("ix_wallet_temp_logs_held", "tenant_id", "user_id", "currency", where="state = 'held'"),
    # A batch closes many holds of a page at once: their new versions fit into it.
    postgresql_with={"fillfactor": "50"},
)
