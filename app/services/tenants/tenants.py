"""Tenants and their keys, as the operator makes and changes them. Every change is audited."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from app.core.payment import format_time
from app.core.validation.origins import parse_origin
from app.runtime.runtime import Runtime
from app.services.access.callers import new_credential
from app.services.tenants.changes import ConfigurationError, check_name, name_reason, read_rows, write_audit
from models import Database, new_id
from models.database import single
from models.tables.access import ROLES

# Half of what one web process answers on two cores: more than a shop's peak, and one tenant leaves room for the others.
REQUESTS_PER_SECOND_DEFAULT = 500


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant to be made. Origins are `scheme://host[:port]`; the URLs are the defaults for returning users.

    `requests_per_second` None: no limit.
    """

    name: str
    allowed_origins: tuple[str, ...] = ()
    success_url: str | None = None
    failure_url: str | None = None
    requests_per_second: int | None = REQUESTS_PER_SECOND_DEFAULT
    amount_minor_max: int | None = None
    id: uuid.UUID | None = None


def check_origin(origin: str) -> str:
    """Return `origin` as browsers send it. Raise ConfigurationError for what none sends."""
    try:
        return parse_origin(origin)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def create_tenant(runtime: Runtime, new: NewTenant, actor: str) -> uuid.UUID:
    """Make a tenant and return its id. Raise ConfigurationError where the name is taken or a value unusable."""
    check_name(new.name)
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
        write_audit(connection, tenant_id, actor, "tenant_created", {"name": new.name})
    return tenant_id


def list_tenants(runtime: Runtime) -> list[dict[str, Any]]:
    """Return all tenants, oldest first."""
    return read_rows(
        runtime,
        "select id, name, allowed_origins, default_provider_id, requests_per_second, amount_minor_max,"
        " tolerance_percent, late_policy, over_policy, negative_policy, created_at from tenants order by created_at",
    )


def find_tenant(runtime: Runtime, name_or_id: str) -> uuid.UUID:
    """Return the id of the tenant with this name or id. Raise ConfigurationError."""
    found = read_rows(runtime, "select id from tenants where name = :wanted or id::text = :wanted", wanted=name_or_id)
    if not found:
        raise ConfigurationError(f"there is no tenant {name_or_id!r}")
    return uuid.UUID(str(found[0]["id"]))


def create_key(
    runtime: Runtime,
    tenant_id: uuid.UUID,
    role: str,
    label: str,
    actor: str,
    expires_at: datetime.datetime | None = None,
) -> tuple[uuid.UUID, str]:
    """Make a secret key; return its id and the key itself, which is not stored and never shown again.

    From `expires_at` on it is refused, as are the tokens made with it. Raise ConfigurationError.
    """
    if role not in ROLES:
        raise ConfigurationError(f"a role is one of {', '.join(ROLES)}")
    if expires_at is not None and expires_at <= datetime.datetime.now(datetime.UTC):
        raise ConfigurationError("a key's end lies in the future")
    key_id, credential = new_id(), new_credential("sk")
    with runtime.database.transaction("operator") as connection:
        connection.execute(
            text(
                "insert into api_keys (id, tenant_id, public_part, secret_sha256, role, label, expires_at)"
                " values (:id, :tenant_id, :public_part, :sha256, :role, :label, :expires_at)"
            ),
            {
                "id": key_id,
                "tenant_id": tenant_id,
                "public_part": credential.public_part,
                "sha256": credential.secret_sha256,
                "role": role,
                "label": label[:200],
                "expires_at": expires_at,
            },
        )
        detail: dict[str, Any] = {"key_id": str(key_id), "role": role, "label": label}
        if expires_at is not None:
            detail["expires_at"] = format_time(expires_at)
        write_audit(connection, tenant_id, actor, "key_created", detail)
    return key_id, credential.plain


def revoke_key(runtime: Runtime, key_id: uuid.UUID, actor: str, reason: str | None = None) -> bool:
    """Revoke a key and with it every token made with it; return False where it was revoked or unknown."""
    with runtime.database.transaction("operator") as connection:
        tenant_id = connection.execute(
            text("update api_keys set revoked_at = now() where id = :id and revoked_at is null returning tenant_id"),
            {"id": key_id},
        ).scalar()
        if tenant_id is not None:
            detail = {"key_id": str(key_id), **name_reason(reason)}
            write_audit(connection, tenant_id, actor, "key_revoked", detail)
    return tenant_id is not None


def list_keys(runtime: Runtime, tenant_id: uuid.UUID | None) -> list[dict[str, Any]]:
    """Return the keys of one tenant or of all, never their secrets."""
    return read_rows(
        runtime,
        "select id, tenant_id, 'sk_' || public_part || '...' as key, role, label, created_at, expires_at, last_used_at,"
        " revoked_at from api_keys"
        " where cast(:tenant_id as uuid) is null or tenant_id = :tenant_id order by created_at",
        tenant_id=tenant_id,
    )


_OWN_KEYS = single(
    "select id, 'sk_' || public_part || '...' as key, role, label, created_at, expires_at, last_used_at, revoked_at"
    " from api_keys where tenant_id = :tenant_id order by created_at"
)


def list_own_keys(database: Database, tenant_id: uuid.UUID) -> list[dict[str, Any]]:
    """Return a tenant's keys as its API shows them, oldest first."""
    rows = database.run_single("web", _OWN_KEYS, {"tenant_id": tenant_id}, tenant_id)
    return [
        {name: format_time(value) if name.endswith("_at") and value else value for name, value in row._asdict().items()}
        | {"id": str(row.id)}
        for row in rows
    ]
