"""Move wallets that are no user's: a provider's clearing and suspense wallets, a tenant's spending wallet.

Each is a number of rows, its shards: transactions take different ones, so that they do not queue behind each other on
one row. A shard is locked last, after the users' wallets.
"""

from __future__ import annotations

import random
import uuid
from typing import Literal

from sqlalchemy import Connection

from app.services.ledger.legs import RunningWallet
from models import buffer, new_id, prepared, read

SHARDS = 8

# A free shard is taken; only where all are busy does the second form wait for one.
_MOVE = """
    with shard as (
        select id from wallets
        where tenant_id = :tenant_id and currency = :currency and {owner}
          {choice} for no key update {waiting}
    )
    update wallets w set balance_minor = w.balance_minor + cast(:moved_minor as bigint),
        version = w.version + cast(:entries as bigint), updated_at = now()
    from shard where w.id = shard.id
    returning w.id, w.balance_minor - cast(:moved_minor as bigint), w.version - cast(:entries as bigint)
"""
Kind = Literal["clearing", "spending", "suspense"]
_OWNERS: dict[Kind, str] = {
    "clearing": "kind = 'clearing' and provider_id = :provider_id",
    "spending": "kind = 'spending'",
    "suspense": "kind = 'suspense' and provider_id = :provider_id",
}
_MOVE_FREE = {
    kind: prepared(
        _MOVE.format(owner=owner, choice="order by (shard + :start) % :shards limit 1", waiting="skip locked")
    )
    for kind, owner in _OWNERS.items()
}
_MOVE_ANY = {
    kind: prepared(_MOVE.format(owner=owner, choice="and shard = :start", waiting=""))
    for kind, owner in _OWNERS.items()
}
_NEW = prepared(
    """
    insert into wallets (id, tenant_id, kind, provider_id, shard, currency)
    select id, :tenant_id, :kind, :provider_id, number - 1, :currency
    from unnest(cast(:ids as uuid[])) with ordinality as s(id, number)
    on conflict do nothing
    """
)


def move_shard(
    connection: Connection,
    kind: Kind,
    tenant_id: uuid.UUID,
    provider_id: uuid.UUID | None,
    currency: str,
    moved_minor: int,
    entries: int,
) -> RunningWallet:
    """Write the new balance of a shard of a wallet; a spending wallet is the tenant's and has no provider.

    Return the shard as it was before.
    """
    # Which shard is tried first needs to differ between transactions, not to be secret.
    start = random.randrange(SHARDS)  # noqa: S311  # nosec B311
    parameters: dict[str, object] = {"tenant_id": tenant_id, "provider_id": provider_id, "currency": currency}
    parameters |= {"kind": kind, "shards": SHARDS, "start": start, "moved_minor": moved_minor, "entries": entries}
    rows = read(connection, _MOVE_FREE[kind], parameters)
    if not rows:
        buffer(connection, _NEW, parameters | {"ids": [new_id() for _ in range(SHARDS)]})
        rows = read(connection, _MOVE_FREE[kind], parameters) or read(connection, _MOVE_ANY[kind], parameters)
    return RunningWallet(*rows[0])
