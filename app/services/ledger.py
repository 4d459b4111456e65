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
from models.row_sets import encode_rows, row_set

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


@dataclass(frozen=True, slots=True)
class UserChange:
    """What a posting does to the user's wallet, in minor units."""

    key: UserKey
    amount_minor: int


def user_change(posting: Posting) -> UserChange:
    """Returns the change of the user's balance: a deposit goes in, a reversal out."""
    sign = 1 if posting.transfer.type == "deposit" else -1
    return UserChange(_user_key(posting), sign * posting.transfer.amount_minor)


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
        audited.setdefault(posting.payment.id, []).extend(entries)
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


_KEY_COLUMNS = {"tenant_id": "uuid", "user_id": "text", "currency": "text"}
_USER_WALLETS = text(
    f"""
    select w.id, w.tenant_id, w.user_id, w.currency, w.balance_minor, w.version
    from {row_set(_KEY_COLUMNS)}
    join wallets w on w.tenant_id = r.tenant_id and w.user_id = r.user_id and w.currency = r.currency
    where w.kind = 'user' order by w.id for no key update of w
    """  # noqa: S608  # constants
)
_NEW_USER_WALLETS = text(
    f"""
    insert into wallets (id, tenant_id, kind, user_id, currency)
    select id, tenant_id, 'user', user_id, currency from {row_set({"id": "uuid", **_KEY_COLUMNS})}
    order by tenant_id, user_id, currency
    on conflict do nothing
    """  # noqa: S608  # constants
)


def _lock_user_wallets(connection: Connection, keys: set[UserKey]) -> dict[UserKey, _Wallet]:
    found = _select_user_wallets(connection, keys)
    missing = keys - found.keys()
    if missing:
        rows = [{"id": new_id(), **row} for row in _key_rows(missing)]
        connection.execute(_NEW_USER_WALLETS, {"rows": encode_rows(rows)})
        found = _select_user_wallets(connection, keys)
    if found.keys() != keys:
        raise InvariantBroken("a wallet could not be opened", wallets=[str(key) for key in keys - found.keys()])
    return found


def _select_user_wallets(connection: Connection, keys: set[UserKey]) -> dict[UserKey, _Wallet]:
    return {
        (row.tenant_id, row.user_id, row.currency): _Wallet(
            row.id, row.tenant_id, row.currency, row.balance_minor, row.version
        )
        for row in connection.execute(_USER_WALLETS, {"rows": encode_rows(_key_rows(keys))})
    }


def _key_rows(keys: set[UserKey]) -> list[dict[str, object]]:
    return [dict(zip(_KEY_COLUMNS, key, strict=True)) for key in keys]


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
_ENTRY_NAMES = ", ".join(_ENTRY_COLUMNS)
_INSERT_ENTRIES = text(
    f"insert into wallet_transactions ({_ENTRY_NAMES})"  # noqa: S608  # constants
    f" select {_ENTRY_NAMES} from {row_set(_ENTRY_COLUMNS)}"
)
_BALANCE_COLUMNS = {"id": "uuid", "balance_minor": "bigint", "version": "bigint"}
_UPDATE_WALLETS = text(
    f"""
    update wallets w set balance_minor = r.balance_minor, version = r.version, updated_at = now()
    from {row_set(_BALANCE_COLUMNS)} where w.id = r.id
    """  # noqa: S608  # constants
)


def _write(connection: Connection, rows: list[dict[str, object]], wallets: list[_Wallet]) -> None:
    connection.execute(_INSERT_ENTRIES, {"rows": encode_rows(rows)})
    balances = [{name: getattr(wallet, name) for name in _BALANCE_COLUMNS} for wallet in wallets]
    connection.execute(_UPDATE_WALLETS, {"rows": encode_rows(balances)})
