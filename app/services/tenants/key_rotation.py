"""Re-encrypts all encrypted columns with the first of SLUICE_ENCRYPTION_KEYS."""

from __future__ import annotations

import uuid

from sqlalchemy import Table, bindparam, select, update

from app.runtime.runtime import Runtime
from app.runtime.vault import VaultError
from app.services.tenants.changes import write_audit
from models import tables

# Rows per transaction: while it runs, its providers can be read but not changed.
BATCH_ROWS = 100

# All encrypted columns: kind of secret, table, column, and the column with the id of what it belongs to.
ENCRYPTED = (
    ("credentials of provider", tables.payment_providers, "credentials_encrypted", "id"),
    ("webhook secret of provider", tables.provider_secrets, "secret_encrypted", "provider_id"),
    ("payer's details of payment", tables.payment_details, "details_encrypted", "payment_id"),
    ("create call of payment", tables.payment_details, "request_encrypted", "payment_id"),
    ("secret of webhook endpoint", tables.endpoint_secrets, "secret_encrypted", "endpoint_id"),
    ("token of the URL for pokes of provider", tables.poke_tokens, "token_encrypted", "provider_id"),
)
# So many unreadable secrets are named; details of payments can be many.
NAMED_MAX = 20


def rotate_encryption(runtime: Runtime, actor: str) -> int:
    """Re-encrypt every stored secret with the first key and audit it; return their number.

    May be interrupted and repeated. Raise VaultError that names the secrets which no configured key decrypts, after all
    others were re-encrypted.
    """
    done, unreadable = 0, list[str]()
    for kind, table, column, owner in ENCRYPTED:
        rotated, left = _rotate_column(runtime, table, column, owner, actor)
        done += rotated
        unreadable += [f"{kind} {owner_id}" for owner_id in left]
    if unreadable:
        others = f" and {len(unreadable) - NAMED_MAX} others" if len(unreadable) > NAMED_MAX else ""
        raise VaultError(
            f"{done} secrets are encrypted with the first key; no key of SLUICE_ENCRYPTION_KEYS decrypts"
            f" the {', the '.join(unreadable[:NAMED_MAX])}{others}"
        )
    return done


def _rotate_column(runtime: Runtime, table: Table, column: str, owner: str, actor: str) -> tuple[int, list[uuid.UUID]]:
    """Return the number of secrets re-encrypted, and the owners of the unreadable ones."""
    done, after, unreadable = 0, uuid.UUID(int=0), list[uuid.UUID]()
    (key,) = table.primary_key.columns
    query = select(
        key.label("id"), table.c.tenant_id, table.c[owner].label("owner_id"), table.c[column].label("secret")
    )
    query = query.where(table.c[column].is_not(None)).order_by(key).limit(BATCH_ROWS).with_for_update(key_share=True)
    write = update(table).where(key == bindparam("secret_id")).values({column: bindparam("secret")})
    while True:
        with runtime.database.transaction("operator") as connection:
            rows = connection.execute(query.where(key > after)).all()
            if not rows:
                return done, unreadable
            secrets = {row.id: _rotate(runtime, row.secret) for row in rows}
            written = [{"secret_id": secret_id, "secret": secret} for secret_id, secret in secrets.items() if secret]
            if written:
                connection.execute(write, written)
            for tenant_id in sorted({row.tenant_id for row in rows if secrets[row.id]}):
                write_audit(connection, tenant_id, actor, "secrets_reencrypted", {"table": table.name})
        unreadable += [row.owner_id for row in rows if not secrets[row.id]]
        done, after = done + len(written), rows[-1].id


def _rotate(runtime: Runtime, secret: bytes) -> bytes | None:
    try:
        return runtime.vault.rotate(secret)
    except VaultError:
        return None
