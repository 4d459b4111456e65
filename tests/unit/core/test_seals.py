"""The canonical form of audit rows and seals: one form for one content, another for every other."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.audit_seal import (
    AUDIT_COLUMNS,
    FIRST_SHA256,
    PREFIX_BYTES,
    Seal,
    find_changed,
    hash_row,
    hash_rows,
    join_prefixes,
)
from models.tables import audit_logs

VALUES = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1).map(str), st.text(st.characters(codec="utf-8")))
SEAL = Seal(
    "01a207c3-3927-73b4-9def-0c171f29298d", 3, 7, 301, (401, 402, 405), b"r" * 32, b"p" * 32, 1_764_000_000_000_000
)


def test_every_column_of_the_audit_is_hashed() -> None:
    assert set(AUDIT_COLUMNS) == {column.name for column in audit_logs.c}


def test_form_is_the_documented_one() -> None:
    said = b"2:17" + b"-" + b"0:" + b"2:\xc3\xa9"
    assert hash_row([17, None, "", "é"]) == hashlib.sha256(said).digest()


@given(st.lists(VALUES, min_size=1, max_size=6), st.lists(VALUES, min_size=1, max_size=6))
def test_rows_hash_alike_only_when_they_are_alike(first: list[str | None], second: list[str | None]) -> None:
    assert (hash_row(first) == hash_row(second)) == (first == second)


def test_order_of_rows_counts() -> None:
    hashes = [hash_row([number]) for number in range(3)]
    assert hash_rows(hashes) != hash_rows(hashes[::-1])


@pytest.mark.parametrize(
    "change",
    [
        {"tenant_id": "01a207c3-3927-73b4-9def-0c171f29298e"},
        {"chain": 4},
        {"chain": 0},
        {"number": 8},
        {"first_position": 302},
        {"audit_ids": (401, 402, 406)},
        {"audit_ids": (401, 402)},
        {"rows_sha256": b"s" * 32},
        {"previous_sha256": FIRST_SHA256},
        {"sealed_at": 1_764_000_000_000_001},
    ],
)
def test_every_part_of_a_seal_is_in_its_hash(change: dict[str, object]) -> None:
    assert set(change) <= {each.name for each in fields(Seal)}
    assert replace(SEAL, **change).sha256 != SEAL.sha256  # type: ignore[arg-type]


def test_positions_count_the_rows() -> None:
    assert SEAL.last_position == 303


def test_changed_rows_are_found_by_their_prefixes() -> None:
    hashes = [hash_row([number]) for number in range(4)]
    prefixes = join_prefixes(hashes)
    assert len(prefixes) == 4 * PREFIX_BYTES
    hashes[2] = hash_row(["changed"])
    assert find_changed([10, 11, 12, 13], hashes, prefixes) == [12]


def test_all_rows_are_named_where_the_prefixes_do_not_fit() -> None:
    hashes = [hash_row([number]) for number in range(3)]
    assert find_changed([10, 11, 12], hashes, b"short") == [10, 11, 12]
    assert find_changed([10, 11, 12], hashes, join_prefixes(hashes)) == [10, 11, 12]
