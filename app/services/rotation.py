"""Re-encrypts what is stored encrypted with the first of SLUICE_ENCRYPTION_KEYS."""

from __future__ import annotations

import uuid

from sqlalchemy import text

from app.runtime import Runtime
from app.services.configuration import write_audit

# Short transactions: a provider that is being rotated can be read, but not changed meanwhile.
BATCH_ROWS = 100

# All columns that the vault's keys protect: table, column.
ENCRYPTED = (("payment_providers", "api_key_encrypted"), ("provider_secrets", "secret_encrypted"))


def rotate_encryption(runtime: Runtime, actor: str) -> int:
    """Re-encrypts every stored secret with the first key and audits it; returns how many there were.

    May be broken off and repeated. Raises VaultError where no configured key fits one of them; those before it are
    done by then.
    """
    return sum(_rotate_column(runtime, table, column, actor) for table, column in ENCRYPTED)


def _rotate_column(runtime: Runtime, table: str, column: str, actor: str) -> int:
    done, after = 0, uuid.UUID(int=0)
    read = text(
        f"select id, tenant_id, {column} as secret from {table} where id > :after"  # noqa: S608  # nosec B608  # constants
        " order by id limit :rows for no key update"
    )
    write = text(f"update {table} set {column} = :secret where id = :id")  # noqa: S608  # nosec B608  # constants
    while True:
        with runtime.database.transaction("operator") as connection:
            rows = connection.execute(read, {"after": after, "rows": BATCH_ROWS}).all()
            if not rows:
                return done
            connection.execute(write, [{"id": row.id, "secret": runtime.vault.rotate(row.secret)} for row in rows])
            for tenant_id in sorted({row.tenant_id for row in rows}):
                write_audit(connection, tenant_id, actor, "secrets_reencrypted", {"table": table})
        done, after = done + len(rows), rows[-1].id
