"""The provider's ids of a payment's objects: its reference, and aliases such as a charge or a capture."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from models import buffer, prepared, read, tables
from models.array_params import rows_of

_REFERENCES = rows_of(tables.provider_references, "provider_id", "reference", "tenant_id", "payment_id")
_KEY = ("provider_id", "reference")
# The first payment keeps an alias: an id of the provider's never moves from one payment to another.
_INSERT = prepared(_REFERENCES.insert(*_KEY).on_conflict_do_nothing(index_elements=_KEY))
_NAMED = rows_of(tables.provider_references, *_KEY)
_FIND = prepared(
    """
    select n.provider_id, n.reference, coalesce(r.payment_id, p.id) as payment_id
    from unnest(cast(:provider_id as uuid[]), cast(:reference as text[])) as n(provider_id, reference)
    left join provider_references r on r.provider_id = n.provider_id and r.reference = n.reference
    left join payment_transactions p on p.provider_id = n.provider_id and p.provider_reference = n.reference
    where coalesce(r.payment_id, p.id) is not null
    """
)


class ReferenceRow(NamedTuple):
    """An id of the provider's for an object that belongs to the payment."""

    provider_id: uuid.UUID
    reference: str
    tenant_id: uuid.UUID
    payment_id: uuid.UUID


# Payments by provider and the provider's id.
Found = dict[tuple[uuid.UUID, str], uuid.UUID]


def find(connection: Connection, named: Sequence[tuple[uuid.UUID, str]]) -> Found:
    """Return the payments of `named` pairs of a provider and an id of its; those that are not known are left out."""
    rows = read(connection, _FIND, _NAMED.encode(list(dict.fromkeys(named))))
    return {(row.provider_id, row.reference): row.payment_id for row in rows}


def write(connection: Connection, rows: Sequence[ReferenceRow]) -> None:
    """Store ids of payments' objects."""
    if rows:
        buffer(connection, _INSERT, _REFERENCES.encode(list(dict.fromkeys(rows))))
