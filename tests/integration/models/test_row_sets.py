"""Sets of rows that are written to the database are read back unchanged, whatever their text contains."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    ARRAY,
    UUID,
    BigInteger,
    Boolean,
    Column,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from app.runtime.runtime import Runtime
from models.array_params import rows_of, uuid_array
from models.tables.declaration import TIME

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
_KINDS: list[tuple[TypeEngine[Any] | type[TypeEngine[Any]], st.SearchStrategy[Any]]] = [
    (UUID, st.uuids()),
    (Text, _TEXTS),
    (ARRAY(Text), st.lists(_TEXTS, max_size=3)),
    (LargeBinary, st.binary(max_size=20)),
    (JSONB, _DOCUMENTS),
    (
        TIME,
        st.integers(0, 7 * 10**15).map(
            lambda micros: datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(microseconds=micros)
        ),
    ),
    (Boolean, st.booleans()),
    (SmallInteger, st.integers(-(2**15), 2**15 - 1)),
    (Integer, st.integers(-(2**31), 2**31 - 1)),
    (BigInteger, _WHOLE),
    (Double, st.floats(allow_nan=False, allow_infinity=False)),
]
# Not nullable: a document that is null is JSON's null, and nobody writes one.
_VALUES = st.lists(
    st.tuples(*(values if kind is JSONB else st.none() | values for kind, values in _KINDS)), min_size=1, max_size=8
)
_TABLE = Table("table", MetaData(), *(Column(f"column_{index}", kind) for index, (kind, _) in enumerate(_KINDS)))
_ROWS = rows_of(_TABLE, *_TABLE.c.keys())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=_VALUES)
def test_rows_come_out_as_they_went_in_and_in_their_order(runtime: Runtime, rows: list[tuple[Any, ...]]) -> None:
    documents = [kind for kind, _ in _KINDS].index(JSONB)
    rows = [(*row[:documents], {"is": row[documents]}, *row[documents + 1 :]) for row in rows]
    with runtime.database.transaction("worker") as connection:
        found = connection.execute(select(*_ROWS.c), _ROWS.encode(rows)).all()
    assert [tuple(row) for row in found] == rows


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        _ROWS.encode([(uuid.uuid4(),)])


def test_equal_sets_are_written_the_same() -> None:
    rows = rows_of(_TABLE, column_2=ARRAY(Text))
    words = [f"word {number}" for number in range(20)]
    assert rows.encode([(frozenset(words),)]) == rows.encode([(sorted(words),)])


@given(ids=st.lists(st.uuids(), max_size=5))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ids_come_out_as_they_went_in(runtime: Runtime, ids: list[uuid.UUID]) -> None:
    with runtime.database.transaction("worker") as connection:
        found = connection.execute(text("select unnest(cast(:ids as uuid[]))"), {"ids": uuid_array(ids)}).scalars()
        assert list(found) == ids
        assert connection.execute(text("select cast(:ids as uuid[])"), {"ids": uuid_array(ids)}).scalar_one() == ids
