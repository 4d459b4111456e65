"""The demo tenant of `sluice up`, and client tokens for its page."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, update
from sqlalchemy.dialects.postgresql import insert

from app.core.payment import format_time
from app.runtime.runtime import runtime
from app.services.access.callers import create_client_token, parse_credential
from models import tables


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


def ensure_demo_key(connection: Connection, tenant_id: uuid.UUID, key_id: uuid.UUID, plain: str) -> None:
    """Store the demo tenant's secret key unless it exists."""
    credential = parse_credential(plain)
    assert credential is not None  # noqa: S101  # demo.json was written by ourselves
    values = {"public_part": credential.public_part, "secret_sha256": credential.secret_sha256, "role": "admin"}
    key = insert(tables.api_keys).values(id=key_id, tenant_id=tenant_id, label="demo", **values)
    connection.execute(key.on_conflict_do_nothing(index_elements=["id"]))


def move_demo_tenant(
    connection: Connection, tenant_id: uuid.UUID, provider_id: uuid.UUID, origin: str, sandbox_url: str
) -> None:
    """Give the demo tenant this stack's addresses: the page's origin and return URLs, and the sandbox's URL."""
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
