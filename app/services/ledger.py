"""The books: transfers between a provider's clearing wallet and users' wallets, in sets, append-only."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, text

from app.core.decision import Transfer
from app.core.errors import InvariantBroken
from app.core.payments import Payment
from models import new_id

# Workers take different shards of a clearing wallet, so that they do not queue behind each other on one row.
CLEARING_SHARDS = 8

DESCRIPTIONS = {"deposit": "Payment deposit from external provider", "reversal": "Reversal by the external provider"}

UserKey = tuple[uuid.UUID, str, str]
ClearingKey = tuple[uuid.UUID, uuid.UUID, str]


@dataclass(slots=True)
class _Wallet:
    """A locked wallet and its running balance and version while a batch is posted."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    currency: str
    balance_minor: int
    version: int


@dataclass(frozen=True, slots=True)
class Posting:
    """A transfer to be posted for a payment. A deposit goes into the user's wallet, a reversal out of it."""

    payment: Payment
    transfer: Transfer


def post(connection: Connection, postings: list[Posting]) -> dict[uuid.UUID, list[dict[str, object]]]:
    """Writes two entries per posting and the new balances; returns the entries by payment, as the audit keeps them.

    Locks user wallets in the order of their ids, a clearing shard last. Raises sqlalchemy.exc.IntegrityError where a
    transfer key was posted before: the unique key is what makes a credit happen once.
    """
    if not postings:
        return {}
    users = _lock_user_wallets(connection, {_user_key(posting) for posting in postings})
    clearing = _lock_clearing_shards(connection, {_clearing_key(posting) for posting in postings})
    rows: list[dict[str, object]] = []
    audited: dict[uuid.UUID, list[dict[str, object]]] = {}
    for posting in postings:
        sign = 1 if posting.transfer.type == "deposit" else -1
        transfer_id = new_id()
        legs = [(users[_user_key(posting)], sign), (clearing[_clearing_key(posting)], -sign)]
        entries = [_leg(posting, transfer_id, wallet, direction) for wallet, direction in legs]
        rows += entries
        audited.setdefault(posting.payment.id, []).extend(_audited(entry) for entry in entries)
    _write(connection, rows, [*users.values(), *clearing.values()])
    return audited


def _user_key(posting: Posting) -> UserKey:
    return (posting.payment.tenant_id, posting.payment.user_id, posting.transfer.currency)


def _clearing_key(posting: Posting) -> ClearingKey:
    return (posting.payment.tenant_id, posting.payment.provider_id, posting.transfer.currency)


def _leg(posting: Posting, transfer_id: uuid.UUID, wallet: _Wallet, direction: int) -> dict[str, object]:
    before = wallet.balance_minor
    wallet.balance_minor += direction * posting.transfer.amount_minor
    wallet.version += 1
    return {
        "id": new_id(),
        "tenant_id": wallet.tenant_id,
        "transfer_id": transfer_id,
        "transfer_key": posting.transfer.key,
        "payment_id": posting.payment.id,
        "wallet_id": wallet.id,
        "wallet_version": wallet.version,
        "currency": wallet.currency,
        "direction": direction,
        "amount_minor": posting.transfer.amount_minor,
        "balance_before_minor": before,
        "balance_after_minor": wallet.balance_minor,
        "type": posting.transfer.type,
        "description": DESCRIPTIONS[posting.transfer.type],
    }


def _audited(entry: dict[str, object]) -> dict[str, object]:
    return {key: str(value) if isinstance(value, uuid.UUID) else value for key, value in entry.items()}


_USER_WALLETS = text(
    """
    select w.id, w.tenant_id, w.user_id, w.currency, w.balance_minor, w.version from wallets w
    join (select distinct * from unnest(cast(:tenants as uuid[]), cast(:users as text[]), cast(:currencies as text[])))
        as k(tenant_id, user_id, currency)
      on w.tenant_id = k.tenant_id and w.user_id = k.user_id and w.currency = k.currency and w.kind = 'user'
    order by w.id for no key update of w
    """
)
_NEW_USER_WALLETS = text(
    """
    insert into wallets (id, tenant_id, kind, user_id, currency)
    select k.id, k.tenant_id, 'user', k.user_id, k.currency
    from unnest(cast(:ids as uuid[]), cast(:tenants as uuid[]), cast(:users as text[]), cast(:currencies as text[]))
        as k(id, tenant_id, user_id, currency) order by k.tenant_id, k.user_id, k.currency
    on conflict do nothing
    """
)


def _lock_user_wallets(connection: Connection, keys: set[UserKey]) -> dict[UserKey, _Wallet]:
    found = _select_user_wallets(connection, keys)
    missing = sorted(keys - found.keys(), key=str)
    if missing:
        connection.execute(_NEW_USER_WALLETS, {"ids": [new_id() for _ in missing], **_user_arrays(missing)})
        found = _select_user_wallets(connection, keys)
    if found.keys() != keys:
        raise InvariantBroken("a wallet could not be opened", wallets=[str(key) for key in keys - found.keys()])
    return found


def _select_user_wallets(connection: Connection, keys: set[UserKey]) -> dict[UserKey, _Wallet]:
    return {
        (row.tenant_id, row.user_id, row.currency): _Wallet(
            row.id, row.tenant_id, row.currency, row.balance_minor, row.version
        )
        for row in connection.execute(_USER_WALLETS, _user_arrays(list(keys)))
    }


def _user_arrays(keys: list[UserKey]) -> dict[str, list[object]]:
    return {
        "tenants": [tenant_id for tenant_id, _, _ in keys],
        "users": [user_id for _, user_id, _ in keys],
        "currencies": [currency for _, _, currency in keys],
    }


# A free shard is taken; only where all are busy does the second form wait for one.
_CLEARING_SHARD = """
    select w.id, w.tenant_id, w.currency, w.balance_minor, w.version from wallets w
    where w.tenant_id = :tenant_id and w.provider_id = :provider_id and w.currency = :currency and w.kind = 'clearing'
"""
_FREE_SHARD = text(_CLEARING_SHARD + " order by (w.shard + :start) % :shards limit 1 for no key update skip locked")
_ANY_SHARD = text(_CLEARING_SHARD + " and w.shard = :start for no key update")
_NEW_SHARDS = text(
    """
    insert into wallets (id, tenant_id, kind, provider_id, shard, currency)
    select id, :tenant_id, 'clearing', :provider_id, place - 1, :currency
    from unnest(cast(:ids as uuid[])) with ordinality as s(id, place)
    on conflict do nothing
    """
)


def _lock_clearing_shards(connection: Connection, keys: set[ClearingKey]) -> dict[ClearingKey, _Wallet]:
    return {key: _lock_clearing_shard(connection, key) for key in sorted(keys, key=str)}


def _lock_clearing_shard(connection: Connection, key: ClearingKey) -> _Wallet:
    tenant_id, provider_id, currency = key
    parameters = {
        "tenant_id": tenant_id,
        "provider_id": provider_id,
        "currency": currency,
        "shards": CLEARING_SHARDS,
        # Which shard is tried first needs to differ between workers, not to be secret.
        "start": random.randrange(CLEARING_SHARDS),  # noqa: S311  # nosec B311
    }
    row = connection.execute(_FREE_SHARD, parameters).first()
    if row is None:
        connection.execute(_NEW_SHARDS, parameters | {"ids": [new_id() for _ in range(CLEARING_SHARDS)]})
        row = connection.execute(_FREE_SHARD, parameters).first()
        row = row or connection.execute(_ANY_SHARD, parameters).one()
    return _Wallet(row.id, row.tenant_id, row.currency, row.balance_minor, row.version)


_ENTRY_COLUMNS = {
    "id": "uuid",
    "tenant_id": "uuid",
    "transfer_id": "uuid",
    "transfer_key": "text",
    "payment_id": "uuid",
    "wallet_id": "uuid",
    "wallet_version": "bigint",
    "currency": "text",
    "direction": "smallint",
    "amount_minor": "bigint",
    "balance_before_minor": "bigint",
    "balance_after_minor": "bigint",
    "type": "text",
    "description": "text",
}
_INSERT_ENTRIES = text(
    f"insert into wallet_transactions ({', '.join(_ENTRY_COLUMNS)}) select * from unnest("  # noqa: S608  # nosec B608
    + ", ".join(f"cast(:{name} as {kind}[])" for name, kind in _ENTRY_COLUMNS.items())
    + ")"
)
_UPDATE_WALLETS = text(
    """
    update wallets w set balance_minor = n.balance_minor, version = n.version, updated_at = now()
    from unnest(cast(:ids as uuid[]), cast(:balances as bigint[]), cast(:versions as bigint[]))
        as n(id, balance_minor, version)
    where w.id = n.id
    """
)


def _write(connection: Connection, rows: list[dict[str, object]], wallets: list[_Wallet]) -> None:
    connection.execute(_INSERT_ENTRIES, {name: [row[name] for row in rows] for name in _ENTRY_COLUMNS})
    connection.execute(
        _UPDATE_WALLETS,
        {
            "ids": [wallet.id for wallet in wallets],
            "balances": [wallet.balance_minor for wallet in wallets],
            "versions": [wallet.version for wallet in wallets],
        },
    )
