"""Reads tables in chunks, each in its own snapshot: a long snapshot would keep dead tuples in the queues."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Connection, TextClause, select, text

from app.services.verification import books, debit_checks, history, payment_checks
from app.services.verification.checks import Check, Violation, fill, run_all
from models import tables

# A chunk takes a fraction of a second, which keeps snapshots short.
CHUNK_ROWS = 2_000
# A transfer has as many legs as a batch has webhooks.
CHUNK_TRANSFERS = 100

_NO_ID = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class Walk:
    """A table read in the order of its key: `query` returns the keys of the rows after a cursor.

    `start` is the cursor before the first row; `columns` names the parameters of the checks that take the keys.
    """

    name: str
    query: TextClause
    start: Mapping[str, Any]
    columns: Sequence[str]
    checks: tuple[Check, ...]


@dataclass(slots=True)
class Chunk:
    """The result of one chunk; `after` is the cursor of the next one, None at the end."""

    rows: int
    after: dict[str, Any] | None
    violations: list[Violation] = field(default_factory=list)


def _walk(
    name: str, table: str, start: Mapping[str, Any], columns: Mapping[str, str], checks: tuple[Check, ...]
) -> Walk:
    query = fill(
        "select $key, $columns from $table where ($key) > ($after)"
        " and (cast(:tenant_id as uuid) is null or tenant_id = :tenant_id) order by $key limit $rows",
        table=table,
        key=", ".join(start),
        after=", ".join(f":after_{column}" for column in start),
        columns=", ".join(f"{column} as {name}" for name, column in columns.items()),
        rows=str(CHUNK_ROWS),
    )
    return Walk(name, text(query), {f"after_{column}": value for column, value in start.items()}, [*columns], checks)


PAYMENT_CHECKS = payment_checks.MONEY + history.HISTORY
_BY_ID: dict[str, Any] = {"id": _NO_ID}
_IDS = {"ids": "id"}
WEBHOOK_WALK = _walk("webhooks", "payment_webhooks", _BY_ID, _IDS, books.WEBHOOKS)
NUMBER_WALK = _walk(
    "notifications",
    "notification_numbers",
    {"tenant_id": _NO_ID, "number": -1},
    {"tenants": "tenant_id", "numbers": "number"},
    books.NUMBERS,
)
WALKS = (
    _walk("payments", "payment_transactions", _BY_ID, _IDS, PAYMENT_CHECKS),
    _walk("debits", "debits", _BY_ID, _IDS, debit_checks.DEBITS),
    _walk("wallets", "wallets", _BY_ID, _IDS, books.WALLETS),
    # A version is never below one, but a manipulated one may be.
    _walk(
        "entries",
        "wallet_transactions",
        {"wallet_id": _NO_ID, "wallet_version": -(2**62)},
        {"wallets": "wallet_id", "versions": "wallet_version"},
        books.ENTRIES,
    ),
    # The last transfer of a chunk is checked with all of its legs, also those that the next one would begin with.
    _walk(
        "legs of transfers",
        "wallet_transactions",
        {"transfer_id": _NO_ID},
        {"transfers": "transfer_id"},
        books.TRANSFERS,
    ),
    WEBHOOK_WALK,
    _walk(
        "webhook keys",
        "webhook_keys",
        {"provider_id": _NO_ID, "external_id": ""},
        {"providers": "provider_id", "externals": "external_id"},
        books.KEYS,
    ),
    _walk("audit rows", "audit_logs", {"id": -(2**62)}, _IDS, books.AUDIT),
    NUMBER_WALK,
)


def read_chunk(connection: Connection, walk: Walk, after: Mapping[str, Any], tenant_id: uuid.UUID | None) -> Chunk:
    """Read and check the next chunk of a walk, in the snapshot of `connection`."""
    rows = connection.execute(walk.query, {**after, "tenant_id": tenant_id}).mappings().all()
    if not rows:
        return Chunk(0, None)
    wanted: dict[str, Any] = {column: [row[column] for row in rows] for column in walk.columns}
    if walk.checks is books.AUDIT:
        wanted |= {"first": rows[0]["id"], "last": rows[-1]["id"]}
    violations = run_all(walk.checks, connection, {**wanted, "edges": history.EDGE_NAMES})
    cursor = {name: rows[-1][name.removeprefix("after_")] for name in walk.start}
    return Chunk(len(rows), cursor if len(rows) == CHUNK_ROWS else None, violations)


_ENTRIES = tables.wallet_transactions


def check_payments(connection: Connection, ids: Sequence[uuid.UUID]) -> list[Violation]:
    """Check payments, all their entries, and the wallets of those."""
    found = run_all(PAYMENT_CHECKS, connection, {"ids": list(ids), "edges": history.EDGE_NAMES})
    return found + _check_entries(connection, _ENTRIES.c.payment_id, ids)


def check_debits(connection: Connection, ids: Sequence[uuid.UUID]) -> list[Violation]:
    """Check debits, all their entries, and the wallets of those."""
    found = run_all(debit_checks.DEBITS, connection, {"ids": list(ids)})
    return found + _check_entries(connection, _ENTRIES.c.debit_id, ids)


def _check_entries(connection: Connection, subject: Column[Any], ids: Sequence[uuid.UUID]) -> list[Violation]:
    keys = select(_ENTRIES.c.wallet_id, _ENTRIES.c.wallet_version).where(subject.in_(ids))
    found = connection.execute(keys).all()
    wallets, versions = [row.wallet_id for row in found], [row.wallet_version for row in found]
    return [
        *run_all(books.ENTRIES, connection, {"wallets": wallets, "versions": versions}),
        *run_all(books.WALLETS, connection, {"ids": list(set(wallets))}),
    ]


# What audit rows name, and an incremental proof checks: its check, and its column of the entries.
SUBJECTS = {
    "payments": (check_payments, _ENTRIES.c.payment_id),
    "debits": (check_debits, _ENTRIES.c.debit_id),
}


def cut(ids: set[uuid.UUID], size: int) -> Iterator[list[uuid.UUID]]:
    """Cut ids into lists of at most `size`, in their order."""
    in_order = sorted(ids)
    for start in range(0, len(in_order), size):
        yield in_order[start : start + size]


def list_transfers(
    connection: Connection, ids: Sequence[uuid.UUID], subject: Column[Any] = _ENTRIES.c.payment_id
) -> set[uuid.UUID]:
    """Return the transfers of which the payments or debits have entries; `subject` is their column of the entries."""
    transfers = select(_ENTRIES.c.transfer_id).where(subject.in_(ids)).distinct()
    return set(connection.execute(transfers).scalars())


def check_transfers(connection: Connection, ids: Sequence[uuid.UUID]) -> list[Violation]:
    """Check transfers with all their legs."""
    return run_all(books.TRANSFERS, connection, {"transfers": list(ids)})


def first_id(moment: datetime.datetime) -> uuid.UUID:
    """Return the lower bound of the time-ordered ids made from `moment` on (RFC 9562, version 7)."""
    return uuid.UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)
