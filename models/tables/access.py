"""Tables of tenants, their credentials, and the payment providers that they use."""

from sqlalchemy import (
    UUID,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY

from models.tables.declaration import NOW, TIME, key, optional, required, table, within_tenant

# In descending order of rights; app/web/operations.py declares which role may call which operation.
ROLES = ("admin", "operator", "shop", "read")
# Test and live payments never mix: a tenant has one of these, and its providers have the same.
MODES = ("test", "live")

tenants = table(
    "tenants",
    "Companies whose users deposit money, with their settings and policies.",
    key("id", UUID),
    required("name", Text, unique=True),
    required("mode", Text, "test or live; fixed at creation.", default="'test'"),
    required("allowed_origins", ARRAY(Text), default="'{}'"),
    optional("default_success_url", Text),
    optional("default_failure_url", Text),
    optional("default_provider_id", UUID),
    optional("requests_per_second", Integer, "Rate limit of the API; null for the default."),
    optional("amount_minor_max", BigInteger, "Largest amount of a payment, in minor units; null for the default."),
    required(
        "tolerance_percent",
        Numeric(5, 2),
        "Difference between asked and received that is credited without a person.",
        default="0",
    ),
    required(
        "late_policy",
        Text,
        "Money after a payment has ended: credit it, hold it for a person, reject it, or refund it.",
        default="'credit'",
    ),
    required(
        "over_policy",
        Text,
        "More money than asked, beyond the tolerance: credit it, hold it for a person, reject it, or refund the"
        " excess.",
        default="'hold'",
    ),
    required(
        "negative_policy",
        Text,
        "Whether refunds and debits of ours may take a wallet below zero; what a provider takes back is always booked.",
        default="'allow'",
    ),
    required("payment_seconds", Integer, "Time until an open payment expires.", default="1800"),
    required(
        "monitoring_seconds",
        Integer,
        "Time after the expiry during which the provider is still polled.",
        default="86400",
    ),
    required(
        "id_fields",
        ARRAY(Text),
        "Fields of a deposit whose values are ids and never refused as card numbers.",
        default="'{}'",
    ),
    required("created_at", TIME, default=NOW),
    UniqueConstraint("id", "mode"),
    CheckConstraint("mode in ('test', 'live')", name="mode"),
    CheckConstraint("late_policy in ('credit', 'hold', 'reject', 'refund')", name="late_policy"),
    CheckConstraint("over_policy in ('credit', 'hold', 'reject', 'refund')", name="over_policy"),
    CheckConstraint("negative_policy in ('allow', 'hold')", name="negative_policy"),
    CheckConstraint("tolerance_percent >= 0 and tolerance_percent <= 100", name="tolerance_percent"),
)

api_keys = table(
    "api_keys",
    "Secret keys of tenants: found by the public part, proved by the hash of the secret part.",
    key("id", UUID),
    required("tenant_id", UUID, references="tenants.id"),
    required("public_part", Text, "Start of the key, shown in lists.", unique=True),
    required("secret_sha256", LargeBinary),
    required("role", Text, "What it may call: admin, operator, shop or read."),
    required("label", Text, default="''"),
    required("created_at", TIME, default=NOW),
    optional("revoked_at", TIME),
    optional("expires_at", TIME),
    optional("last_used_at", TIME, "To about a minute; a write for each request would cost too much."),
    UniqueConstraint("tenant_id", "id"),
    CheckConstraint("role in ('admin', 'operator', 'shop', 'read')", name="role"),
)

client_tokens = table(
    "client_tokens",
    "Short-lived credentials of one user's browser; they end with the API key that issued them.",
    key("id", UUID),
    required("tenant_id", UUID),
    required("api_key_id", UUID),
    required("user_id", Text),
    required("public_part", Text, "Start of the token, by which it is found.", unique=True),
    required("secret_sha256", LargeBinary),
    required("created_at", TIME, default=NOW),
    required("expires_at", TIME, index=True),
    UniqueConstraint("tenant_id", "id"),
    within_tenant("api_key_id", "api_keys"),
)

socket_tickets = table(
    "socket_tickets",
    "Single-use passes for an SSE connection, since EventSource cannot send headers.",
    key("ticket_sha256", LargeBinary),
    required("tenant_id", UUID),
    required("client_token_id", UUID),
    required("expires_at", TIME),
    within_tenant("client_token_id", "client_tokens", ondelete="CASCADE"),
)

provider_routes = table(
    "provider_routes",
    "Providers for deposits in a currency that name none, in order; a currency without any goes to the default"
    " provider.",
    key("tenant_id", UUID),
    key("currency", Text),
    key("position", SmallInteger),
    required("provider_id", UUID),
    UniqueConstraint("tenant_id", "currency", "provider_id"),
    within_tenant("provider_id", "payment_providers"),
)

payment_providers = table(
    "payment_providers",
    "External payment services as one tenant uses them.",
    key("id", UUID),
    required("tenant_id", UUID, references="tenants.id"),
    required("name", Text),
    required(
        "mode",
        Text,
        "test or live, that of its tenant; fixed at creation. Credentials and events of the other are refused.",
        default="'test'",
    ),
    required("adapter", Text, "Name of the code that calls it (app.providers)."),
    required("api_base_url", Text),
    required(
        "credentials_encrypted",
        LargeBinary,
        "JSON object of the credentials by name, encrypted with SLUICE_ENCRYPTION_KEYS (Fernet).",
    ),
    # For processes of 0.2, which read it; the release after 0.3 drops it.
    Column(
        "api_key_encrypted",
        LargeBinary,
        Computed("credentials_encrypted", persisted=True),
        comment="credentials_encrypted, for processes of 0.2.",
    ),
    required("webhook_scheme", Text, "How its webhooks are signed.", default="'standard'"),
    optional("signature_header", Text, "Header of the signature, for scheme hmac-sha256-hex."),
    optional("id_field", Text, "Field of the body that identifies a delivery, for scheme hmac-sha256-hex."),
    required("ip_allowlist", ARRAY(Text), "Networks that its webhooks may come from; empty for any.", default="'{}'"),
    optional("currencies", ARRAY(Text), "Currencies it takes; null for all."),
    required(
        "client_selectable",
        Boolean,
        "Whether a deposit with a client token may name it; the default provider always can be.",
        default="false",
    ),
    # Eight calls at once keep a slow provider from taking every thread of one worker (sixteen).
    required("calls_max", Integer, "Calls at the same time.", default="8"),
    # With backoff from 1 s doubling to 10 min, twelve attempts last for some twenty minutes, most of a payment's usual
    # time. In an outage of the provider attempts are used as slowly (app.core.schedule.probe_counts).
    required("attempts_max", Integer, "Attempts of a call before it becomes a dead letter.", default="12"),
    required("created_at", TIME, default=NOW),
    optional("disabled_at", TIME),
    UniqueConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "name"),
    ForeignKeyConstraint(["tenant_id", "mode"], ["tenants.id", "tenants.mode"]),
    CheckConstraint("adapter <> 'sandbox' or mode = 'test'", name="test_adapter"),
    CheckConstraint("mode = 'test' or adapter = 'custom' or api_base_url ilike 'https://%'", name="live_address"),
    CheckConstraint("webhook_scheme in ('standard', 'stripe', 'hmac-sha256-hex')", name="webhook_scheme"),
    CheckConstraint("calls_max > 0", name="calls_max"),
    CheckConstraint("attempts_max > 0", name="attempts_max"),
)

provider_secrets = table(
    "provider_secrets",
    "Secrets that a provider signs its webhooks with; several are valid during a rotation.",
    key("id", UUID),
    required("tenant_id", UUID),
    required("provider_id", UUID, index=True),
    required("secret_encrypted", LargeBinary, "Encrypted with SLUICE_ENCRYPTION_KEYS (Fernet)."),
    required("created_at", TIME, default=NOW),
    optional("ends_at", TIME, "When it stops being valid; null for the current one."),
    optional(
        "registration",
        Text,
        "The provider's id of the webhook address that signs with it, where Sluice registered it there.",
    ),
    within_tenant("provider_id", "payment_providers"),
)

poke_tokens = table(
    "poke_tokens",
    "Secret parts of the URLs for unsigned notifications; several are valid during a rotation.",
    key("id", UUID),
    required("tenant_id", UUID),
    required("provider_id", UUID, index=True),
    required("token_sha256", LargeBinary, "Hash of the token, with which a URL is compared."),
    required("token_encrypted", LargeBinary, "Encrypted with SLUICE_ENCRYPTION_KEYS (Fernet)."),
    required("created_at", TIME, default=NOW),
    optional("ends_at", TIME, "When it stops being valid; null for the current one."),
    within_tenant("provider_id", "payment_providers"),
    CheckConstraint("octet_length(token_sha256) = 32", name="token_sha256"),
)
