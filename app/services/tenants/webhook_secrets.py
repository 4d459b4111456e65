"""A provider's permanent webhook secrets: one for each address that is registered there."""

from __future__ import annotations

import datetime
import hmac
import uuid
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select, update

from app.core.signatures import Scheme
from app.providers.connectable import SignsWithCredential
from app.runtime.runtime import Runtime
from app.runtime.vault import VaultError
from app.services.access.senders import forget_sender
from app.services.tenants.changes import ConfigurationError, read_rows, write_audit
from app.services.tenants.providers import find_adapter, insert_secret, new_webhook_secret
from models import tables
from models.sql import columns

# A delivery is compared with each of them.
ACTIVE_MAX = 10

_SECRETS, _PROVIDERS = tables.provider_secrets, tables.payment_providers
_IS_ACTIVE = or_(_SECRETS.c.ends_at.is_(None), _SECRETS.c.ends_at > func.now())


def add_secret(
    runtime: Runtime, provider_id: uuid.UUID, secret: str, actor: str, registration: str | None = None
) -> uuid.UUID:
    """Let webhooks be signed with `secret` too, without an end; return its id, also where it was there before.

    `registration`: the provider's id of the address that signs with it, where Sluice registered it there.
    Raise ConfigurationError for an unknown provider, a secret that does not fit its scheme, or one too many.
    """
    with runtime.database.transaction("operator") as connection:
        provider = _lock(connection, provider_id)
        try:
            find_adapter(runtime, provider.adapter).check_secret(Scheme(provider.webhook_scheme), secret)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        active = connection.execute(
            select(*columns(_SECRETS, "id", "secret_encrypted", "ends_at")).where(
                _SECRETS.c.provider_id == provider_id, _IS_ACTIVE
            )
        ).all()
        for row in active:
            if row.ends_at is None and _is_same(runtime, row.secret_encrypted, secret):
                return uuid.UUID(str(row.id))
        if len(active) >= ACTIVE_MAX:
            raise ConfigurationError(f"it has {len(active)} valid secrets: end one first")
        secret_id = insert_secret(runtime, connection, provider.tenant_id, provider_id, secret, registration)
        about = {"provider_id": str(provider_id), "secret_id": str(secret_id)}
        write_audit(connection, provider.tenant_id, actor, "provider_secret_added", about)
    forget_sender(provider_id)
    return secret_id


def find_registration(runtime: Runtime, provider_id: uuid.UUID) -> str | None:
    """Return the newest address that Sluice registered at the provider and whose secret is valid, or None."""
    is_known = (
        _SECRETS.c.provider_id == provider_id,
        _SECRETS.c.registration.is_not(None),
        _SECRETS.c.ends_at.is_(None),
    )
    newest = select(_SECRETS.c.registration).where(*is_known).order_by(_SECRETS.c.id.desc()).limit(1)
    with runtime.database.transaction("operator") as connection:
        found: str | None = connection.execute(newest).scalar()
    return found


def list_secrets(runtime: Runtime, provider_id: uuid.UUID) -> list[dict[str, Any]]:
    """Return a provider's secrets, oldest first, without what they say."""
    shown = select(*columns(_SECRETS, "id", "created_at", "ends_at"), _IS_ACTIVE.label("is_active"))
    return read_rows(runtime, shown.where(_SECRETS.c.provider_id == provider_id).order_by(_SECRETS.c.created_at))


def rotate_secret(
    runtime: Runtime, provider_id: uuid.UUID, overlap_seconds: int, actor: str, given: str | None = None
) -> str:
    """Add a webhook secret, `given` or a new one; the present ones stay valid for `overlap_seconds`.

    Return the secret. Raise ConfigurationError for an unknown provider, a secret that does not fit its scheme, or where
    a credential signs.
    """
    secret = given or new_webhook_secret()
    with runtime.database.transaction("operator") as connection:
        provider = _lock(connection, provider_id)
        adapter = find_adapter(runtime, provider.adapter)
        if isinstance(adapter, SignsWithCredential):
            signing = adapter.secret_credential
            raise ConfigurationError(f"its webhooks are signed with {signing}: replace that by `providers update`")
        try:
            adapter.check_secret(Scheme(provider.webhook_scheme), secret)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        replace_secret(runtime, connection, provider.tenant_id, provider_id, secret, overlap_seconds)
        detail = {"provider_id": str(provider_id), "overlap_seconds": overlap_seconds}
        write_audit(connection, provider.tenant_id, actor, "provider_secret_rotated", detail)
    forget_sender(provider_id)
    return secret


def replace_secret(
    runtime: Runtime,
    connection: Connection,
    tenant_id: uuid.UUID,
    provider_id: uuid.UUID,
    secret: str,
    overlap_seconds: int,
) -> None:
    """Store a secret; the present ones are valid for `overlap_seconds` more at most. Its caller holds the provider."""
    end = func.now() + datetime.timedelta(seconds=overlap_seconds)
    is_later = or_(_SECRETS.c.ends_at.is_(None), _SECRETS.c.ends_at > end)
    connection.execute(update(_SECRETS).where(_SECRETS.c.provider_id == provider_id, is_later).values(ends_at=end))
    insert_secret(runtime, connection, tenant_id, provider_id, secret)


def end_secret(runtime: Runtime, provider_id: uuid.UUID, secret_id: uuid.UUID, actor: str) -> None:
    """Let a secret be valid no longer. Raise ConfigurationError where it is not valid, or the only one."""
    with runtime.database.transaction("operator") as connection:
        provider = _lock(connection, provider_id)
        of_provider = (_SECRETS.c.provider_id == provider_id, _IS_ACTIVE)
        active = set(connection.execute(select(_SECRETS.c.id).where(*of_provider)).scalars())
        if secret_id not in active:
            raise ConfigurationError(f"the provider has no valid secret {secret_id}")
        if len(active) == 1:
            raise ConfigurationError("it is the only valid secret of the provider: add another one first")
        connection.execute(update(_SECRETS).where(_SECRETS.c.id == secret_id).values(ends_at=func.now()))
        about = {"provider_id": str(provider_id), "secret_id": str(secret_id)}
        write_audit(connection, provider.tenant_id, actor, "provider_secret_ended", about)
    forget_sender(provider_id)


def _lock(connection: Connection, provider_id: uuid.UUID) -> Row[Any]:
    locked = select(*columns(_PROVIDERS, "tenant_id", "adapter", "webhook_scheme")).with_for_update(key_share=True)
    row = connection.execute(locked.where(_PROVIDERS.c.id == provider_id)).first()
    if row is None:
        raise ConfigurationError(f"there is no provider {provider_id}")
    return row


def _is_same(runtime: Runtime, encrypted: bytes, secret: str) -> bool:
    try:
        return hmac.compare_digest(runtime.vault.decrypt(encrypted).encode(), secret.encode())
    except VaultError:
        # Encrypted with a lost key: nobody can compare it.
        return False
