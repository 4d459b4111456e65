"""The inbox's one write: verified deliveries become rows, those that come together in one transaction."""

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
    """What the sender is told: the id of the first delivery with its id, and what this one is beside it."""

    webhook_id: uuid.UUID
    is_duplicate: bool
    is_conflict: bool


_NAMING_COLUMNS = {"id": "uuid", "payment_id": "uuid"}
_NAME_PAYMENTS = prepared(
    f"""
    update payment_webhooks h set payment_id = r.payment_id
    from {row_set(_NAMING_COLUMNS)} where h.id = r.id and h.id = any(cast(:id as uuid[]))
    """  # noqa: S608  # constants
)


def rename_payments(connection: Connection, named: Sequence[tuple[uuid.UUID, uuid.UUID | None]]) -> None:
    """Write which payment webhooks are about, where settling them found another than their rows have."""
    if named:
        buffer(connection, _NAME_PAYMENTS, encode_rows(_NAMING_COLUMNS, named))


# One for each database that this process stores into.
_groups: WeakKeyDictionary[Database, GroupCommit[InboxRow, Receipt]] = WeakKeyDictionary()


def store(database: Database, row: InboxRow) -> Receipt:
    """Store a delivery, together with those that other callers bring meanwhile; it is committed by then.

    Raise sqlalchemy.exc.SQLAlchemyError as the database does where it could not be stored.
    """
    group = _groups.get(database) or _groups.setdefault(database, GroupCommit())
    # Made into text that the database takes before it joins the others: it would be refused with all of them.
    headers = {name: _storable(value) for name, value in row.headers.items()}
    row = row._replace(headers=headers, address=_storable(row.address[:ADDRESS_CHARACTERS_MAX]))
    return group.commit(row, len(row.body), functools.partial(store_rows, database))


def store_rows(database: Database, rows: Sequence[InboxRow]) -> list[Receipt]:
    """Store deliveries in one transaction and return their receipts in the same order, which is that of arrival."""
    stored = database.run_single("door", _STORE, encode_rows(_COLUMNS, rows))
    receipts = {row.delivery_id: Receipt(row.webhook_id, row.is_duplicate, row.is_conflict) for row in stored}
    return [receipts[row.id] for row in rows]


def _storable(value: str) -> str:
    return value if value.isprintable() else value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
