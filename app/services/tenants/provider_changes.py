"""Changes to a provider that exists. Each is audited with the values before and after, never with a secret."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from app.runtime.runtime import Runtime
from app.services.access.senders import forget_sender
from app.services.tenants.changes import ConfigurationError, check_name, write_audit
from app.services.tenants.providers import check_currencies, check_networks, check_provider_url

# One worker-provider has sixteen threads; a deployment of this many calls at once has dozens of workers.
CALLS_MAX = 1_000
# With backoff up to ten minutes this is a week; after that a person decides.
ATTEMPTS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class ProviderChanges:
    """What changes; None leaves a value as it is. An empty `ip_allowlist` allows any address.

    An empty `currencies` allows every currency.
    """

    name: str | None = None
    api_base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    ip_allowlist: tuple[str, ...] | None = None
    currencies: tuple[str, ...] | None = None
    calls_max: int | None = None
    attempts_max: int | None = None
    is_default: bool = False


_LOCK = text(
    "select p.id, p.tenant_id, p.name, p.api_base_url, p.api_key_encrypted, p.ip_allowlist, p.currencies, p.calls_max,"
    " p.attempts_max, p.id = t.default_provider_id is true as is_default"
    " from payment_providers p join tenants t on t.id = p.tenant_id where p.id = :id for no key update of p"
)
_NAME_IS_TAKEN = text(
    "select exists (select from payment_providers where tenant_id = :tenant_id and name = :name and id <> :id)"
)
_MAKE_DEFAULT = text("update tenants set default_provider_id = :id where id = :tenant_id")
_ENABLE = text(
    "update payment_providers set disabled_at = null where id = :id and disabled_at is not null returning tenant_id"
)


def enable_provider(runtime: Runtime, provider_id: uuid.UUID, actor: str) -> bool:
    """Let a disabled provider take deposits again. Return False where it is not disabled, or unknown."""
    with runtime.database.transaction("operator") as connection:
        tenant_id = connection.execute(_ENABLE, {"id": provider_id}).scalar()
        if tenant_id is not None:
            write_audit(connection, tenant_id, actor, "provider_enabled", {"provider_id": str(provider_id)})
    return tenant_id is not None


def update_provider(runtime: Runtime, provider_id: uuid.UUID, changes: ProviderChanges, actor: str) -> list[str]:
    """Change a provider and return the names of what is different now; it counts from the next call on.

    Raise ConfigurationError where there is no such provider, or a value cannot be.
    """
    wanted = _check(runtime, changes)
    with runtime.database.transaction("operator") as connection:
        row = connection.execute(_LOCK, {"id": provider_id}).mappings().first()
        if row is None:
            raise ConfigurationError(f"there is no provider {provider_id}")
        different = {name: value for name, value in wanted.items() if row[name] != value}
        if "name" in different and connection.execute(_NAME_IS_TAKEN, different | _ids(row)).scalar():
            raise ConfigurationError(f"the tenant has a provider {changes.name!r} already")
        detail = {name: {"from": row[name], "to": value} for name, value in different.items()}
        detail |= _write(runtime, connection, row, different, changes)
        if detail:
            about = {"provider_id": str(provider_id), "changed": detail}
            write_audit(connection, row["tenant_id"], actor, "provider_updated", about)
    forget_sender(provider_id)
    return sorted(detail)


def _check(runtime: Runtime, changes: ProviderChanges) -> dict[str, Any]:
    """Return the columns that are asked for, all but the key."""
    if changes.name is not None:
        check_name(changes.name)
    if changes.api_base_url is not None:
        check_provider_url(runtime, changes.api_base_url)
    check_networks(changes.ip_allowlist or ())
    check_currencies(changes.currencies or ())
    for value, most in ((changes.calls_max, CALLS_MAX), (changes.attempts_max, ATTEMPTS_MAX)):
        if value is not None and not 1 <= value <= most:
            raise ConfigurationError(f"calls and attempts are from 1 to {most}")
    wanted = {
        "name": changes.name,
        "api_base_url": changes.api_base_url and changes.api_base_url.rstrip("/"),
        "ip_allowlist": None if changes.ip_allowlist is None else list(changes.ip_allowlist),
        "calls_max": changes.calls_max,
        "attempts_max": changes.attempts_max,
    }
    found: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if changes.currencies is not None:
        # The column has no list where every currency is allowed.
        found["currencies"] = list(changes.currencies) or None
    return found


def _write(
    runtime: Runtime, connection: Connection, row: RowMapping, different: dict[str, Any], changes: ProviderChanges
) -> dict[str, Any]:
    """Write the columns, the key and the tenant's default; return what the audit says of the last two."""
    detail: dict[str, Any] = {}
    values = dict(different)
    # A key that is encrypted with a lost encryption key cannot be compared, and is replaced all the same.
    if changes.api_key is not None:
        values["api_key_encrypted"] = runtime.vault.encrypt(changes.api_key)
        detail["api_key"] = "replaced"
    if values:
        columns = ", ".join(
            f"{name} = cast(:{name} as text[])" if name in ("ip_allowlist", "currencies") else f"{name} = :{name}"
            for name in values
        )
        connection.execute(text(f"update payment_providers set {columns} where id = :id"), values | _ids(row))  # noqa: S608  # constants
    if changes.is_default and not row["is_default"]:
        connection.execute(_MAKE_DEFAULT, _ids(row))
        detail["is_default"] = {"from": False, "to": True}
    return detail


def _ids(row: RowMapping) -> dict[str, Any]:
    return {"id": row["id"], "tenant_id": row["tenant_id"]}
