"""Hints are decoded without raising, whatever bytes come, and name nothing but ids and numbers."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runtime.hints import CHANGED_MAX, changed_hints, numbered_hint, read_changed, read_numbered

ID = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")


@given(st.binary(max_size=200) | st.text().map(str.encode) | st.from_regex(rb"\A[0-9a-f]{31,33} [0-9]{0,20}\Z"))
def test_any_bytes_are_decoded_or_ignored(data: bytes) -> None:
    numbered, changed = read_numbered(data), read_changed(data)
    assert numbered is None or numbered_hint(*numbered)[1] == b"%s %d" % (data[:32], int(data[33:]))
    assert all(uuid.UUID(hex=one).hex == one for one in changed)


@pytest.mark.parametrize("data", [None, 7, "text", ["list"], {"a": 1}, 1e400])
def test_what_is_no_bytes_is_ignored(data: object) -> None:
    assert read_numbered(data) is None
    assert read_changed(data) == []


@given(st.lists(st.uuids(), max_size=2 * CHANGED_MAX + 5))
def test_changed_payments_come_back_in_bounded_hints(ids: list[uuid.UUID]) -> None:
    hints = [hint for _, hint in changed_hints(ids)]
    assert [one for hint in hints for one in read_changed(hint)] == [one.hex for one in ids]
    assert all(len(hint) < 40_000 for hint in hints)


@pytest.mark.parametrize("number", [0, 1, 10**18 - 1])
def test_a_number_comes_back(number: int) -> None:
    assert read_numbered(numbered_hint(ID, number)[1]) == (ID, number)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b" ", b"1", ID.hex.encode(), f"{ID} 5".encode(), f"{ID.hex} -5".encode(), f"{ID.hex} 5 ".encode()),
        *(f"{ID.hex} 1e5".encode(), f"{ID.hex} {10**18}".encode(), f"{ID.hex} ٣".encode(), ID.hex.encode() + b" 5\n"),
        *(ID.hex.upper().encode() + b" 5", b'{"tenant_id": "x", "last": 5}', b"[" * 100_000, b"0" * 10_000_000),
    ],
)
def test_what_is_not_in_the_form_is_no_number(data: bytes) -> None:
    assert read_numbered(data) is None


def test_more_ids_than_a_hint_has_are_ignored() -> None:
    assert read_changed(b" ".join([ID.hex.encode()] * (CHANGED_MAX + 1))) == []
