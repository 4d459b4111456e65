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
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    allowed_origins: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    default_success_url: Mapped[str | None]
    default_failure_url: Mapped[str | None]
    default_provider_id: Mapped[uuid.UUID | None]
    requests_per_second: Mapped[int | None]
    amount_minor_max: Mapped[Minor | None]
    tolerance_percent: Mapped[Decimal] = mapped_column(Numeric(5, 2), server_default=text("0"))
    late_policy: Mapped[str] = mapped_column(server_default=text("'credit'"))
    over_policy: Mapped[str] = mapped_column(server_default=text("'hold'"))
    negative_policy: Mapped[str] = mapped_column(server_default=text("'allow'"))
    payment_seconds: Mapped[int] = mapped_column(server_default=text("1800"))
    monitoring_seconds: Mapped[int] = mapped_column(server_default=text("86400"))
    id_fields: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[Created]


class ApiKey(Model):
    """A tenant's secret key: found by its public part, proved by the hash of the rest."""

    __tablename__ = "api_keys"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        CheckConstraint("role in ('admin', 'operator', 'shop', 'read')", name="role"),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId] = mapped_column(ForeignKey("tenants.id"))
    public_part: Mapped[str] = mapped_column(unique=True)
    secret_sha256: Mapped[bytes]
    role: Mapped[str]
    label: Mapped[str] = mapped_column(server_default=text("''"))
    created_at: Mapped[Created]
    revoked_at: Mapped[Moment | None]
    expires_at: Mapped[datetime.datetime | None]
    # To about a minute: a write for each request would cost more than the request.
    last_used_at: Mapped[datetime.datetime | None]


class ClientToken(Model):
    """A short-lived credential of one user's browser, minted with a secret key and dying with it."""

    __tablename__ = "client_tokens"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        ForeignKeyConstraint(["tenant_id", "api_key_id"], ["api_keys.tenant_id", "api_keys.id"]),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    api_key_id: Mapped[uuid.UUID]
    user_id: Mapped[str]
    public_part: Mapped[str] = mapped_column(unique=True)
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
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str]
    adapter: Mapped[str]
    api_base_url: Mapped[str]
    api_key_encrypted: Mapped[bytes]
    webhook_scheme: Mapped[str] = mapped_column(server_default=text("'standard'"))
    signature_header: Mapped[str | None]
    id_field: Mapped[str | None]
    ip_allowlist: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    currencies: Mapped[list[str] | None]
    # Eight calls at once keep a slow provider from taking every thread of one worker (sixteen).
    calls_max: Mapped[int] = mapped_column(server_default=text("8"))
    # With backoff from 1 s doubling to 10 min, twelve attempts last for some twenty minutes, most of a payment's usual
    # time. In an outage of the provider attempts are used as slowly (app.core.schedule.probe_counts).
    attempts_max: Mapped[int] = mapped_column(server_default=text("12"))
    created_at: Mapped[Created]
    disabled_at: Mapped[Moment | None]


class ProviderSecret(Model):
    """One of a provider's webhook secrets; an old one ends at `ends_at`."""

    __tablename__ = "provider_secrets"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "provider_id"], ["payment_providers.tenant_id", "payment_providers.id"]),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    provider_id: Mapped[uuid.UUID] = mapped_column(index=True)
    secret_encrypted: Mapped[bytes]
    created_at: Mapped[Created]
    ends_at: Mapped[datetime.datetime | None]
