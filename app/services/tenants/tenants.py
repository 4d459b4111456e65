"""Tenants and their keys, as the operator manages them. Every change is audited."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, bindparam, func, literal, select, true, update
from sqlalchemy.dialects.postgresql import insert

from app.core.errors import RequestRejected
from app.core.payment import format_time
from app.core.validation.origins import parse_origin
from app.runtime.runtime import Runtime
from app.services.access.callers import new_credential
from app.services.tenants.changes import (
    ConfigurationError,
    change_one,
    check_name,
    is_called,
    name_reason,
    read_rows,
    write_audit,
)
from models import Database, new_id, tables
from models.database import single
from models.sql import columns
from models.tables.access import MODES, ROLES

# Half of what one web process answers on two cores: above a shop's peak, and leaves room for other tenants.
REQUESTS_PER_SECOND_DEFAULT = 500


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant to be made. Origins are `scheme://host[:port]`; the URLs are the defaults for returning users.

    `requests_per_second` None: no limit. `mode` is one of MODES and can never be changed.
    """

    name: str
    allowed_origins: tuple[str, ...] = ()
    success_url: str | None = None
    failure_url: str | None = None
    requests_per_second: int | None = REQUESTS_PER_SECOND_DEFAULT
    amount_minor_max: int | None = None
    id: uuid.UUID | None = None
    mode: str = "test"


def check_origin(origin: str) -> str:
    """Return `origin` as browsers send it. Raise ConfigurationError where none sends it."""
    try:
        return parse_origin(origin)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def create_tenant(runtime: Runtime, new: NewTenant, actor: str) -> uuid.UUID:
    """Make a tenant and return its id. Raise ConfigurationError for a taken name or an invalid value."""
    check_name(new.name)
    if new.mode not in MODES:
        raise ConfigurationError(f"a mode is one of {', '.join(MODES)}")
    tenant_id = new.id or new_id()
    origins = [check_origin(origin) for origin in new.allowed_origins]
    with runtime.database.transaction("operator") as connection:
        made = connection.execute(
            insert(tables.tenants)
            .values(
                id=tenant_id,
                name=new.name,
                mode=new.mode,
                allowed_origins=origins,
                default_success_url=new.success_url,
                default_failure_url=new.failure_url,
                requests_per_second=new.requests_per_second,
                amount_minor_max=new.amount_minor_max,
            )
            .on_conflict_do_nothing(index_elements=["name"])
            .returning(tables.tenants.c.id)
        ).scalar()
        if made is None:
            raise ConfigurationError(f"there is a tenant {new.name!r} already")
        write_audit(connection, tenant_id, actor, "tenant_created", {"name": new.name, "mode": new.mode})
    return tenant_id


def list_tenants(runtime: Runtime) -> list[dict[str, Any]]:
    """Return all tenants, oldest first."""
    tenants = tables.tenants
    policy = ("tolerance_percent", "late_policy", "over_policy", "negative_policy", "created_at")
    names = (
        "id",
        "name",
        "mode",
        "allowed_origins",
        "default_provider_id",
        "requests_per_second",
        "amount_minor_max",
        *policy,
    )
    return read_rows(runtime, select(*columns(tenants, *names)).order_by(tenants.c.created_at))


def find_tenant(runtime: Runtime, name_or_id: str) -> uuid.UUID:
    """Return the id of the tenant with this name or id. Raise ConfigurationError."""
    tenants = tables.tenants
    found = read_rows(runtime, select(tenants.c.id).where(is_called(tenants, name_or_id)))
    if not found:
        raise ConfigurationError(f"there is no tenant {name_or_id!r}")
    tenant_id: uuid.UUID = found[0]["id"]
    return tenant_id


def find_owner(runtime: Runtime, table: Table, row_id: uuid.UUID, name: str) -> uuid.UUID:
    """Return the tenant of a row of `table`; `name` is for the error. Raise RequestRejected (404)."""
    found = read_rows(runtime, select(table.c.tenant_id).where(table.c.id == row_id))
    if not found:
        raise RequestRejected(404, f"There is no such {name}.")
    tenant_id: uuid.UUID = found[0]["tenant_id"]
    return tenant_id


def create_key(
    runtime: Runtime,
    tenant_id: uuid.UUID,
    role: str,
    label: str,
    actor: str,
    expires_at: datetime.datetime | None = None,
) -> tuple[uuid.UUID, str]:
    """Make a secret key; return its id and the key, which is neither stored nor shown again.

    From `expires_at` on it and the tokens made with it are refused. Raise ConfigurationError.
    """
    if role not in ROLES:
        raise ConfigurationError(f"a role is one of {', '.join(ROLES)}")
    if expires_at is not None and expires_at <= datetime.datetime.now(datetime.UTC):
        raise ConfigurationError("a key's end lies in the future")
    key_id, credential = new_id(), new_credential("sk")
    with runtime.database.transaction("operator") as connection:
        connection.execute(
            insert(tables.api_keys).values(
                id=key_id,
                tenant_id=tenant_id,
                public_part=credential.public_part,
                secret_sha256=credential.secret_sha256,
                role=role,
                label=label[:200],
                expires_at=expires_at,
            )
        )
        detail: dict[str, Any] = {"key_id": str(key_id), "role": role, "label": label}
        if expires_at is not None:
            detail["expires_at"] = format_time(expires_at)
        write_audit(connection, tenant_id, actor, "key_created", detail)
    return key_id, credential.plain


def revoke_key(runtime: Runtime, key_id: uuid.UUID, actor: str, reason: str | None = None) -> bool:
    """Revoke a key, and with it the tokens made with it; return False where it was revoked or unknown."""
    keys = tables.api_keys
    revoked = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=func.now())
    detail = {"key_id": str(key_id), **name_reason(reason)}
    return change_one(runtime, revoked.returning(keys.c.tenant_id), actor, "key_revoked", detail)


_SHOWN = [
    (literal("sk_") + tables.api_keys.c.public_part + "...").label("key"),
    *columns(tables.api_keys, "role", "label", "created_at", "expires_at", "last_used_at", "revoked_at"),
]
_OWN_KEYS = single(
    select(tables.api_keys.c.id, *_SHOWN)
    .where(tables.api_keys.c.tenant_id == bindparam("tenant_id"))
    .order_by(tables.api_keys.c.created_at)
)


def list_keys(runtime: Runtime, tenant_id: uuid.UUID | None) -> list[dict[str, Any]]:
    """Return the keys of one tenant or of all, never their secrets."""
    keys = tables.api_keys
    is_wanted = true() if tenant_id is None else keys.c.tenant_id == tenant_id
    query = select(keys.c.id, keys.c.tenant_id, *_SHOWN)
    return read_rows(runtime, query.where(is_wanted).order_by(keys.c.created_at))


def list_own_keys(database: Database, tenant_id: uuid.UUID) -> list[dict[str, Any]]:
    """Return a tenant's keys as its API shows them, oldest first."""
    rows = database.run_single("web", _OWN_KEYS, {"tenant_id": tenant_id}, tenant_id)
    return [
        {name: format_time(value) if name.endswith("_at") and value else value for name, value in row._asdict().items()}
        | {"id": str(row.id)}
        for row in rows
    ]
