"""Who may call, and through whom the money comes: tenants, keys, tokens, providers."""

from sqlalchemy import (
    UUID,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from models.tables.declaration import METADATA, NOW, TIME, required

# From everything to reading alone; app/web/operations.py is the table of what each may call.
ROLES = ("admin", "operator", "shop", "read")

tenants = Table(
    "tenants",
    METADATA,
    Column("id", UUID, primary_key=True),
    required("name", Text, unique=True),
    required("allowed_origins", ARRAY(Text), server_default=text("'{}'")),
    Column("default_success_url", Text),
    Column("default_failure_url", Text),
    Column("default_provider_id", UUID),
    Column("requests_per_second", Integer, comment="Rate limit of the API; null for the default."),
    Column(
        "amount_minor_max", BigInteger, comment="Largest amount of a payment, in minor units; null for the default."
    ),
    required(
        "tolerance_percent",
        Numeric(5, 2),
        server_default=text("0"),
        comment="Difference between asked and received that is credited without a person.",
    ),
    required(
        "late_policy",
        Text,
        server_default=text("'credit'"),
        comment="Money after a payment has ended: credit it, hold it for a person, or reject it.",
    ),
    required(
        "over_policy",
        Text,
        server_default=text("'hold'"),
        comment="More money than asked, beyond the tolerance: credit it, hold it for a person, or reject it.",
    ),
    required(
        "negative_policy",
        Text,
        server_default=text("'allow'"),
        comment="Reversals above the balance: allow a negative balance, or hold them for a person.",
    ),
    required("payment_seconds", Integer, server_default=text("1800"), comment="Time until an open payment expires."),
    required(
        "monitoring_seconds",
        Integer,
        server_default=text("86400"),
        comment="Time after the expiry during which the provider is still polled.",
    ),
    required(
        "id_fields",
        ARRAY(Text),
        server_default=text("'{}'"),
        comment="Fields of a deposit whose values are ids and never refused as card numbers.",
    ),
    required("created_at", TIME, server_default=NOW),
    CheckConstraint("late_policy in ('credit', 'hold', 'reject')", name="late_policy"),
    CheckConstraint("over_policy in ('credit', 'hold', 'reject')", name="over_policy"),
    CheckConstraint("negative_policy in ('allow', 'hold')", name="negative_policy"),
    CheckConstraint("tolerance_percent >= 0 and tolerance_percent <= 100", name="tolerance_percent"),
    comment="Companies whose users deposit money, with their settings and policies.",
)

api_keys = Table(
    "api_keys",
    METADATA,
    Column("id", UUID, primary_key=True),
    required("tenant_id", UUID, ForeignKey("tenants.id")),
    required("public_part", Text, unique=True, comment="Start of the key, shown in lists."),
    required("secret_sha256", LargeBinary),
    required("role", Text, comment="What it may call: admin, operator, shop or read."),
    required("label", Text, server_default=text("''")),
    required("created_at", TIME, server_default=NOW),
    Column("revoked_at", TIME),
    Column("expires_at", TIME),
    Column("last_used_at", TIME, comment="To about a minute; a write for each request would cost too much."),
    UniqueConstraint("tenant_id", "id"),
    CheckConstraint("role in ('admin', 'operator', 'shop', 'read')", name="role"),
    comment="Secret keys of tenants: found by the public part, proved by the hash of the secret part.",
)

client_tokens = Table(
    "client_tokens",
    METADATA,
    Column("id", UUID, primary_key=True),
    required("tenant_id", UUID),
    required("api_key_id", UUID),
    required("user_id", Text),
    required("public_part", Text, unique=True, comment="Start of the token, by which it is found."),
    required("secret_sha256", LargeBinary),
    required("created_at", TIME, server_default=NOW),
    required("expires_at", TIME, index=True),
    UniqueConstraint("tenant_id", "id"),
    ForeignKeyConstraint(["tenant_id", "api_key_id"], ["api_keys.tenant_id", "api_keys.id"]),
    comment="Short-lived credentials of one user's browser; they end with the API key that issued them.",
)

socket_tickets = Table(
    "socket_tickets",
    METADATA,
    Column("ticket_sha256", LargeBinary, primary_key=True),
    required("tenant_id", UUID),
    required("client_token_id", UUID),
    required("expires_at", TIME),
    ForeignKeyConstraint(
        ["tenant_id", "client_token_id"], ["client_tokens.tenant_id", "client_tokens.id"], ondelete="CASCADE"
    ),
    comment="Single-use passes for an SSE connection, since EventSource cannot send headers.",
)

payment_providers = Table(
    "payment_providers",
    METADATA,
    Column("id", UUID, primary_key=True),
    required("tenant_id", UUID, ForeignKey("tenants.id")),
    required("name", Text),
    required("adapter", Text, comment="Name of the code that calls it (app.providers)."),
    required("api_base_url", Text),
    required("api_key_encrypted", LargeBinary, comment="Encrypted with SLUICE_ENCRYPTION_KEYS (Fernet)."),
    required("webhook_scheme", Text, server_default=text("'standard'"), comment="How its webhooks are signed."),
    Column("signature_header", Text, comment="Header of the signature, for scheme hmac-sha256-hex."),
    Column("id_field", Text, comment="Field of the body that identifies a delivery, for scheme hmac-sha256-hex."),
    required(
        "ip_allowlist",
        ARRAY(Text),
        server_default=text("'{}'"),
        comment="Networks that its webhooks may come from; empty for any.",
    ),
    Column("currencies", ARRAY(Text), comment="Currencies it takes; null for all."),
    # Eight calls at once keep a slow provider from taking every thread of one worker (sixteen).
    required("calls_max", Integer, server_default=text("8"), comment="Calls at the same time."),
    # With backoff from 1 s doubling to 10 min, twelve attempts last for some twenty minutes, most of a payment's usual
    # time. In an outage of the provider attempts are used as slowly (app.core.schedule.probe_counts).
    required(
        "attempts_max",
        Integer,
        server_default=text("12"),
        comment="Attempts of a call before it becomes a dead letter.",
    ),
    required("created_at", TIME, server_default=NOW),
    Column("disabled_at", TIME),
    UniqueConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "name"),
    CheckConstraint("webhook_scheme in ('standard', 'stripe', 'hmac-sha256-hex')", name="webhook_scheme"),
    CheckConstraint("calls_max > 0", name="calls_max"),
    CheckConstraint("attempts_max > 0", name="attempts_max"),
    comment="External payment services as one tenant uses them.",
)

provider_secrets = Table(
    "provider_secrets",
    METADATA,
    Column("id", UUID, primary_key=True),
    required("tenant_id", UUID),
    required("provider_id", UUID, index=True),
    required("secret_encrypted", LargeBinary, comment="Encrypted with SLUICE_ENCRYPTION_KEYS (Fernet)."),
    required("created_at", TIME, server_default=NOW),
    Column("ends_at", TIME, comment="When it stops being valid; null for the current one."),
    ForeignKeyConstraint(["tenant_id", "provider_id"], ["payment_providers.tenant_id", "payment_providers.id"]),
    comment="Secrets that a provider signs its webhooks with; several are valid during a rotation.",
)
