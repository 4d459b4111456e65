"""Webhook endpoints as tenants and operators make and change them; each change is audited."""

from __future__ import annotations

import datetime
import secrets
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, or_, select, update

from app.core.deliveries.delivery_rules import DisabledReason
from app.core.errors import RequestRejected
from app.core.payment import format_time
from app.core.signatures import encode_secret
from app.core.validation.origins import read_origin
from app.providers.calls.addresses import AddressRefused
from app.runtime.runtime import Runtime
from app.services.deliveries.delivery_ends import end_waiting
from app.services.records import audit
from app.services.records.audit import AuditRow
from models import new_id, tables
from models.database import Role
from models.sql import columns

_ENDPOINTS, _SECRETS, _BREAKERS = tables.webhook_endpoints, tables.endpoint_secrets, tables.endpoint_breakers
_SHOWN = columns(_ENDPOINTS, "id", "url", "event_types", "description", "created_at", "disabled_at", "disabled_reason")

# Each notification is compared with all of them in the transaction that settles.
ENDPOINTS_MAX = 100
SECRET_BYTES = 32
# How long the present secrets sign too where a rotation does not say: receivers have a day to take the new one.
OVERLAP_SECONDS = 86_400
# Receivers compare a signature with each entry of the header; more is refused by ours too.
SECRETS_MAX = 5


def create_endpoint(
    runtime: Runtime,
    tenant_id: uuid.UUID,
    url: str,
    event_types: list[str] | None,
    description: str | None,
    actor: str,
) -> dict[str, Any]:
    """Make an endpoint; return it with its secret, which is shown this once.

    Raise RequestRejected: 422 for a URL that may not be called, 409 for one endpoint too many.
    """
    _check_url(runtime, url)
    endpoint_id = new_id()
    with runtime.database.transaction("clerk", tenant_id) as connection:
        of_tenant = select(func.count()).select_from(_ENDPOINTS).where(*_is_shown(tenant_id))
        if connection.execute(of_tenant).scalar_one() >= ENDPOINTS_MAX:
            message = f"A tenant has at most {ENDPOINTS_MAX} webhook endpoints."
            raise RequestRejected(409, message, code="too_many_endpoints")
        values = {"url": url, "event_types": event_types, "description": description}
        made = insert(_ENDPOINTS).values(id=endpoint_id, tenant_id=tenant_id, **values)
        connection.execute(made)
        secret = _add_secret(runtime, connection, tenant_id, endpoint_id)
        _audit(connection, tenant_id, actor, "endpoint_created", endpoint_id, values)
        row = find_endpoint(connection, tenant_id, endpoint_id)
    return {**present_endpoint(row), "secret": secret}


def list_endpoints(
    runtime: Runtime,
    tenant_id: uuid.UUID,
    limit: int,
    before: tuple[datetime.datetime, uuid.UUID] | None = None,
    role: Role = "web",
) -> list[dict[str, Any]]:
    """Return up to `limit` endpoints of the tenant, newest first, from the cursor `before` on."""
    wanted = select(*_SHOWN).where(*_is_shown(tenant_id)).order_by(_ENDPOINTS.c.id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(_ENDPOINTS.c.id < before[1])
    with runtime.database.transaction(role, tenant_id) as connection:
        return [present_endpoint(row) for row in connection.execute(wanted)]


def get_endpoint(runtime: Runtime, tenant_id: uuid.UUID, endpoint_id: uuid.UUID, role: Role = "web") -> dict[str, Any]:
    """Return an endpoint of the tenant. Raise RequestRejected (404)."""
    with runtime.database.transaction(role, tenant_id) as connection:
        return present_endpoint(find_endpoint(connection, tenant_id, endpoint_id))


def change_endpoint(
    runtime: Runtime, tenant_id: uuid.UUID, endpoint_id: uuid.UUID, changes: Mapping[str, Any], actor: str
) -> dict[str, Any]:
    """Change `url`, `event_types`, `description` or `status` and return the endpoint.

    A URL of another origin has a new secret, which is returned this once: whoever has the old one is not the receiver
    any more. Deliveries that wait for an endpoint which is disabled end as they become due: it may be enabled before.
    Raise RequestRejected: 404, and 422 for a URL that may not be called.
    """
    if "url" in changes:
        _check_url(runtime, changes["url"])
    with runtime.database.transaction("clerk", tenant_id) as connection:
        before = find_endpoint(connection, tenant_id, endpoint_id, is_locked=True)
        values = {name: value for name, value in changes.items() if name != "status"}
        if changes.get("status") == "disabled" and before.disabled_at is None:
            values |= {"disabled_at": func.now(), "disabled_reason": DisabledReason.REQUESTED}
        if changes.get("status") == "enabled" and before.disabled_at is not None:
            values |= {"disabled_at": None, "disabled_reason": None}
            # It starts anew: the failures for which it was disabled count no more.
            connection.execute(delete(_BREAKERS).where(_BREAKERS.c.endpoint_id == endpoint_id))
        if values:
            connection.execute(update(_ENDPOINTS).where(*_is_shown(tenant_id, endpoint_id)).values(values))
        secret = None
        if "url" in changes and not _is_same_origin(changes["url"], before.url):
            connection.execute(delete(_SECRETS).where(*_is_secret_of(tenant_id, endpoint_id)))
            secret = _add_secret(runtime, connection, tenant_id, endpoint_id)
        detail = {**changes, "has_new_secret": secret is not None}
        _audit(connection, tenant_id, actor, "endpoint_changed", endpoint_id, detail)
        shown = present_endpoint(find_endpoint(connection, tenant_id, endpoint_id))
    return shown if secret is None else {**shown, "secret": secret}


def delete_endpoint(runtime: Runtime, tenant_id: uuid.UUID, endpoint_id: uuid.UUID, actor: str) -> None:
    """Delete an endpoint and its secrets; deliveries that wait for it end. Raise RequestRejected (404)."""
    with runtime.database.transaction("clerk", tenant_id, by_keys="few") as connection:
        before = find_endpoint(connection, tenant_id, endpoint_id, is_locked=True)
        connection.execute(delete(_SECRETS).where(*_is_secret_of(tenant_id, endpoint_id)))
        connection.execute(delete(_BREAKERS).where(_BREAKERS.c.endpoint_id == endpoint_id))
        connection.execute(update(_ENDPOINTS).where(*_is_shown(tenant_id, endpoint_id)).values(deleted_at=func.now()))
        end_waiting(connection, tenant_id, endpoint_id, "the endpoint is deleted")
        _audit(connection, tenant_id, actor, "endpoint_deleted", endpoint_id, {"url": before.url})


def rotate_secret(
    runtime: Runtime, tenant_id: uuid.UUID, endpoint_id: uuid.UUID, overlap_seconds: int, actor: str
) -> dict[str, Any]:
    """Give an endpoint a new secret and return it with that; the present ones sign too for `overlap_seconds`.

    Raise RequestRejected (404).
    """
    with runtime.database.transaction("clerk", tenant_id) as connection:
        row = find_endpoint(connection, tenant_id, endpoint_id, is_locked=True)
        end = func.now() + datetime.timedelta(seconds=overlap_seconds)
        of_endpoint = _is_secret_of(tenant_id, endpoint_id)
        is_later = or_(_SECRETS.c.ends_at.is_(None), _SECRETS.c.ends_at > end)
        connection.execute(update(_SECRETS).where(*of_endpoint, is_later).values(ends_at=end))
        # The newest of the present ones; an older one is not used any more.
        kept = select(_SECRETS.c.id).where(*of_endpoint).order_by(_SECRETS.c.id.desc()).limit(SECRETS_MAX - 1)
        is_over = or_(_SECRETS.c.ends_at <= func.now(), _SECRETS.c.id.not_in(kept.correlate(None)))
        connection.execute(delete(_SECRETS).where(*of_endpoint, is_over))
        secret = _add_secret(runtime, connection, tenant_id, endpoint_id)
        detail = {"overlap_seconds": overlap_seconds}
        _audit(connection, tenant_id, actor, "endpoint_secret_rotated", endpoint_id, detail)
    return {**present_endpoint(row), "secret": secret}


def present_endpoint(row: Row[Any]) -> dict[str, Any]:
    """Return an endpoint as callers see it."""
    return {
        "id": str(row.id),
        "url": row.url,
        "event_types": row.event_types,
        "description": row.description,
        "status": "enabled" if row.disabled_at is None else "disabled",
        "disabled_reason": row.disabled_reason,
        "created_at": format_time(row.created_at),
    }


def _check_url(runtime: Runtime, url: str) -> None:
    try:
        runtime.endpoint_posts.check(url)
    except AddressRefused as error:
        errors = [{"field": "url", "message": str(error)}]
        raise RequestRejected(422, "The request has errors.", errors) from None


def _is_same_origin(url: str, other: str) -> bool:
    origin = read_origin(url)
    return origin is not None and origin == read_origin(other)


def _is_shown(tenant_id: uuid.UUID, endpoint_id: uuid.UUID | None = None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_ENDPOINTS.c.tenant_id == tenant_id, _ENDPOINTS.c.deleted_at.is_(None)]
    return conditions if endpoint_id is None else [*conditions, _ENDPOINTS.c.id == endpoint_id]


def _is_secret_of(tenant_id: uuid.UUID, endpoint_id: uuid.UUID) -> tuple[ColumnElement[bool], ...]:
    return _SECRETS.c.tenant_id == tenant_id, _SECRETS.c.endpoint_id == endpoint_id


def find_endpoint(
    connection: Connection, tenant_id: uuid.UUID, endpoint_id: uuid.UUID, *, is_locked: bool = False
) -> Row[Any]:
    """Return the endpoint's row. Raise RequestRejected (404)."""
    wanted = select(*_SHOWN).where(*_is_shown(tenant_id, endpoint_id))
    row = connection.execute(wanted.with_for_update(key_share=True) if is_locked else wanted).first()
    if row is None:
        raise RequestRejected(404, "There is no such webhook endpoint.")
    return row


def _add_secret(runtime: Runtime, connection: Connection, tenant_id: uuid.UUID, endpoint_id: uuid.UUID) -> str:
    secret = encode_secret(secrets.token_bytes(SECRET_BYTES))
    values = {"tenant_id": tenant_id, "endpoint_id": endpoint_id, "secret_encrypted": runtime.vault.encrypt(secret)}
    connection.execute(insert(_SECRETS).values(id=new_id(), **values))
    return secret


def _audit(
    connection: Connection,
    tenant_id: uuid.UUID,
    actor: str,
    kind: str,
    endpoint_id: uuid.UUID,
    detail: Mapping[str, Any],
) -> None:
    about = {"endpoint_id": str(endpoint_id), **detail}
    audit.write(connection, [AuditRow(tenant_id, actor, kind, about)])
