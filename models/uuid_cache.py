"""Caches the ids that connections read, so that a batch parses each id once."""

from __future__ import annotations

import functools
import uuid
from typing import Any

import psycopg2.extensions
from sqlalchemy import Engine, event

# Enough for the few tenants and providers, and the payments and webhooks of a batch.
REMEMBERED_IDS = 4_096

_UUID_OID, _UUIDS_OID = 2950, 2951  # pg_type.oid, the same in every PostgreSQL


@functools.lru_cache(maxsize=REMEMBERED_IDS)
def _read_id(value: str) -> uuid.UUID:
    """Return the id that PostgreSQL wrote: 36 characters, which `uuid.UUID` would check in twice the time."""
    read = uuid.UUID.__new__(uuid.UUID)
    # The class refuses ordinary assignment.
    object.__setattr__(read, "int", int(value.replace("-", ""), 16))
    object.__setattr__(read, "is_safe", uuid.SafeUUID.unknown)
    return read


def _cast_id(value: Any, _: Any) -> uuid.UUID | None:
    return None if value is None else _read_id(value)


_ID = psycopg2.extensions.new_type((_UUID_OID,), "UUID", _cast_id)
_IDS = psycopg2.extensions.new_array_type((_UUIDS_OID,), "UUID[]", _ID)


def remember_ids(engine: Engine) -> None:
    """Make the engine's connections return recently read ids from a cache.

    A batch reads a dozen ids per webhook; parsing them would cost more than deciding the webhook's effect.
    """

    @event.listens_for(engine, "connect")
    def _register(connection: Any, _: Any) -> None:
        psycopg2.extensions.register_type(_ID, connection)
        psycopg2.extensions.register_type(_IDS, connection)
