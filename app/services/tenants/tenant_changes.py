"""Changes to an existing tenant. Each is audited with the values before and after."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, select

from app.runtime.runtime import Runtime
from app.services.tenants.changes import ConfigurationError, check_name, is_called, write_audit, write_changes
from app.services.tenants.tenants import check_origin
from models import tables


@dataclass(frozen=True, slots=True)
class Clear:
    """Removes a value, where None leaves it unchanged."""


CLEAR = Clear()


@dataclass(frozen=True, slots=True)
class TenantChanges:
    """New values; None leaves one unchanged, CLEAR removes it. `default_provider` is a name or an id."""

    name: str | None = None
    allowed_origins: tuple[str, ...] | None = None
    default_success_url: str | Clear | None = None
    default_failure_url: str | Clear | None = None
    requests_per_second: int | Clear | None = None
    amount_minor_max: int | Clear | None = None
    default_provider: str | None = None


_COLUMNS = [each.name for each in fields(TenantChanges) if each.name != "default_provider"]


def update_tenant(runtime: Runtime, tenant_id: uuid.UUID, changes: TenantChanges, actor: str) -> dict[str, Any]:
    """Change a tenant; return its values now, with `changed`, the names of those that differ.

    Web processes see it within a second. Raise ConfigurationError for an invalid value.
    """
    wanted = _check(changes)
    tenants = tables.tenants
    query = select(*(tenants.c[name] for name in ("id", *_COLUMNS, "default_provider_id")))
    with runtime.database.transaction("operator") as connection:
        locked = query.where(tenants.c.id == tenant_id).with_for_update(key_share=True)
        before = connection.execute(locked).mappings().one()
        if changes.default_provider is not None:
            wanted["default_provider_id"] = _find_provider(connection, tenant_id, changes.default_provider)
        changed = write_changes(connection, tenants, before, wanted, f"there is a tenant {changes.name!r} already")
        if changed:
            write_audit(connection, tenant_id, actor, "tenant_updated", {"changed": changed})
    return {**before, **wanted, "changed": sorted(changed)}


def _check(changes: TenantChanges) -> dict[str, Any]:
    """Return the new values by column, all but the default provider."""
    if changes.name is not None:
        check_name(changes.name)
    given = {name: getattr(changes, name) for name in _COLUMNS}
    wanted = {name: None if value is CLEAR else value for name, value in given.items() if value is not None}
    if changes.allowed_origins is not None:
        wanted["allowed_origins"] = list(dict.fromkeys(map(check_origin, changes.allowed_origins)))
    return wanted


def _find_provider(connection: Connection, tenant_id: uuid.UUID, wanted: str) -> uuid.UUID:
    providers = tables.payment_providers
    query = select(providers.c.id, providers.c.disabled_at)
    found = connection.execute(query.where(providers.c.tenant_id == tenant_id, is_called(providers, wanted))).first()
    if found is None:
        raise ConfigurationError(f"the tenant has no provider {wanted!r}")
    if found.disabled_at is not None:
        raise ConfigurationError(f"the provider {wanted!r} is disabled: enable it first")
    provider_id: uuid.UUID = found.id
    return provider_id
