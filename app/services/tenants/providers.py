"""A tenant's providers, as the operator makes and changes them. Every change is audited."""

from __future__ import annotations

import ipaddress
import re
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

from app.core.money import CURRENCY_DIGITS
from app.core.signatures import HMAC_HEX, SCHEMES, STANDARD, check_secret, encode_secret
from app.providers import ADAPTERS
from app.providers.outgoing import AddressRefused, check_url
from app.runtime.runtime import Runtime
from app.services.access.senders import forget_sender
from app.services.tenants.changes import ConfigurationError, check_name, name_reason, read_rows, write_audit
from models import new_id

# Standard Webhooks asks for 24 to 64 bytes; CONTRACT section 4 for 32.
WEBHOOK_SECRET_BYTES = 32

# Names with underscores are dropped before they reach us.
_HEADER = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NewProvider:
    """A provider to be made for a tenant; `webhook_secret` is made up where none is given."""

    tenant_id: uuid.UUID
    name: str
    adapter: str
    api_base_url: str
    api_key: str = field(repr=False)
    webhook_secret: str | None = field(default=None, repr=False)
    ip_allowlist: tuple[str, ...] = ()
    currencies: tuple[str, ...] = ()
    is_default: bool = False
    id: uuid.UUID | None = None
    webhook_scheme: str = STANDARD
    signature_header: str | None = None
    id_field: str | None = None


def new_webhook_secret() -> str:
    """Return a new webhook secret, `whsec_` and base64 of 32 random bytes."""
    return encode_secret(secrets.token_bytes(WEBHOOK_SECRET_BYTES))


def _check_provider(runtime: Runtime, new: NewProvider) -> None:
    check_name(new.name)
    if new.adapter not in ADAPTERS:
        raise ConfigurationError(f"an adapter is one of {', '.join(ADAPTERS)}")
    check_provider_url(runtime, new.api_base_url)
    check_networks(new.ip_allowlist)
    check_currencies(new.currencies)
    try:
        if new.webhook_secret is not None:
            check_secret(new.webhook_scheme, new.webhook_secret)
        _check_scheme(new)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def check_provider_url(runtime: Runtime, url: str) -> None:
    """Raise ConfigurationError unless `url` is one that may be called."""
    try:
        check_url(url, frozenset(runtime.settings.private_providers))
    except AddressRefused as error:
        raise ConfigurationError(str(error)) from None


def check_networks(networks: tuple[str, ...]) -> None:
    """Raise ConfigurationError unless all are addresses or networks."""
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None


def check_currencies(currencies: tuple[str, ...]) -> None:
    """Raise ConfigurationError unless all are currencies with a minor unit."""
    unknown = sorted(set(currencies) - CURRENCY_DIGITS.keys())
    if unknown:
        raise ConfigurationError(f"no currency with a minor unit: {', '.join(unknown)}")


def _check_scheme(new: NewProvider) -> None:
    if new.webhook_scheme not in SCHEMES:
        raise ValueError(f"a webhook scheme is one of {', '.join(SCHEMES)}")
    if new.webhook_scheme != HMAC_HEX and (new.signature_header or new.id_field):
        raise ValueError(f"a signature header and an id field belong to the scheme {HMAC_HEX}")
    header = (new.signature_header or "x-signature").lower()
    if not _HEADER.fullmatch(header) or header in ("authorization", "cookie"):
        raise ValueError("a signature header is a header's name: letters, digits and hyphens")


def create_provider(runtime: Runtime, new: NewProvider, actor: str) -> tuple[uuid.UUID, str]:
    """Make a provider; return its id and its webhook secret. Raise ConfigurationError."""
    _check_provider(runtime, new)
    provider_id = new.id or new_id()
    secret = new.webhook_secret or new_webhook_secret()
    with runtime.database.transaction("operator") as connection:
        made = connection.execute(
            text(
                "insert into payment_providers (id, tenant_id, name, adapter, api_base_url, api_key_encrypted,"
                " ip_allowlist, currencies, webhook_scheme, signature_header, id_field) values (:id, :tenant_id, :name,"
                " :adapter, :url, :api_key, :networks, cast(:currencies as text[]), :scheme, :header,"
                " :id_field) on conflict (tenant_id, name) do nothing returning id"
            ),
            {
                "id": provider_id,
                "tenant_id": new.tenant_id,
                "name": new.name,
                "adapter": new.adapter,
                "url": new.api_base_url.rstrip("/"),
                "api_key": runtime.vault.encrypt(new.api_key),
                "networks": list(new.ip_allowlist),
                "currencies": list(new.currencies) or None,
                "scheme": new.webhook_scheme,
                "header": new.signature_header and new.signature_header.lower(),
                "id_field": new.id_field,
            },
        ).scalar()
        if made is None:
            raise ConfigurationError(f"the tenant has a provider {new.name!r} already")
        _insert_secret(runtime, connection, new.tenant_id, provider_id, secret)
        connection.execute(
            text(
                "update tenants set default_provider_id = :id where id = :tenant_id"
                " and (:is_default or default_provider_id is null)"
            ),
            {"id": provider_id, "tenant_id": new.tenant_id, "is_default": new.is_default},
        )
        detail = {"provider_id": str(provider_id), "name": new.name, "adapter": new.adapter, "url": new.api_base_url}
        write_audit(connection, new.tenant_id, actor, "provider_created", detail)
    return provider_id, secret


def _insert_secret(
    runtime: Runtime, connection: Connection, tenant_id: uuid.UUID, provider_id: uuid.UUID, secret: str
) -> None:
    connection.execute(
        text(
            "insert into provider_secrets (id, tenant_id, provider_id, secret_encrypted)"
            " values (:id, :tenant_id, :provider_id, :secret)"
        ),
        {
            "id": new_id(),
            "tenant_id": tenant_id,
            "provider_id": provider_id,
            "secret": runtime.vault.encrypt(secret),
        },
    )


def list_providers(runtime: Runtime, tenant_id: uuid.UUID | None) -> list[dict[str, Any]]:
    """Return the providers of one tenant or of all, never their secrets."""
    return read_rows(
        runtime,
        "select p.id, p.tenant_id, p.name, p.adapter, p.api_base_url, p.webhook_scheme, p.ip_allowlist, p.currencies,"
        " p.calls_max, p.attempts_max,"
        " p.id = t.default_provider_id as is_default, p.created_at, p.disabled_at,"
        " (select count(*) from provider_secrets s where s.provider_id = p.id"
        "  and (s.ends_at is null or s.ends_at > now())) as active_secrets"
        " from payment_providers p join tenants t on t.id = p.tenant_id"
        " where cast(:tenant_id as uuid) is null or p.tenant_id = :tenant_id order by p.created_at",
        tenant_id=tenant_id,
    )


def rotate_secret(
    runtime: Runtime, provider_id: uuid.UUID, overlap_seconds: int, actor: str, given: str | None = None
) -> str:
    """Add a webhook secret, `given` or a new one; the present ones stay good for `overlap_seconds`.

    Return the secret. Raise ConfigurationError where there is no such provider, or `given` does not fit its scheme.
    """
    secret = given or new_webhook_secret()
    with runtime.database.transaction("operator") as connection:
        row = connection.execute(
            text("select tenant_id, webhook_scheme from payment_providers where id = :id for no key update"),
            {"id": provider_id},
        ).first()
        if row is None:
            raise ConfigurationError(f"there is no provider {provider_id}")
        tenant_id = row.tenant_id
        try:
            check_secret(row.webhook_scheme, secret)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        connection.execute(
            text(
                "update provider_secrets set ends_at = now() + make_interval(secs => :overlap)"
                " where provider_id = :id and (ends_at is null or ends_at > now() + make_interval(secs => :overlap))"
            ),
            {"id": provider_id, "overlap": overlap_seconds},
        )
        _insert_secret(runtime, connection, tenant_id, provider_id, secret)
        detail = {"provider_id": str(provider_id), "overlap_seconds": overlap_seconds}
        write_audit(connection, tenant_id, actor, "provider_secret_rotated", detail)
    forget_sender(provider_id)
    return secret


def disable_provider(runtime: Runtime, provider_id: uuid.UUID, actor: str, reason: str | None = None) -> bool:
    """Stop new deposits with a provider; payments it has are still asked about and its webhooks still taken.

    Return False where it was disabled before or is unknown.
    """
    with runtime.database.transaction("operator") as connection:
        tenant_id = connection.execute(
            text(
                "update payment_providers set disabled_at = now() where id = :id and disabled_at is null"
                " returning tenant_id"
            ),
            {"id": provider_id},
        ).scalar()
        if tenant_id is not None:
            detail = {"provider_id": str(provider_id), **name_reason(reason)}
            write_audit(connection, tenant_id, actor, "provider_disabled", detail)
    return tenant_id is not None
