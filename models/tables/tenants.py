"""Who may call, and through whom the money comes: tenants, keys, tokens, providers."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Numeric, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.declaration import Created, Id, Minor, Model, Moment, TenantId

# From everything to reading alone; app/web/operations.py is the table of what each may call.
ROLES = ("admin", "operator", "shop", "read")


class Tenant(Model):
    """A company whose users deposit money, with its policy for what does not go as asked."""

    __tablename__ = "tenants"
    __table_args__ = (
        CheckConstraint("late_policy in ('credit', 'hold', 'reject')", name="late_policy"),
        CheckConstraint("over_policy in ('credit', 'hold', 'reject')", name="over_policy"),
        CheckConstraint("negative_policy in ('allow', 'hold')", name="negative_policy"),
        CheckConstraint("tolerance_percent >= 0 and tolerance_percent <= 100", name="tolerance_percent"),
        {"comment": "Companies whose users deposit money, with their settings and policies."},
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    allowed_origins: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    default_success_url: Mapped[str | None]
    default_failure_url: Mapped[str | None]
    default_provider_id: Mapped[uuid.UUID | None]
    requests_per_second: Mapped[int | None] = mapped_column(comment="Rate limit of the API; null for the default.")
    amount_minor_max: Mapped[Minor | None] = mapped_column(
        comment="Largest amount of a payment, in minor units; null for the default."
    )
    tolerance_percent: Mapped[Decimal] = mapped_column(
        Numeric(5, 2),
        server_default=text("0"),
        comment="Difference between asked and received that is credited without a person.",
    )
    late_policy: Mapped[str] = mapped_column(
        server_default=text("'credit'"),
        comment="Money after a payment has ended: credit it, hold it for a person, or reject it.",
    )
    over_policy: Mapped[str] = mapped_column(
        server_default=text("'hold'"),
        comment="More money than asked, beyond the tolerance: credit it, hold it for a person, or reject it.",
    )
    negative_policy: Mapped[str] = mapped_column(
        server_default=text("'allow'"),
        comment="Reversals above the balance: allow a negative balance, or hold them for a person.",
    )
    payment_seconds: Mapped[int] = mapped_column(
        server_default=text("1800"), comment="Time until an open payment expires."
    )
    monitoring_seconds: Mapped[int] = mapped_column(
        server_default=text("86400"), comment="Time after the expiry during which the provider is still polled."
    )
    id_fields: Mapped[list[str]] = mapped_column(
        server_default=text("'{}'"),
        comment="Fields of a deposit whose values are ids and never refused as card numbers.",
    )
    created_at: Mapped[Created]


class ApiKey(Model):
    """A tenant's secret key: found by its public part, proved by the hash of the rest."""

    __tablename__ = "api_keys"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        CheckConstraint("role in ('admin', 'operator', 'shop', 'read')", name="role"),
        {"comment": "Secret keys of tenants: found by the public part, proved by the hash of the secret part."},
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId] = mapped_column(ForeignKey("tenants.id"))
    public_part: Mapped[str] = mapped_column(unique=True, comment="Start of the key, shown in lists.")
    secret_sha256: Mapped[bytes]
    role: Mapped[str] = mapped_column(comment="What it may call: admin, operator, shop or read.")
    label: Mapped[str] = mapped_column(server_default=text("''"))
    created_at: Mapped[Created]
    revoked_at: Mapped[Moment | None]
    expires_at: Mapped[datetime.datetime | None]
    last_used_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="To about a minute; a write for each request would cost too much."
    )


class ClientToken(Model):
    """A short-lived credential of one user's browser, minted with a secret key and dying with it."""

    __tablename__ = "client_tokens"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        ForeignKeyConstraint(["tenant_id", "api_key_id"], ["api_keys.tenant_id", "api_keys.id"]),
        {"comment": "Short-lived credentials of one user's browser; they end with the API key that issued them."},
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    api_key_id: Mapped[uuid.UUID]
    user_id: Mapped[str]
    public_part: Mapped[str] = mapped_column(unique=True, comment="Start of the token, by which it is found.")
    secret_sha256: Mapped[bytes]
    created_at: Mapped[Created]
    expires_at: Mapped[Moment] = mapped_column(index=True)


class SocketTicket(Model):
    """A single-use pass for one SSE connection, thirty seconds long: `EventSource` can send no header."""

    __tablename__ = "socket_tickets"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "client_token_id"], ["client_tokens.tenant_id", "client_tokens.id"], ondelete="CASCADE"
        ),
        {"comment": "Single-use passes for an SSE connection, since EventSource cannot send headers."},
    )

    ticket_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    tenant_id: Mapped[TenantId]
    client_token_id: Mapped[uuid.UUID]
    expires_at: Mapped[Moment]


class PaymentProvider(Model):
    """An external payment app as one tenant uses it: where to call, how its webhooks are signed."""

    __tablename__ = "payment_providers"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "name"),
        CheckConstraint("webhook_scheme in ('standard', 'stripe', 'hmac-sha256-hex')", name="webhook_scheme"),
        CheckConstraint("calls_max > 0", name="calls_max"),
        CheckConstraint("attempts_max > 0", name="attempts_max"),
        {"comment": "External payment services as one tenant uses them."},
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str]
    adapter: Mapped[str] = mapped_column(comment="Name of the code that calls it (app.providers).")
    api_base_url: Mapped[str]
    api_key_encrypted: Mapped[bytes] = mapped_column(comment="Encrypted with SLUICE_ENCRYPTION_KEYS (Fernet).")
    webhook_scheme: Mapped[str] = mapped_column(
        server_default=text("'standard'"), comment="How its webhooks are signed."
    )
    signature_header: Mapped[str | None] = mapped_column(comment="Header of the signature, for scheme hmac-sha256-hex.")
    id_field: Mapped[str | None] = mapped_column(
        comment="Field of the body that identifies a delivery, for scheme hmac-sha256-hex."
    )
    ip_allowlist: Mapped[list[str]] = mapped_column(
        server_default=text("'{}'"), comment="Networks that its webhooks may come from; empty for any."
    )
    currencies: Mapped[list[str] | None] = mapped_column(comment="Currencies it takes; null for all.")
    # Eight calls at once keep a slow provider from taking every thread of one worker (sixteen).
    calls_max: Mapped[int] = mapped_column(server_default=text("8"), comment="Calls at the same time.")
    # With backoff from 1 s doubling to 10 min, twelve attempts last for some twenty minutes, most of a payment's usual
    # time. In an outage of the provider attempts are used as slowly (app.core.schedule.probe_counts).
    attempts_max: Mapped[int] = mapped_column(
        server_default=text("12"), comment="Attempts of a call before it becomes a dead letter."
    )
    created_at: Mapped[Created]
    disabled_at: Mapped[Moment | None]


class ProviderSecret(Model):
    """One of a provider's webhook secrets; an old one ends at `ends_at`."""

    __tablename__ = "provider_secrets"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "provider_id"], ["payment_providers.tenant_id", "payment_providers.id"]),
        {"comment": "Secrets that a provider signs its webhooks with; several are valid during a rotation."},
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    provider_id: Mapped[uuid.UUID] = mapped_column(index=True)
    secret_encrypted: Mapped[bytes] = mapped_column(comment="Encrypted with SLUICE_ENCRYPTION_KEYS (Fernet).")
    created_at: Mapped[Created]
    ends_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="When it stops being valid; null for the current one."
    )
