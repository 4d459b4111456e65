"""Changes to a tenant that exists. Each is audited with the values before and after."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, text

from app.runtime.runtime import Runtime
from app.services.tenants.changes import ConfigurationError, check_name, write_audit
from app.services.tenants.tenants import check_origin


@dataclass(frozen=True, slots=True)
class Clear:
    """Takes a value away, where None leaves it as it is."""


CLEAR = Clear()


@dataclass(frozen=True, slots=True)
class TenantChanges:
    """What changes; None leaves a value as it is, CLEAR takes it away. `default_provider` is a name or an id."""

    name: str | None = None
    allowed_origins: tuple[str, ...] | None = None
    default_success_url: str | Clear | None = None
    default_failure_url: str | Clear | None = None
    requests_per_second: int | Clear | None = None
    amount_minor_max: int | Clear | None = None
    default_provider: str | None = None


_LOCK = text(
    "select name, allowed_origins, default_success_url, default_failure_url, requests_per_second, amount_minor_max,"
    " default_provider_id from tenants where id = :id for no key update"
)
_NAME_IS_TAKEN = text("select exists (select from tenants where name = :name and id <> :id)")
_FIND_PROVIDER = text(
    "select id, disabled_at from payment_providers where tenant_id = :id and (name = :wanted or id::text = :wanted)"
)


def update_tenant(runtime: Runtime, tenant_id: uuid.UUID, changes: TenantChanges, actor: str) -> dict[str, Any]:
    """Change a tenant; return it as it is now, with `changed`, the names of what is different.

    Web processes see it within a second. Raise ConfigurationError where a value cannot be.
    """
    wanted = _check(changes)
    with runtime.database.transaction("operator") as connection:
        before = dict(connection.execute(_LOCK, {"id": tenant_id}).mappings().one())
        if changes.default_provider is not None:
            wanted["default_provider_id"] = _find_provider(connection, tenant_id, changes.default_provider)
        different = {name: value for name, value in wanted.items() if before[name] != value}
        if "name" in different and connection.execute(_NAME_IS_TAKEN, different | {"id": tenant_id}).scalar():
            raise ConfigurationError(f"there is a tenant {changes.name!r} already")
        if different:
            columns = ", ".join(
                f"{name} = cast(:{name} as text[])" if name == "allowed_origins" else f"{name} = :{name}"
                for name in different
            )
            connection.execute(text(f"update tenants set {columns} where id = :id"), different | {"id": tenant_id})  # noqa: S608  # constants
            detail = {name: {"from": _plain(before[name]), "to": _plain(value)} for name, value in different.items()}
            write_audit(connection, tenant_id, actor, "tenant_updated", {"changed": detail})
    return {"id": tenant_id, **before, **different, "changed": sorted(different)}


def _check(changes: TenantChanges) -> dict[str, Any]:
    """Return the columns that are asked for, all but the default provider."""
    if changes.name is not None:
        check_name(changes.name)
    given = {each.name: getattr(changes, each.name) for each in fields(changes) if each.name != "default_provider"}
    wanted = {name: None if value is CLEAR else value for name, value in given.items() if value is not None}
    if changes.allowed_origins is not None:
        wanted["allowed_origins"] = list(dict.fromkeys(map(check_origin, changes.allowed_origins)))
    return wanted


def _find_provider(connection: Connection, tenant_id: uuid.UUID, wanted: str) -> uuid.UUID:
    found = connection.execute(_FIND_PROVIDER, {"id": tenant_id, "wanted": wanted}).first()
    if found is None:
        raise ConfigurationError(f"the tenant has no provider {wanted!r}")
    if found.disabled_at is not None:
        raise ConfigurationError(f"the provider {wanted!r} is disabled: enable it first")
    provider_id: uuid.UUID = found.id
    return provider_id


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value
