"""Changes to an existing provider. Each is audited with the values before and after, never with a secret."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import RowMapping, select, update

from app.core.errors import ProviderUnusable
from app.providers import Account, Adapter
from app.providers.connectable import SignsWithCredential
from app.providers.credentials import Credential, CredentialError, check_credentials, encode_credentials
from app.runtime.runtime import Runtime
from app.services.access.senders import forget_sender
from app.services.payments.calls.provider_trouble import read_credentials
from app.services.tenants.changes import ConfigurationError, change_one, check_name, write_audit, write_changes
from app.services.tenants.providers import (
    check_mode,
    check_networks,
    check_provider_url,
    choose_currencies,
    find_adapter,
)
from app.services.tenants.webhook_secrets import replace_secret
from models import tables

# One worker-provider has sixteen threads: more calls at once than dozens of workers can make.
CALLS_MAX = 1_000
# With a backoff of up to ten minutes this is a week; after that a person decides.
ATTEMPTS_MAX = 1_000

# How long webhooks may be signed with the key before: those of the provider's retries still are.
OVERLAP_SECONDS = 24 * 3_600

# Columns that are compared with the new values.
_COLUMNS = (
    *("id", "tenant_id", "name", "api_base_url", "ip_allowlist", "currencies", "calls_max", "attempts_max"),
    "client_selectable",
)
_ACCOUNT_COLUMNS = ("adapter", "mode", "credentials_encrypted")


@dataclass(frozen=True, slots=True)
class ProviderChanges:
    """New values; None leaves one unchanged, and credentials that are not named stay.

    An empty `ip_allowlist` allows any address, an empty `currencies` every currency of its adapter.
    """

    name: str | None = None
    api_base_url: str | None = None
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    ip_allowlist: tuple[str, ...] | None = None
    currencies: tuple[str, ...] | None = None
    calls_max: int | None = None
    attempts_max: int | None = None
    is_default: bool = False
    client_selectable: bool | None = None


def enable_provider(runtime: Runtime, provider_id: uuid.UUID, actor: str) -> bool:
    """Let a disabled provider take deposits again. Return False where it is not disabled, or unknown."""
    providers = tables.payment_providers
    enabled = update(providers).where(providers.c.id == provider_id, providers.c.disabled_at.is_not(None))
    statement = enabled.values(disabled_at=None).returning(providers.c.tenant_id)
    return change_one(runtime, statement, actor, "provider_enabled", {"provider_id": str(provider_id)})


def find_credentials(runtime: Runtime, provider_id: uuid.UUID) -> tuple[Credential, ...]:
    """Return the credentials that a provider's adapter declares. Raise ConfigurationError for an unknown provider."""
    providers = tables.payment_providers
    with runtime.database.transaction("operator") as connection:
        name = connection.execute(select(providers.c.adapter).where(providers.c.id == provider_id)).scalar()
    if name is None:
        raise ConfigurationError(f"there is no provider {provider_id}")
    return find_adapter(runtime, name).credentials


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
        credentials = _merge_credentials(runtime, row, changes)
        if changes.currencies is not None:
            wanted["currencies"] = choose_currencies(find_adapter(runtime, row["adapter"]), changes.currencies)
        taken = f"the tenant has a provider {changes.name!r} already"
        detail: dict[str, Any] = {**write_changes(connection, providers, row, wanted, taken)}
        if changes.credentials:
            encrypted = runtime.vault.encrypt(encode_credentials(credentials))
            replaced = update(providers).where(providers.c.id == provider_id)
            connection.execute(replaced.values(credentials_encrypted=encrypted))
            detail |= dict.fromkeys(changes.credentials, "replaced")
            if (secret := _find_new_secret(find_adapter(runtime, row["adapter"]), changes)) is not None:
                replace_secret(runtime, connection, row["tenant_id"], provider_id, secret, OVERLAP_SECONDS)
                detail |= {"webhook_secret": "replaced"}
        if changes.is_default and row["default_provider_id"] != provider_id:
            makes_default = update(tenants).where(tenants.c.id == row["tenant_id"])
            connection.execute(makes_default.values(default_provider_id=provider_id))
            detail["is_default"] = {"from": False, "to": True}
        if detail:
            about = {"provider_id": str(provider_id), "changed": detail}
            write_audit(connection, row["tenant_id"], actor, "provider_updated", about)
    forget_sender(provider_id)
    return sorted(detail)


def _find_new_secret(adapter: Adapter, changes: ProviderChanges) -> str | None:
    """Return the credential that signs webhooks where it is replaced: with it the webhook secret is."""
    return changes.credentials.get(adapter.secret_credential) if isinstance(adapter, SignsWithCredential) else None


def _merge_credentials(runtime: Runtime, row: RowMapping, changes: ProviderChanges) -> Mapping[str, str]:
    """Return the credentials as they will be, checked with the URL as it will be.

    Raise ConfigurationError where they are not what the adapter needs, or are of the other mode.
    """
    if not changes.credentials and changes.api_base_url is None:
        return {}
    adapter = find_adapter(runtime, row["adapter"])
    names = {one.name for one in adapter.credentials}
    stored: Mapping[str, str] = {}
    # What is replaced as a whole need not be read: a lost encryption key must not stand in the way.
    if names - changes.credentials.keys():
        try:
            stored = read_credentials(runtime, row["credentials_encrypted"])
        except ProviderUnusable as error:
            raise ConfigurationError(f"{error}: replace all of them at once") from None
    # Those that an earlier version of the adapter had are dropped.
    credentials = {name: value for name, value in stored.items() if name in names} | dict(changes.credentials)
    try:
        check_credentials(adapter.credentials, credentials)
    except CredentialError as error:
        raise ConfigurationError(str(error)) from None
    account = Account(row["id"], changes.api_base_url or row["api_base_url"], credentials)
    check_mode(row["adapter"], adapter, account, row["mode"])
    return credentials


def _check(runtime: Runtime, changes: ProviderChanges) -> dict[str, Any]:
    """Return the new values by column, all but the credentials and the currencies."""
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
        "client_selectable": changes.client_selectable,
    }
    return {name: value for name, value in wanted.items() if value is not None}
