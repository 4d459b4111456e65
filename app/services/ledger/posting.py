"""The books: transfers between a provider's clearing wallet and users' wallets, in sets, append-only."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from app.core.decision import Transfer
from app.core.errors import InvariantBroken
from app.core.payment import Payment
from models import buffer, new_id, prepared, read
from models.array_params import encode_rows, row_set

# Workers take different shards of a clearing wallet, so that they do not queue behind each other on one row.
CLEARING_SHARDS = 8

DESCRIPTIONS = {"deposit": "Payment deposit from external provider", "reversal": "Reversal by the external provider"}

UserKey = tuple[uuid.UUID, str, str]
ClearingKey = tuple[uuid.UUID, uuid.UUID, str]
# Payment and transfer key, which are unique together.
PostingKey = tuple[uuid.UUID, str]


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


@dataclass(frozen=True, slots=True)
class UserChange:
    """What a posting does to the user's wallet, in minor units."""

    key: UserKey
    amount_minor: int


def user_change(posting: Posting) -> UserChange:
    """Return the change of the user's balance: a deposit goes in, a reversal out."""
    sign = 1 if posting.transfer.type == "deposit" else -1
    return UserChange(_user_key(posting), sign * posting.transfer.amount_minor)


def post(connection: Connection, postings: list[Posting]) -> dict[PostingKey, dict[str, object]]:
    """Write two entries per posting and the new balances; return by posting what the audit keeps of them.

    Lock user wallets in the order of their ids, a clearing shard last. Raise sqlalchemy.exc.IntegrityError where a
    transfer key was posted before: the unique key is what makes a credit happen once.
    """
    if not postings:
        return {}
    users = _lock_user_wallets(connection, {_user_key(posting) for posting in postings})
    clearing = _lock_clearing_shards(connection, {_clearing_key(posting) for posting in postings})
    rows: list[tuple[object, ...]] = []
    audited: dict[PostingKey, dict[str, object]] = {}
    for posting in postings:
        transfer = posting.transfer
        transfer_id, sign = new_id(), 1 if transfer.type == "deposit" else -1
        shared = (transfer_id, transfer.key, transfer.currency, transfer.amount_minor, transfer.type)
        moved = (*shared, DESCRIPTIONS[transfer.type])
        legs = [
            _move(users[_user_key(posting)], sign, transfer.amount_minor),
            _move(clearing[_clearing_key(posting)], -sign, transfer.amount_minor),
        ]
        rows += [(posting.payment.tenant_id, posting.payment.id, *moved, *leg) for leg in legs]
        audited[posting.payment.id, transfer.key] = {
            "transfer": dict(zip(_TRANSFER_COLUMNS, moved, strict=True)),
            "entries": [dict(zip(_LEG_COLUMNS, leg, strict=True)) for leg in legs],
        }
    _write(connection, rows, [*users.values(), *clearing.values()])
    return audited


def _user_key(posting: Posting) -> UserKey:
    return (posting.payment.tenant_id, posting.payment.user_id, posting.transfer.currency)


def _clearing_key(posting: Posting) -> ClearingKey:
    return (posting.payment.tenant_id, posting.payment.provider_id, posting.transfer.currency)


def _move(wallet: _Wallet, direction: int, amount_minor: int) -> tuple[object, ...]:
    """Move the running balance; return the values of _LEG_COLUMNS."""
    before = wallet.balance_minor
    wallet.balance_minor += direction * amount_minor
    wallet.version += 1
    return (new_id(), wallet.id, wallet.version, direction, before, wallet.balance_minor)


_KEY_COLUMNS = {"tenant_id": "uuid", "user_id": "text", "currency": "text"}
_USER_WALLETS = prepared(
    f"""
    select w.id, w.tenant_id, w.user_id, w.currency, w.balance_minor, w.version
    from {row_set(_KEY_COLUMNS)}
    join wallets w on w.tenant_id = r.tenant_id and w.user_id = r.user_id and w.currency = r.currency
    where w.kind = 'user' order by w.id for no key update of w
    """  # noqa: S608  # constants
)
_NEW_COLUMNS = {"id": "uuid", **_KEY_COLUMNS}
_NEW_USER_WALLETS = prepared(
    f"""
    insert into wallets (id, tenant_id, kind, user_id, currency)
    select id, tenant_id, 'user', user_id, currency from {row_set(_NEW_COLUMNS)}
    order by tenant_id, user_id, currency
    on conflict do nothing returning id, tenant_id, user_id, currency, balance_minor, version
    """  # noqa: S608  # constants
)


def _lock_user_wallets(connection: Connection, keys: set[UserKey]) -> dict[UserKey, _Wallet]:
    found = _read_wallets(read(connection, _USER_WALLETS, encode_rows(_KEY_COLUMNS, list(keys))))
    if missing := keys - found.keys():
        new = encode_rows(_NEW_COLUMNS, [(new_id(), *key) for key in missing])
        found |= _read_wallets(read(connection, _NEW_USER_WALLETS, new))
    if missing := keys - found.keys():
        # Another batch has opened them at the same moment.
        found |= _read_wallets(read(connection, _USER_WALLETS, encode_rows(_KEY_COLUMNS, list(missing))))
    if found.keys() != keys:
        raise InvariantBroken("a wallet could not be opened", wallets=[str(key) for key in keys - found.keys()])
    return found


def _read_wallets(rows: Iterable[Sequence[Any]]) -> dict[UserKey, _Wallet]:
    return {
        (tenant_id, user_id, currency): _Wallet(wallet_id, tenant_id, currency, balance_minor, version)
        for wallet_id, tenant_id, user_id, currency, balance_minor, version in rows
    }


# A free shard is taken; only where all are busy does the second form wait for one.
_CLEARING_SHARD = """
    select w.id, w.tenant_id, w.currency, w.balance_minor, w.version from wallets w
    where w.tenant_id = :tenant_id and w.provider_id = :provider_id and w.currency = :currency and w.kind = 'clearing'
"""
_FREE_SHARD = prepared(_CLEARING_SHARD + " order by (w.shard + :start) % :shards limit 1 for no key update skip locked")
_ANY_SHARD = prepared(_CLEARING_SHARD + " and w.shard = :start for no key update")
_NEW_SHARDS = prepared(
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
    rows = read(connection, _FREE_SHARD, parameters)
    if not rows:
        buffer(connection, _NEW_SHARDS, parameters | {"ids": [new_id() for _ in range(CLEARING_SHARDS)]})
        rows = read(connection, _FREE_SHARD, parameters) or read(connection, _ANY_SHARD, parameters)
    (row,) = rows
    return _Wallet(row.id, row.tenant_id, row.currency, row.balance_minor, row.version)


# What both entries of a transfer share, and what each has for itself.
_TRANSFER_COLUMNS = {
    "transfer_id": "uuid",
    "transfer_key": "text",
    "currency": "text",
    "amount_minor": "bigint",
    "type": "text",
    "description": "text",
}
_LEG_COLUMNS = {
    "id": "uuid",
    "wallet_id": "uuid",
    "wallet_version": "bigint",
    "direction": "smallint",
    "balance_before_minor": "bigint",
    "balance_after_minor": "bigint",
}
_ENTRY_COLUMNS = {"tenant_id": "uuid", "payment_id": "uuid", **_TRANSFER_COLUMNS, **_LEG_COLUMNS}
_ENTRY_NAMES = ", ".join(_ENTRY_COLUMNS)
_INSERT_ENTRIES = prepared(
    f"insert into wallet_transactions ({_ENTRY_NAMES})"  # noqa: S608  # constants
    f" select {_ENTRY_NAMES} from {row_set(_ENTRY_COLUMNS)}"
)
_BALANCE_COLUMNS = {"id": "uuid", "balance_minor": "bigint", "version": "bigint"}
_UPDATE_WALLETS = prepared(
    f"""
    update wallets w set balance_minor = r.balance_minor, version = r.version, updated_at = now()
    from {row_set(_BALANCE_COLUMNS)} where w.id = r.id and w.id = any(cast(:id as uuid[]))
    """  # noqa: S608  # constants
)


def _write(connection: Connection, rows: list[tuple[object, ...]], wallets: list[_Wallet]) -> None:
    buffer(connection, _INSERT_ENTRIES, encode_rows(_ENTRY_COLUMNS, rows))
    balances = [(wallet.id, wallet.balance_minor, wallet.version) for wallet in wallets]
    buffer(connection, _UPDATE_WALLETS, encode_rows(_BALANCE_COLUMNS, balances))
