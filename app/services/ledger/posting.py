"""Post transfers between a provider's clearing wallet and users' wallets: in sets, append-only."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, literal, select

from app.core.decision import Transfer
from app.core.errors import InvariantBroken
from app.core.payment import Payment
from models import buffer, new_id, prepared, read, tables
from models.array_params import rows_of
from models.sql import columns

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

    @property
    def user_key(self) -> UserKey:
        """The user's wallet."""
        return self.payment.tenant_id, self.payment.user_id, self.transfer.currency

    @property
    def clearing_key(self) -> ClearingKey:
        """The provider's clearing wallet."""
        return self.payment.tenant_id, self.payment.provider_id, self.transfer.currency

    @property
    def sign(self) -> int:
        """The direction of the user's entry; the provider's has the other one."""
        return 1 if self.transfer.type == "deposit" else -1


def post(connection: Connection, postings: list[Posting]) -> dict[PostingKey, dict[str, object]]:
    """Write two entries per posting and the new balances; return by posting the details for the audit.

    Lock user wallets in the order of their ids, a clearing shard last. Raise sqlalchemy.exc.IntegrityError where a
    transfer key was posted before: the unique key makes a credit happen once.
    """
    if not postings:
        return {}
    users = _lock_user_wallets(connection, {posting.user_key for posting in postings})
    clearing_keys = sorted({posting.clearing_key for posting in postings}, key=str)
    clearing = {key: _lock_clearing_shard(connection, key) for key in clearing_keys}
    rows: list[tuple[object, ...]] = []
    audited: dict[PostingKey, dict[str, object]] = {}
    for posting in postings:
        transfer = posting.transfer
        shared = (new_id(), transfer.key, transfer.currency, transfer.amount_minor, transfer.type)
        moved = (*shared, DESCRIPTIONS[transfer.type])
        legs = [
            _move(users[posting.user_key], posting.sign, transfer.amount_minor),
            _move(clearing[posting.clearing_key], -posting.sign, transfer.amount_minor),
        ]
        rows += [(posting.payment.tenant_id, posting.payment.id, *moved, *leg) for leg in legs]
        audited[posting.payment.id, transfer.key] = {
            "transfer": dict(zip(_TRANSFER_COLUMNS, moved, strict=True)),
            "entries": [dict(zip(_LEG_COLUMNS, leg, strict=True)) for leg in legs],
        }
    buffer(connection, _INSERT_ENTRIES, _ENTRIES.encode(rows))
    buffer(connection, _UPDATE_WALLETS, _BALANCES.encode_objects([*users.values(), *clearing.values()]))
    return audited


def _move(wallet: _Wallet, direction: int, amount_minor: int) -> tuple[object, ...]:
    """Move the running balance; return the values of _LEG_COLUMNS."""
    before = wallet.balance_minor
    wallet.balance_minor += direction * amount_minor
    wallet.version += 1
    return (new_id(), wallet.id, wallet.version, direction, before, wallet.balance_minor)


_WALLETS = tables.wallets
_KEY = ("tenant_id", "user_id", "currency")
_KEYS = rows_of(_WALLETS, *_KEY)
_READ = ("id", *_KEY, "balance_minor", "version")
_USER_WALLETS = prepared(
    select(*columns(_WALLETS, *_READ))
    .where(*(_WALLETS.c[name] == _KEYS.c[name] for name in _KEY), _WALLETS.c.kind == "user")
    .order_by(_WALLETS.c.id)
    .with_for_update(key_share=True, of=_WALLETS)
)
_NEW = rows_of(_WALLETS, "id", *_KEY)
_NEW_USER_WALLETS = prepared(
    _NEW.insert(*_KEY, kind=literal("user")).on_conflict_do_nothing().returning(*columns(_WALLETS, *_READ))
)


def _lock_user_wallets(connection: Connection, keys: set[UserKey]) -> dict[UserKey, _Wallet]:
    found = _read_wallets(read(connection, _USER_WALLETS, _KEYS.encode(list(keys))))
    if missing := keys - found.keys():
        new = _NEW.encode([(new_id(), *key) for key in missing])
        found |= _read_wallets(read(connection, _NEW_USER_WALLETS, new))
    if missing := keys - found.keys():
        # Another batch has opened them at the same moment.
        found |= _read_wallets(read(connection, _USER_WALLETS, _KEYS.encode(list(missing))))
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
    select id, :tenant_id, 'clearing', :provider_id, number - 1, :currency
    from unnest(cast(:ids as uuid[])) with ordinality as s(id, number)
    on conflict do nothing
    """
)


def _lock_clearing_shard(connection: Connection, key: ClearingKey) -> _Wallet:
    tenant_id, provider_id, currency = key
    # Which shard is tried first needs to differ between workers, not to be secret.
    start = random.randrange(CLEARING_SHARDS)  # noqa: S311  # nosec B311
    parameters = {"tenant_id": tenant_id, "provider_id": provider_id, "currency": currency}
    parameters |= {"shards": CLEARING_SHARDS, "start": start}
    rows = read(connection, _FREE_SHARD, parameters)
    if not rows:
        buffer(connection, _NEW_SHARDS, parameters | {"ids": [new_id() for _ in range(CLEARING_SHARDS)]})
        rows = read(connection, _FREE_SHARD, parameters) or read(connection, _ANY_SHARD, parameters)
    return _Wallet(*rows[0])


# The columns that both entries of a transfer share, and those that differ.
_TRANSFER_COLUMNS = ("transfer_id", "transfer_key", "currency", "amount_minor", "type", "description")
_LEG_COLUMNS = ("id", "wallet_id", "wallet_version", "direction", "balance_before_minor", "balance_after_minor")
_ENTRIES = rows_of(tables.wallet_transactions, "tenant_id", "payment_id", *_TRANSFER_COLUMNS, *_LEG_COLUMNS)
_INSERT_ENTRIES = prepared(_ENTRIES.insert())
_BALANCES = rows_of(_WALLETS, "id", "balance_minor", "version")
_UPDATE_WALLETS = prepared(_BALANCES.update("id").values(updated_at=func.now()))
