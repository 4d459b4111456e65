"""The demo tenant of `sluice up`, and the tokens that its page may ask for."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, text

from app.core.payment import format_time
from app.runtime.runtime import runtime
from app.services.access.callers import create_client_token, parse_credential


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
    """Store the demo tenant's secret key, unless it is there already."""
    credential = parse_credential(plain)
    assert credential is not None  # noqa: S101  # demo.json was written by ourselves
    connection.execute(
        text(
            "insert into api_keys (id, tenant_id, public_part, secret_sha256, role, label)"
            " values (:id, :tenant_id, :public_part, :sha256, 'admin', 'demo') on conflict (id) do nothing"
        ),
        {
            "id": key_id,
            "tenant_id": tenant_id,
            "public_part": credential.public_part,
            "sha256": credential.secret_sha256,
        },
    )


def move_demo_tenant(
    connection: Connection, tenant_id: uuid.UUID, provider_id: uuid.UUID, origin: str, sandbox_url: str
) -> None:
    """Point the demo tenant at where this stack runs now: its page's origin and return URLs, and the sandbox."""
    connection.execute(
        text(
            "update tenants set allowed_origins = array[lower(:origin)], default_success_url = :success,"
            " default_failure_url = :failure where id = :id"
        ),
        {
            "id": tenant_id,
            "origin": origin,
            "success": f"{origin}/demo?returned=success",
            "failure": f"{origin}/demo?returned=failure",
        },
    )
    connection.execute(
        text("update payment_providers set api_base_url = :url where id = :id and tenant_id = :tenant_id"),
        {"url": sandbox_url, "id": provider_id, "tenant_id": tenant_id},
    )
