"""Tokens of the URLs for notifications that nobody signs: shown once, stored hashed, and encrypted for workers."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import Connection, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from app.providers import poke_urls
from app.runtime.runtime import Runtime
from app.services.access.poke_senders import forget_poked
from app.services.tenants.changes import ConfigurationError, write_audit
from models import new_id, tables
from models.sql import columns


def insert_token(
    runtime: Runtime, connection: Connection, tenant_id: uuid.UUID, provider_id: uuid.UUID, token: str
) -> None:
    """Store a token."""
    values = {"id": new_id(), "tenant_id": tenant_id, "provider_id": provider_id}
    stored = {"token_sha256": poke_urls.hash_token(token), "token_encrypted": runtime.vault.encrypt(token)}
    connection.execute(insert(tables.poke_tokens).values(**values, **stored))


def rotate_token(runtime: Runtime, provider_id: uuid.UUID, overlap_seconds: int, actor: str) -> str:
    """Add a token, which new payments name from now on; the present ones stay valid for `overlap_seconds`.

    Return it. Raise ConfigurationError for a provider that is unknown, or whose webhooks are all signed.
    """
    providers, tokens = tables.payment_providers, tables.poke_tokens
    token = poke_urls.new_token()
    end = func.now() + datetime.timedelta(seconds=overlap_seconds)
    with runtime.database.transaction("operator") as connection:
        locked = select(*columns(providers, "tenant_id", "adapter")).with_for_update(key_share=True)
        row = connection.execute(locked.where(providers.c.id == provider_id)).first()
        if row is None:
            raise ConfigurationError(f"there is no provider {provider_id}")
        adapter = runtime.adapters.get(row.adapter)
        if adapter is None or not adapter.poke_types:
            raise ConfigurationError(f"all webhooks of the adapter {row.adapter!r} are signed: it has no such URL")
        is_later = or_(tokens.c.ends_at.is_(None), tokens.c.ends_at > end)
        connection.execute(update(tokens).where(tokens.c.provider_id == provider_id, is_later).values(ends_at=end))
        insert_token(runtime, connection, row.tenant_id, provider_id, token)
        detail = {"provider_id": str(provider_id), "overlap_seconds": overlap_seconds}
        write_audit(connection, row.tenant_id, actor, "provider_poke_url_rotated", detail)
    forget_poked(provider_id)
    return token
