"""Write verified deliveries to the inbox; concurrent ones share a transaction (group commit)."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Text

from app.runtime.group_commit import GroupCommit
from models import Database, buffer, prepared, single, tables
from models.array_params import rows_of

# An IPv6 address with its zone is shorter.
ADDRESS_CHARACTERS_MAX = 64

# The columns of InboxRow, and of the function that stores them.
_DELIVERED = rows_of(
    tables.payment_webhooks,
    *("id", "tenant_id", "provider_id", "external_id", "path"),
    *("body", "headers", "body_sha256", "remote_address", "payment_id"),
    reference=Text,
)
_STORE = single(
    """
    select delivery_id, webhook_id, is_duplicate, is_conflict from door_store_webhooks(
        cast(:id as uuid[]), cast(:tenant_id as uuid[]), cast(:provider_id as uuid[]), cast(:external_id as text[]),
        cast(:path as text[]), cast(:body as bytea[]), cast(:headers as jsonb[]), cast(:body_sha256 as bytea[]),
        cast(:remote_address as text[]), cast(:payment_id as uuid[]), cast(:reference as text[]))
    """
)


class InboxRow(NamedTuple):
    """A verified delivery as it is stored; `external_id` is the sender's id of it.

    It names its payment by our id in `payment_id`, or by an id of the provider's in `reference`.
    """

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
    reference: str | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a delivery: our id of the first one with its external id, and how this one compares with it."""

    webhook_id: uuid.UUID
    is_duplicate: bool
    is_conflict: bool


_RENAMED = rows_of(tables.payment_webhooks, "id", "payment_id")
_RENAME = prepared(_RENAMED.update("id"))


def rename_payments(connection: Connection, renamed: Sequence[tuple[uuid.UUID, uuid.UUID | None]]) -> None:
    """Correct the payments of webhooks: settling found others than their rows name."""
    if renamed:
        buffer(connection, _RENAME, _RENAMED.encode(renamed))


# By database: one for each that this process stores into.
_groups: WeakKeyDictionary[Database, GroupCommit[InboxRow, Receipt]] = WeakKeyDictionary()


def store(database: Database, row: InboxRow) -> Receipt:
    """Store a delivery in one transaction with those of concurrent callers; return once it is committed.

    Raise sqlalchemy.exc.SQLAlchemyError as the database does.
    """
    group = _groups.get(database) or _groups.setdefault(database, GroupCommit())
    # Text that the database refuses (a NUL, a lone surrogate) would fail the whole group.
    headers = {name: storable(value) for name, value in row.headers.items()}
    address = storable(row.address[:ADDRESS_CHARACTERS_MAX])
    row = row._replace(headers=headers, address=address, reference=row.reference and storable(row.reference))
    return group.commit(row, len(row.body), functools.partial(store_rows, database))


def store_rows(database: Database, rows: Sequence[InboxRow]) -> list[Receipt]:
    """Store deliveries in one transaction; return their receipts in the order of `rows`, the order of arrival."""
    stored = database.run_single("door", _STORE, _DELIVERED.encode(rows))
    receipts = {row.delivery_id: Receipt(row.webhook_id, row.is_duplicate, row.is_conflict) for row in stored}
    return [receipts[row.id] for row in rows]


def storable(value: str) -> str:
    """Return text without what the database refuses in one: NUL, and halves of pairs of surrogates."""
    return value if value.isprintable() else value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
