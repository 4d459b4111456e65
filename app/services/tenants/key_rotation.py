"""Re-encrypts what is stored encrypted with the first of SLUICE_ENCRYPTION_KEYS."""

from __future__ import annotations

import uuid

from sqlalchemy import text

from app.runtime.runtime import Runtime
from app.runtime.vault import VaultError
from app.services.tenants.changes import write_audit

# Short transactions: a provider that is being rotated can be read, but not changed meanwhile.
BATCH_ROWS = 100

# All columns that the vault's keys protect: table, column.
ENCRYPTED = (("payment_providers", "api_key_encrypted"), ("provider_secrets", "secret_encrypted"))
_NAMES = {"payment_providers": "API key", "provider_secrets": "webhook secret"}


def rotate_encryption(runtime: Runtime, actor: str) -> int:
    """Re-encrypt every stored secret with the first key and audit it; return how many there were.

    May be broken off and repeated. Raise VaultError where no configured key fits some of them, which it names; all
    others are done by then.
    """
    done, unreadable = 0, list[str]()
    for table, column in ENCRYPTED:
        rotated, left = _rotate_column(runtime, table, column, actor)
        done += rotated
        unreadable += left
    if unreadable:
        raise VaultError(
            f"{done} secrets are encrypted with the first key; no key of SLUICE_ENCRYPTION_KEYS decrypts"
            f" the {', the '.join(unreadable)}"
        )
    return done


def _rotate_column(runtime: Runtime, table: str, column: str, actor: str) -> tuple[int, list[str]]:
    """Return how many secrets were re-encrypted, and which could not be read."""
    done, after, unreadable = 0, uuid.UUID(int=0), list[str]()
    provider = "id" if table == "payment_providers" else "provider_id"
    read = text(
        f"select id, tenant_id, {provider} as provider_id, {column} as secret from {table} where id > :after"  # noqa: S608  # nosec B608  # constants
        " order by id limit :rows for no key update"
    )
    write = text(f"update {table} set {column} = :secret where id = :id")  # noqa: S608  # nosec B608  # constants
    while True:
        with runtime.database.transaction("operator") as connection:
            rows = connection.execute(read, {"after": after, "rows": BATCH_ROWS}).all()
            if not rows:
                return done, unreadable
            secrets = {row.id: _rotate(runtime, row.secret) for row in rows}
            written = [{"id": secret_id, "secret": secret} for secret_id, secret in secrets.items() if secret]
            if written:
                connection.execute(write, written)
            for tenant_id in sorted({row.tenant_id for row in rows if secrets[row.id]}):
                write_audit(connection, tenant_id, actor, "secrets_reencrypted", {"table": table})
        unreadable += [f"{_NAMES[table]} of provider {row.provider_id}" for row in rows if not secrets[row.id]]
        done, after = done + len(written), rows[-1].id


def _rotate(runtime: Runtime, secret: bytes) -> bytes | None:
    try:
        return runtime.vault.rotate(secret)
    except VaultError:
        return None
