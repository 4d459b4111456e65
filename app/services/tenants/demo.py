"""The demo tenant of `sluice up`, and client tokens for its page."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, bindparam, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from app.core.payment import format_time
from app.runtime.runtime import runtime
from app.services.access.callers import create_client_token, parse_credential
from app.services.tenants.provider_status import name_currencies
from models import single, tables
from models.sql import columns

_PROVIDERS, _TENANTS = tables.payment_providers, tables.tenants
# What a deposit with a client token may name, the default first.
_CHOICES = single(
    select(
        *columns(_PROVIDERS, "id", "name", "adapter", "currencies"),
        (_PROVIDERS.c.id == _TENANTS.c.default_provider_id).label("is_default"),
    )
    .join_from(_PROVIDERS, _TENANTS, _TENANTS.c.id == _PROVIDERS.c.tenant_id)
    .where(
        _PROVIDERS.c.tenant_id == bindparam("tenant_id"),
        _PROVIDERS.c.disabled_at.is_(None),
        or_(_PROVIDERS.c.client_selectable, _PROVIDERS.c.id == _TENANTS.c.default_provider_id),
    )
    .order_by((_PROVIDERS.c.id == _TENANTS.c.default_provider_id).desc(), _PROVIDERS.c.name)
)


def mint_demo_token(user_id: str) -> dict[str, str | None]:
    """Return a client token for a user of the demo tenant: `{token, expires_at, sockets_url, user_id}`."""
    current = runtime()
    tenant_id = uuid.UUID(current.settings.required("demo_tenant_id"))
    key_id = uuid.UUID(current.settings.required("demo_key_id"))
    token, expires_at = create_client_token(current, tenant_id, key_id, user_id)
    return {
        "token": token,
        "expires_at": format_time(expires_at),
        "sockets_url": current.settings.sockets_public_url or current.settings.public_url,
        "user_id": user_id,
    }


def list_demo_choices() -> list[dict[str, Any]]:
    """Return the providers that a deposit on the demo page may name, the default first, then by name.

    Each is `{id, name, is_default, currencies, needs}`; `needs` names what the provider requires of a deposit.
    """
    current = runtime()
    tenant_id = uuid.UUID(current.settings.required("demo_tenant_id"))
    capabilities = current.registry.capabilities
    return [
        {
            "id": str(row.id),
            "name": row.name,
            "is_default": bool(row.is_default),
            "currencies": name_currencies(row.currencies),
            "needs": list(capabilities[row.adapter].required_fields) if row.adapter in capabilities else [],
        }
        for row in current.database.run_single("web", _CHOICES, {"tenant_id": tenant_id}, tenant_id)
    ]


def ensure_demo_key(connection: Connection, tenant_id: uuid.UUID, key_id: uuid.UUID, plain: str) -> None:
    """Store the demo tenant's secret key unless it exists."""
    credential = parse_credential(plain)
    assert credential is not None  # noqa: S101  # demo.json was written by ourselves
    values = {"public_part": credential.public_part, "secret_sha256": credential.secret_sha256, "role": "admin"}
    key = insert(tables.api_keys).values(id=key_id, tenant_id=tenant_id, label="demo", **values)
    connection.execute(key.on_conflict_do_nothing(index_elements=["id"]))


def move_demo_tenant(
    connection: Connection,
    tenant_id: uuid.UUID,
    provider_id: uuid.UUID,
    emulated_ids: Collection[uuid.UUID],
    origin: str,
    sandbox_url: str,
) -> None:
    """Give the demo tenant this stack's addresses: the page's origin and return URLs, the sandbox's and emulators'."""
    tenants, providers = tables.tenants, tables.payment_providers
    connection.execute(
        update(tenants)
        .where(tenants.c.id == tenant_id)
        .values(
            allowed_origins=[origin.lower()],
            default_success_url=f"{origin}/demo?returned=success",
            default_failure_url=f"{origin}/demo?returned=failure",
        )
    )
    provider = update(providers).where(providers.c.id == provider_id, providers.c.tenant_id == tenant_id)
    connection.execute(provider.values(api_base_url=sandbox_url))
    emulated = update(providers).where(providers.c.tenant_id == tenant_id, providers.c.id.in_(emulated_ids))
    connection.execute(emulated.values(api_base_url=literal(f"{sandbox_url}/") + providers.c.adapter))
