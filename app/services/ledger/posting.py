"""Post transfers between a provider's wallets and users' wallets: in sets, append-only."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from sqlalchemy import Connection, literal

from app.core.decision import Transfer
from app.core.errors import InvariantBroken
from app.core.payment import Payment
from app.services.ledger.legs import LEG_COLUMNS, TRANSFER_COLUMNS, RunningWallet
from app.services.ledger.shards import move_shard
from models import buffer, new_id, prepared, read, tables
from models.array_params import rows_of
from models.sql import columns, sql

DESCRIPTIONS = {
    "deposit": "Payment deposit from external provider",
    "reversal": "Reversal by the external provider",
    "refund": "Refund through the external provider",
    "reinstatement": "Reversed money that came again from the external provider",
    "suspense": "Received money that a policy gives back",
    "suspense_refund": "Refund by a policy through the external provider",
    "suspense_reversal": "Reversal of money in suspense by the external provider",
    "suspense_reinstatement": "Money in suspense that came again from the external provider",
}
# Types whose entry in a user's wallet, or in the suspense wallet, takes from it.
_OUT = frozenset({"reversal", "refund", "suspense_refund", "suspense_reversal"})

UserKey = tuple[uuid.UUID, str, str]
# The kind of a provider's wallet, its tenant, the provider and the currency.
ShardKey = tuple[Literal["clearing", "suspense"], uuid.UUID, uuid.UUID, str]
# Payment and transfer key, which are unique together.
PostingKey = tuple[uuid.UUID, str]
_Key = TypeVar("_Key", UserKey, ShardKey)
# What the postings of one transfer have in common: the wallet that has the counter-entry, the type, and the payment
# where that wallet is the suspense wallet, whose entries each name their own.
TransferKey = tuple[ShardKey, str, uuid.UUID | None]


@dataclass(frozen=True, slots=True)
class Posting:
    """A transfer to be posted for a payment.

    Deposits and reinstatements go into the user's wallet, reversals and refunds out of it. Types of suspense go into
    the provider's suspense wallet and out of it in the same way.
    """

    payment: Payment
    transfer: Transfer

    @property
    def user_key(self) -> UserKey:
        """The user's wallet."""
        return self.payment.tenant_id, self.payment.user_id, self.transfer.currency

    @property
    def is_of_suspense(self) -> bool:
        """Whether the suspense wallet has the entry that else the user's has."""
        return self.transfer.type.startswith("suspense")

    @property
    def counter_key(self) -> ShardKey:
        """The wallet that has the counter-entry: for what is credited from suspense that, else the clearing wallet."""
        return self.shard_key("suspense" if self.transfer.is_from_suspense else "clearing")

    def shard_key(self, kind: Literal["clearing", "suspense"]) -> ShardKey:
        """Return the provider's wallet of a kind."""
        return kind, self.payment.tenant_id, self.payment.provider_id, self.transfer.currency

    @property
    def transfer_key(self) -> TransferKey:
        """The transfer that it is a part of."""
        own = self.payment.id if self.transfer.is_from_suspense else None
        return self.counter_key, self.transfer.type, own

    @property
    def sign(self) -> int:
        """The direction of the user's entry, or of that in suspense; the counter-entry has the other one."""
        return -1 if self.transfer.type in _OUT else 1


@dataclass(slots=True)
class _Transfer:
    """What a batch moves between one wallet of a provider and others, in one direction: a leg each, one against all."""

    id: uuid.UUID
    # The payment whose posting is this one's has the counter-entry.
    first: Posting
    total_minor: int = 0


def post(connection: Connection, postings: list[Posting]) -> dict[PostingKey, dict[str, object]]:
    """Write the entries of transfers and the new balances; return by posting the details for the audit.

    A transfer has one counter-entry for all its credits (or reversals) of one provider and currency, and the first of
    their payments has it. Lock user wallets in the order of their ids, shards last. Raise
    sqlalchemy.exc.IntegrityError where a transfer key was posted before: the unique key makes a credit happen once.
    """
    if not postings:
        return {}
    transfers = _group(postings)
    of_users = [posting for posting in postings if not posting.is_of_suspense]
    users = _move_users(connection, of_users) if of_users else {}
    shards = _move_shards(connection, transfers, postings)
    rows: list[tuple[object, ...]] = []
    audited: dict[PostingKey, dict[str, object]] = {}
    for posting in postings:
        amount_minor, kind = posting.transfer.amount_minor, posting.transfer.type
        transfer = transfers[posting.transfer_key]
        shared = (transfer.id, posting.transfer.key, posting.transfer.currency, kind, DESCRIPTIONS[kind])
        wallet = shards[posting.shard_key("suspense")] if posting.is_of_suspense else users[posting.user_key]
        legs = [wallet.enter(posting.sign, amount_minor)]
        if posting is transfer.first:
            legs.append(shards[posting.counter_key].enter(-posting.sign, transfer.total_minor))
        rows += [(posting.payment.tenant_id, posting.payment.id, *shared, *leg) for leg in legs]
        audited[posting.payment.id, posting.transfer.key] = {
            "transfer": dict(zip(TRANSFER_COLUMNS, shared, strict=True)),
            "entries": [dict(zip(LEG_COLUMNS, leg, strict=True)) for leg in legs],
        }
    buffer(connection, _INSERT_ENTRIES, _ENTRIES.encode(rows))
    return audited


def _group(postings: Sequence[Posting]) -> dict[TransferKey, _Transfer]:
    """Return the transfers that the postings are parts of."""
    transfers: dict[TransferKey, _Transfer] = {}
    for posting in postings:
        key = posting.transfer_key
        transfer = transfers.get(key) or transfers.setdefault(key, _Transfer(new_id(), posting))
        transfer.total_minor += posting.transfer.amount_minor
    return transfers


def _sum_by_wallet(moves: Iterable[tuple[_Key, int]]) -> dict[_Key, tuple[int, int]]:
    """Return by wallet by how much its entries change the balance, and how many they are."""
    sums: dict[_Key, tuple[int, int]] = {}
    for key, amount_minor in moves:
        total, entries = sums.get(key, (0, 0))
        sums[key] = total + amount_minor, entries + 1
    return sums


_WALLETS = tables.wallets
_KEY = ("tenant_id", "user_id", "currency")
# The two numbers are by how much they grow.
_MOVES = rows_of(_WALLETS, *_KEY, "balance_minor", "version")
# One statement locks and changes: a lock of its own would be one more write of each row. `found` is in the order of the
# ids, and so are the rows that are joined to it by their primary key.
_MOVE_USERS = prepared(
    sql(
        """
        with found as materialized (
            select w.id, r.balance_minor as moved_minor, r.version as entries
            from {moves} join wallets w on (w.tenant_id, w.user_id, w.currency) = (r.tenant_id, r.user_id, r.currency)
            where w.kind = 'user' order by w.id
        )
        update wallets w set balance_minor = w.balance_minor + found.moved_minor, version = w.version + found.entries,
            updated_at = now()
        from found where w.id = found.id
        returning w.id, w.tenant_id, w.user_id, w.currency, w.balance_minor - found.moved_minor,
            w.version - found.entries
        """,
        moves=_MOVES.source,
    )
)
_NEW = rows_of(_WALLETS, "id", *_KEY, "balance_minor", "version")
_NEW_USERS = prepared(
    _NEW.insert(*_KEY, kind=literal("user")).on_conflict_do_nothing().returning(*columns(_WALLETS, "id", *_KEY))
)


def _move_users(connection: Connection, postings: Sequence[Posting]) -> dict[UserKey, RunningWallet]:
    """Write the new balances of the users' wallets; return the wallets as they were before."""
    moved = _sum_by_wallet((posting.user_key, posting.sign * posting.transfer.amount_minor) for posting in postings)
    found = _move_existing(connection, moved)
    if missing := moved.keys() - found.keys():
        new = [(new_id(), *key, *moved[key]) for key in missing]
        rows = read(connection, _NEW_USERS, _NEW.encode(new))
        found |= {tuple(key): RunningWallet(wallet_id, 0, 0) for wallet_id, *key in rows}
    if missing := moved.keys() - found.keys():
        # Another batch has opened them at the same moment.
        found |= _move_existing(connection, {key: moved[key] for key in missing})
    if found.keys() != moved.keys():
        raise InvariantBroken("a wallet could not be opened", wallets=[str(key) for key in moved.keys() - found.keys()])
    return found


def _move_existing(connection: Connection, moved: Mapping[UserKey, tuple[int, int]]) -> dict[UserKey, RunningWallet]:
    rows = read(connection, _MOVE_USERS, _MOVES.encode([(*key, *move) for key, move in moved.items()]))
    return {
        (tenant_id, user_id, currency): RunningWallet(wallet_id, balance_minor, version)
        for wallet_id, tenant_id, user_id, currency, balance_minor, version in rows
    }


def _move_shards(
    connection: Connection, transfers: Mapping[TransferKey, _Transfer], postings: Sequence[Posting]
) -> dict[ShardKey, RunningWallet]:
    """Write the new balance of a shard of each wallet of a provider; return the shards as they were before."""
    moves = [(key, -each.first.sign * each.total_minor) for (key, *_), each in transfers.items()]
    suspended = (each for each in postings if each.is_of_suspense)
    moves += [(each.shard_key("suspense"), each.sign * each.transfer.amount_minor) for each in suspended]
    moved = _sum_by_wallet(moves)
    return {key: move_shard(connection, *key, *moved[key]) for key in sorted(moved, key=str)}


_ENTRIES = rows_of(tables.wallet_transactions, "tenant_id", "payment_id", *TRANSFER_COLUMNS, *LEG_COLUMNS)
_INSERT_ENTRIES = prepared(_ENTRIES.insert())
