"""Tenants, their keys and their providers, as the operator makes and changes them. Every change is audited."""

from __future__ import annotations

import ipaddress
import re
import secrets
import urllib.parse
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from app.core.money import CURRENCY_DIGITS
from app.core.signatures import decode_secret, encode_secret
from app.providers import ADAPTERS
from app.providers.outgoing import AddressRefused, check_url
from app.runtime import Runtime
from app.services import audit
from app.services.access import new_credential
from app.services.audit import AuditRow
from models import new_id
from models.tenants import ROLES

# Standard Webhooks asks for 24 to 64 bytes; CONTRACT section 4 for 32.
WEBHOOK_SECRET_BYTES = 32

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", re.ASCII)


class ConfigurationError(ValueError):
    """What the operator asked for cannot be configured."""


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant to be made. Origins are `scheme://host[:port]`; the URLs are the defaults for returning users."""

    name: str
    allowed_origins: tuple[str, ...] = ()
    success_url: str | None = None
    failure_url: str | None = None
    requests_per_second: int | None = None
    amount_minor_max: int | None = None
    id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class NewProvider:
    """A provider to be made for a tenant; `webhook_secret` is made up where none is given."""

    tenant_id: uuid.UUID
    name: str
    adapter: str
    api_base_url: str
    api_key: str
    webhook_secret: str | None = None
    ip_allowlist: tuple[str, ...] = ()
    currencies: tuple[str, ...] = ()
    is_default: bool = False
    id: uuid.UUID | None = None


def _audit(connection: Connection, tenant_id: uuid.UUID, actor: str, kind: str, detail: dict[str, Any]) -> None:
    audit.write(connection, [AuditRow(tenant_id, actor, kind, detail)])


def check_origin(origin: str) -> str:
    """Returns `origin` in lower case. Raises ConfigurationError unless it is scheme, host and port alone."""
    parts = urllib.parse.urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}":
        raise ConfigurationError(f"{origin!r} is no origin such as https://shop.example")
    if "@" in parts.netloc:
        raise ConfigurationError("an origin has no credentials")
    return origin.lower()


def create_tenant(runtime: Runtime, new: NewTenant, actor: str) -> uuid.UUID:
    """Makes a tenant and returns its id. Raises ConfigurationError where the name is taken or a value unusable."""
    if not _NAME.fullmatch(new.name):
        raise ConfigurationError("a name has 1 to 64 letters, digits, blanks and ._-")
    tenant_id = new.id or new_id()
    origins = [check_origin(origin) for origin in new.allowed_origins]
    with runtime.database.transaction("operator") as connection:
        made = connection.execute(
            text(
                "insert into tenants (id, name, allowed_origins, default_success_url, default_failure_url,"
                " requests_per_second, amount_minor_max) values (:id, :name, :origins, :success_url, :failure_url,"
                " :requests, :amount) on conflict (name) do nothing returning id"
            ),
            {
                "id": tenant_id,
                "name": new.name,
                "origins": origins,
                "success_url": new.success_url,
                "failure_url": new.failure_url,
                "requests": new.requests_per_second,
                "amount": new.amount_minor_max,
            },
        ).scalar()
        if made is None:
            raise ConfigurationError(f"there is a tenant {new.name!r} already")
        _audit(connection, tenant_id, actor, "tenant_created", {"name": new.name})
    return tenant_id


def list_tenants(runtime: Runtime) -> list[dict[str, Any]]:
    """Returns all tenants, oldest first."""
    return _rows(
        runtime,
        "select id, name, allowed_origins, default_provider_id, requests_per_second, amount_minor_max,"
        " tolerance_percent, late_policy, over_policy, negative_policy, created_at from tenants order by created_at",
    )


def find_tenant(runtime: Runtime, name_or_id: str) -> uuid.UUID:
    """Returns the id of the tenant with this name or id. Raises ConfigurationError."""
    found = _rows(runtime, "select id from tenants where name = :wanted or id::text = :wanted", wanted=name_or_id)
    if not found:
        raise ConfigurationError(f"there is no tenant {name_or_id!r}")
    return uuid.UUID(str(found[0]["id"]))


def create_key(runtime: Runtime, tenant_id: uuid.UUID, role: str, label: str, actor: str) -> tuple[uuid.UUID, str]:
    """Makes a secret key; returns its id and the key itself, which is not stored and never shown again."""
    if role not in ROLES:
        raise ConfigurationError(f"a role is one of {', '.join(ROLES)}")
    key_id, credential = new_id(), new_credential("sk")
    with runtime.database.transaction("operator") as connection:
        connection.execute(
            text(
                "insert into api_keys (id, tenant_id, public_part, secret_sha256, role, label)"
                " values (:id, :tenant_id, :public_part, :sha256, :role, :label)"
            ),
            {
                "id": key_id,
                "tenant_id": tenant_id,
                "public_part": credential.public_part,
                "sha256": credential.secret_sha256,
                "role": role,
                "label": label[:200],
            },
        )
        _audit(connection, tenant_id, actor, "key_created", {"key_id": str(key_id), "role": role, "label": label})
    return key_id, credential.plain


def revoke_key(runtime: Runtime, key_id: uuid.UUID, actor: str) -> bool:
    """Revokes a key and with it every token made with it; returns False where it was revoked or unknown."""
    with runtime.database.transaction("operator") as connection:
        tenant_id = connection.execute(
            text("update api_keys set revoked_at = now() where id = :id and revoked_at is null returning tenant_id"),
            {"id": key_id},
        ).scalar()
        if tenant_id is not None:
            _audit(connection, tenant_id, actor, "key_revoked", {"key_id": str(key_id)})
    return tenant_id is not None


def list_keys(runtime: Runtime, tenant_id: uuid.UUID | None) -> list[dict[str, Any]]:
    """Returns the keys of one tenant or of all, never their secrets."""
    return _rows(
        runtime,
        "select id, tenant_id, 'sk_' || public_part || '...' as key, role, label, created_at, revoked_at from api_keys"
        " where cast(:tenant_id as uuid) is null or tenant_id = :tenant_id order by created_at",
        tenant_id=tenant_id,
    )


def new_webhook_secret() -> str:
    """Returns a new webhook secret, `whsec_` and base64 of 32 random bytes."""
    return encode_secret(secrets.token_bytes(WEBHOOK_SECRET_BYTES))


def _check_provider(runtime: Runtime, new: NewProvider) -> None:
    if not _NAME.fullmatch(new.name):
        raise ConfigurationError("a name has 1 to 64 letters, digits, blanks and ._-")
    if new.adapter not in ADAPTERS:
        raise ConfigurationError(f"an adapter is one of {', '.join(ADAPTERS)}")
    try:
        check_url(new.api_base_url, frozenset(runtime.settings.private_providers))
        for network in new.ip_allowlist:
            ipaddress.ip_network(network)
        if new.webhook_secret is not None:
            decode_secret(new.webhook_secret)
    except (AddressRefused, ValueError) as error:
        raise ConfigurationError(str(error)) from None
    unknown = sorted(set(new.currencies) - CURRENCY_DIGITS.keys())
    if unknown:
        raise ConfigurationError(f"no currency with a minor unit: {', '.join(unknown)}")


def create_provider(runtime: Runtime, new: NewProvider, actor: str) -> tuple[uuid.UUID, str]:
    """Makes a provider; returns its id and its webhook secret. Raises ConfigurationError."""
    _check_provider(runtime, new)
    provider_id = new.id or new_id()
    secret = new.webhook_secret or new_webhook_secret()
    with runtime.database.transaction("operator") as connection:
        made = connection.execute(
            text(
                "insert into payment_providers (id, tenant_id, name, adapter, api_base_url, api_key_encrypted,"
                " ip_allowlist, currencies) values (:id, :tenant_id, :name, :adapter, :url, :api_key, :networks,"
                " cast(:currencies as text[])) on conflict (tenant_id, name) do nothing returning id"
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
        _audit(connection, new.tenant_id, actor, "provider_created", detail)
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
    """Returns the providers of one tenant or of all, never their secrets."""
    return _rows(
        runtime,
        "select p.id, p.tenant_id, p.name, p.adapter, p.api_base_url, p.webhook_scheme, p.ip_allowlist, p.currencies,"
        " p.id = t.default_provider_id as is_default, p.created_at, p.disabled_at,"
        " (select count(*) from provider_secrets s where s.provider_id = p.id"
        "  and (s.ends_at is null or s.ends_at > now())) as active_secrets"
        " from payment_providers p join tenants t on t.id = p.tenant_id"
        " where cast(:tenant_id as uuid) is null or p.tenant_id = :tenant_id order by p.created_at",
        tenant_id=tenant_id,
    )


def rotate_secret(runtime: Runtime, provider_id: uuid.UUID, overlap_seconds: int, actor: str) -> str:
    """Makes a new webhook secret; the present ones stay good for `overlap_seconds`. Raises ConfigurationError."""
    secret = new_webhook_secret()
    with runtime.database.transaction("operator") as connection:
        tenant_id = connection.execute(
            text("select tenant_id from payment_providers where id = :id for no key update"), {"id": provider_id}
        ).scalar()
        if tenant_id is None:
            raise ConfigurationError(f"there is no provider {provider_id}")
        connection.execute(
            text(
                "update provider_secrets set ends_at = now() + make_interval(secs => :overlap)"
                " where provider_id = :id and (ends_at is null or ends_at > now() + make_interval(secs => :overlap))"
            ),
            {"id": provider_id, "overlap": overlap_seconds},
        )
        _insert_secret(runtime, connection, tenant_id, provider_id, secret)
        detail = {"provider_id": str(provider_id), "overlap_seconds": overlap_seconds}
        _audit(connection, tenant_id, actor, "provider_secret_rotated", detail)
    return secret


def disable_provider(runtime: Runtime, provider_id: uuid.UUID, actor: str) -> bool:
    """Stops new deposits with a provider; payments it has are still asked about and its webhooks still taken.

    Returns False where it was disabled before or is unknown.
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
            _audit(connection, tenant_id, actor, "provider_disabled", {"provider_id": str(provider_id)})
    return tenant_id is not None


def _rows(runtime: Runtime, query: str, **parameters: object) -> list[dict[str, Any]]:
    with runtime.database.transaction("operator") as connection:
        return [dict(row) for row in connection.execute(text(query), parameters).mappings()]
