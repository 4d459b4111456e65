"""Post the two legs of a debit or of its reversal: a user's wallet and the tenant's spending wallet."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from app.services.ledger.legs import LEG_COLUMNS, TRANSFER_COLUMNS, RunningWallet
from app.services.ledger.shards import move_shard
from models import buffer, new_id, prepared, read, tables
from models.array_params import rows_of

DESCRIPTIONS = {"debit": "Debit", "debit_reversal": "Debit given back"}

# Two statements, so that the second sees what the last owner of the lock has committed. All that takes from a wallet,
# and every new hold of a refund, locks it: what is available cannot fall while the lock is kept.
_LOCK = prepared(
    """
    select from wallets where tenant_id = :tenant_id and user_id = :user_id and currency = :currency and kind = 'user'
    for no key update
    """,
    """
    select w.id, w.balance_minor, w.version, (
        select coalesce(sum(l.amount_minor), 0) from wallet_temp_logs l where l.tenant_id = w.tenant_id
            and l.user_id = w.user_id and l.currency = w.currency and l.kind = 'refund' and l.state = 'held'
        ) as held_minor
    from wallets w
    where w.tenant_id = :tenant_id and w.user_id = :user_id and w.currency = :currency and w.kind = 'user'
    """,
)
_MOVE = prepared(
    """
    update wallets set balance_minor = balance_minor + cast(:moved_minor as bigint), version = version + 1,
        updated_at = now() where id = :id
    """
)
_ENTRIES = rows_of(tables.wallet_transactions, "tenant_id", "debit_id", *TRANSFER_COLUMNS, *LEG_COLUMNS)
_INSERT = prepared(_ENTRIES.insert())


@dataclass(frozen=True, slots=True)
class DebitTransfer:
    """Money between a user's wallet and the spending wallet. `key` is its type as well, and unique per debit."""

    tenant_id: uuid.UUID
    debit_id: uuid.UUID
    key: Literal["debit", "debit_reversal"]
    currency: str
    amount_minor: int
    description: str | None = None


def lock_wallet(
    connection: Connection, tenant_id: uuid.UUID, user_id: str, currency: str
) -> tuple[RunningWallet | None, int]:
    """Lock a user's wallet; return it with what is available in it: None and 0 where it was never opened."""
    wanted = {"tenant_id": tenant_id, "user_id": user_id, "currency": currency}
    for row in read(connection, _LOCK, wanted):
        return RunningWallet(row.id, row.balance_minor, row.version), row.balance_minor - int(row.held_minor)
    return None, 0


def post(connection: Connection, wallet: RunningWallet, transfer: DebitTransfer) -> dict[str, object]:
    """Write the new balances and both entries; `wallet` is the locked user's. Return the details for the audit.

    Raise sqlalchemy.exc.IntegrityError, at the latest with the commit, where the debit's key was posted before.
    """
    sign = -1 if transfer.key == "debit" else 1
    description = transfer.description or DESCRIPTIONS[transfer.key]
    shared = (new_id(), transfer.key, transfer.currency, transfer.key, description)
    buffer(connection, _MOVE, {"id": wallet.id, "moved_minor": sign * transfer.amount_minor})
    spending = move_shard(
        connection, "spending", transfer.tenant_id, None, transfer.currency, -sign * transfer.amount_minor, entries=1
    )
    legs = (wallet.enter(sign, transfer.amount_minor), spending.enter(-sign, transfer.amount_minor))
    rows = [(transfer.tenant_id, transfer.debit_id, *shared, *leg) for leg in legs]
    buffer(connection, _INSERT, _ENTRIES.encode(rows))
    return {
        "transfer": dict(zip(TRANSFER_COLUMNS, shared, strict=True)),
        "entries": [dict(zip(LEG_COLUMNS, leg, strict=True)) for leg in legs],
    }
