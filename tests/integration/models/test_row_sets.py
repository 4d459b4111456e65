"""What goes into the database as a set of rows comes out as it was, whatever its text looks like."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from app.runtime.runtime import Runtime
from models.array_params import encode_rows, row_set, uuid_array

# What text may hold in PostgreSQL: everything but NUL and halves of characters.
_TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=20) | st.sampled_from(
    ["", "NULL", "null", '"', "\\", "{}", "{a,b}", "'; --", "%s", ":id", "%(id)s", "\n\t", "\\x41", ","]
)
_WHOLE = st.integers(-(2**63), 2**63 - 1)
_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | _TEXTS | st.integers(-(2**53), 2**53),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)
_KINDS: dict[str, st.SearchStrategy[Any]] = {
    "uuid": st.uuids(),
    "text": _TEXTS,
    "text[]": st.lists(_TEXTS, max_size=3),
    "bytea": st.binary(max_size=20),
    "jsonb": _DOCUMENTS,
    "timestamptz": st.integers(0, 7 * 10**15).map(
        lambda micros: datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(microseconds=micros)
    ),
    "boolean": st.booleans(),
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": _WHOLE,
    "double precision": st.floats(allow_nan=False, allow_infinity=False),
}
# Not nullable: a document that is null is JSON's null, and nobody writes one.
_ROWS = st.lists(
    st.tuples(*(values if kind == "jsonb" else st.none() | values for kind, values in _KINDS.items())),
    min_size=1,
    max_size=8,
)
_COLUMNS = {f"column_{databases}": kind for databases, kind in enumerate(_KINDS)}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=_ROWS)
def test_rows_come_out_as_they_went_in_and_in_their_order(runtime: Runtime, rows: list[tuple[Any, ...]]) -> None:
    documents = list(_KINDS).index("jsonb")
    rows = [(*row[:documents], {"is": row[documents]}, *row[documents + 1 :]) for row in rows]
    with runtime.database.transaction("worker") as connection:
        found = connection.execute(text(f"select * from {row_set(_COLUMNS)}"), encode_rows(_COLUMNS, rows)).all()
    assert [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in found] == rows


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        encode_rows({"id": "uuid", "name": "text"}, [(uuid.uuid4(),)])


@given(ids=st.lists(st.uuids(), max_size=5))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ids_come_out_as_they_went_in(runtime: Runtime, ids: list[uuid.UUID]) -> None:
    with runtime.database.transaction("worker") as connection:
        found = connection.execute(text("select unnest(cast(:ids as uuid[]))"), {"ids": uuid_array(ids)}).scalars()
        assert list(found) == ids
        assert connection.execute(text("select cast(:ids as uuid[])"), {"ids": uuid_array(ids)}).scalar_one() == ids
