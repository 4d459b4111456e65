"""The write of the inbox: verified deliveries become rows; concurrent ones share a transaction (group commit)."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Connection

from app.runtime.group_commit import GroupCommit
from models import Database, buffer, prepared
from models.array_params import encode_rows, row_set
from models.database import single

# An IPv6 address with its zone is shorter.
ADDRESS_CHARACTERS_MAX = 64

# The columns of InboxRow and their types.
_COLUMNS = {
    "id": "uuid",
    "tenant_id": "uuid",
    "provider_id": "uuid",
    "external_id": "text",
    "path": "text",
    "body": "bytea",
    "headers": "jsonb",
    "sha256": "bytea",
    "address": "text",
    "payment_id": "uuid",
}
_ARRAYS = ", ".join(f"cast(:{name} as {kind}[])" for name, kind in _COLUMNS.items())
_STORE = single(
    f"select delivery_id, webhook_id, is_duplicate, is_conflict from door_store_webhooks({_ARRAYS})"  # noqa: S608  # constants
)


class InboxRow(NamedTuple):
    """A verified delivery as it is stored; `external_id` is the sender's id of it."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    provider_id: uuid.UUID
    external_id: str
    path: str
    body: bytes
    headers: Mapping[str, str]
    sha256: bytes
    address: str
    payment_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a delivery: our id of the first one with its external id, and how this one compares with it."""

    webhook_id: uuid.UUID
    is_duplicate: bool
    is_conflict: bool


_RENAME_COLUMNS = {"id": "uuid", "payment_id": "uuid"}
_RENAME = prepared(
    f"""
    update payment_webhooks h set payment_id = r.payment_id
    from {row_set(_RENAME_COLUMNS)} where h.id = r.id and h.id = any(cast(:id as uuid[]))
    """  # noqa: S608  # constants
)


def rename_payments(connection: Connection, renamed: Sequence[tuple[uuid.UUID, uuid.UUID | None]]) -> None:
    """Correct the payments of webhooks: settling found others than their rows name."""
    if renamed:
        buffer(connection, _RENAME, encode_rows(_RENAME_COLUMNS, renamed))


# By database: one for each that this process stores into.
_groups: WeakKeyDictionary[Database, GroupCommit[InboxRow, Receipt]] = WeakKeyDictionary()


def store(database: Database, row: InboxRow) -> Receipt:
    """Store a delivery in one transaction with those of concurrent callers; return once it is committed.

    Raise sqlalchemy.exc.SQLAlchemyError as the database does.
    """
    group = _groups.get(database) or _groups.setdefault(database, GroupCommit())
    # Text that the database refuses (a NUL, a lone surrogate) would fail the whole group.
    headers = {name: _storable(value) for name, value in row.headers.items()}
    row = row._replace(headers=headers, address=_storable(row.address[:ADDRESS_CHARACTERS_MAX]))
    return group.commit(row, len(row.body), functools.partial(store_rows, database))


def store_rows(database: Database, rows: Sequence[InboxRow]) -> list[Receipt]:
    """Store deliveries in one transaction; return their receipts in the order of `rows`, the order of arrival."""
    stored = database.run_single("door", _STORE, encode_rows(_COLUMNS, rows))
    receipts = {row.delivery_id: Receipt(row.webhook_id, row.is_duplicate, row.is_conflict) for row in stored}
    return [receipts[row.id] for row in rows]


def _storable(value: str) -> str:
    return value if value.isprintable() else value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
