"""Ids that connections read are ordinary UUIDs, whatever reads them."""

from __future__ import annotations

import copy
import uuid

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from models.uuid_cache import _read_id
from testbed.servers import Databases


@settings(max_examples=500)
@given(st.uuids(allow_nil=True))
def test_an_id_that_is_read_is_like_any_other(known: uuid.UUID) -> None:
    read = _read_id(str(known))
    assert (read, hash(read), str(read), repr(read)) == (known, hash(known), str(known), repr(known))
    assert (read.bytes, read.version, read.is_safe) == (known.bytes, known.version, known.is_safe)
    assert copy.deepcopy(read) == known


def test_connections_read_ids_and_lists_of_ids(databases: Databases) -> None:
    ids = [uuid.uuid4(), uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)]
    with databases.open_runtime() as runtime, runtime.database.transaction("worker") as connection:
        sql = "select cast(:one as uuid) as one, cast(:all as uuid[]) as some, cast(null as uuid) as none"
        row = connection.execute(text(sql), {"one": str(ids[0]), "all": [*map(str, ids), None]}).one()
    assert (row.one, row.some, row.none) == (ids[0], [*ids, None], None)
