"""Changes to an existing provider. Each is audited with the values before and after, never with a secret."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, update

from app.providers import Account
from app.runtime.runtime import Runtime
from app.services.access.senders import forget_sender
from app.services.tenants.changes import ConfigurationError, change_one, check_name, write_audit, write_changes
from app.services.tenants.providers import check_mode, check_networks, check_provider_url, choose_currencies
from models import tables

# One worker-provider has sixteen threads: more calls at once than dozens of workers can make.
CALLS_MAX = 1_000
# With a backoff of up to ten minutes this is a week; after that a person decides.
ATTEMPTS_MAX = 1_000

# Columns that are compared with the new values.
_COLUMNS = ("id", "tenant_id", "name", "api_base_url", "ip_allowlist", "currencies", "calls_max", "attempts_max")
_ACCOUNT_COLUMNS = ("adapter", "mode")


@dataclass(frozen=True, slots=True)
class ProviderChanges:
    """New values; None leaves one unchanged. An empty `ip_allowlist` allows any address.

    An empty `currencies` allows every currency of its adapter.
    """

    name: str | None = None
    api_base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    ip_allowlist: tuple[str, ...] | None = None
    currencies: tuple[str, ...] | None = None
    calls_max: int | None = None
    attempts_max: int | None = None
    is_default: bool = False


def enable_provider(runtime: Runtime, provider_id: uuid.UUID, actor: str) -> bool:
    """Let a disabled provider take deposits again. Return False where it is not disabled, or unknown."""
    providers = tables.payment_providers
    enabled = update(providers).where(providers.c.id == provider_id, providers.c.disabled_at.is_not(None))
    statement = enabled.values(disabled_at=None).returning(providers.c.tenant_id)
    return change_one(runtime, statement, actor, "provider_enabled", {"provider_id": str(provider_id)})


def update_provider(runtime: Runtime, provider_id: uuid.UUID, changes: ProviderChanges, actor: str) -> list[str]:
    """Change a provider and return the names of the changed values; they are used from the next call on.

    Raise ConfigurationError for an unknown provider or an invalid value.
    """
    wanted = _check(runtime, changes)
    providers, tenants = tables.payment_providers, tables.tenants
    columns = (providers.c[name] for name in (*_COLUMNS, *_ACCOUNT_COLUMNS))
    query = select(*columns, tenants.c.default_provider_id).join_from(
        providers, tenants, tenants.c.id == providers.c.tenant_id
    )
    with runtime.database.transaction("operator") as connection:
        locked = query.where(providers.c.id == provider_id).with_for_update(key_share=True, of=providers)
        row = connection.execute(locked).mappings().first()
        if row is None:
            raise ConfigurationError(f"there is no provider {provider_id}")
        if changes.api_base_url is not None or changes.api_key is not None:
            url = changes.api_base_url or row["api_base_url"]
            check_mode(runtime, row["adapter"], Account(provider_id, url, changes.api_key or ""), row["mode"])
        if changes.currencies is not None:
            wanted["currencies"] = choose_currencies(runtime.adapters[row["adapter"]], changes.currencies)
        taken = f"the tenant has a provider {changes.name!r} already"
        detail: dict[str, Any] = {**write_changes(connection, providers, row, wanted, taken)}
        # Not compared: a key that is encrypted with a lost encryption key can be replaced as well.
        if changes.api_key is not None:
            key = runtime.vault.encrypt(changes.api_key)
            connection.execute(update(providers).where(providers.c.id == provider_id).values(api_key_encrypted=key))
            detail["api_key"] = "replaced"
        if changes.is_default and row["default_provider_id"] != provider_id:
            makes_default = update(tenants).where(tenants.c.id == row["tenant_id"])
            connection.execute(makes_default.values(default_provider_id=provider_id))
            detail["is_default"] = {"from": False, "to": True}
        if detail:
            about = {"provider_id": str(provider_id), "changed": detail}
            write_audit(connection, row["tenant_id"], actor, "provider_updated", about)
    forget_sender(provider_id)
    return sorted(detail)


def _check(runtime: Runtime, changes: ProviderChanges) -> dict[str, Any]:
    """Return the new values by column, all but the key and the currencies."""
    if changes.name is not None:
        check_name(changes.name)
    if changes.api_base_url is not None:
        check_provider_url(runtime, changes.api_base_url)
    check_networks(changes.ip_allowlist or ())
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
    return {name: value for name, value in wanted.items() if value is not None}
