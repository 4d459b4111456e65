"""JSON at the door: what is accepted means what it means everywhere, the rest is refused in our words."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.strict_json import DEPTH_MAX, JsonError, loads

# Text that can be stored: no NUL, no half of a surrogate pair.
TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=20)
NUMBERS = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_every_storable_value_reads_as_the_standard_library_reads_it(value: Any, ascii_only: bool, indent: Any) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert loads(raw) == json.loads(raw) == value


@given(st.binary(max_size=40) | st.text('[]{}",:0123456789.eE-+truefalsn \\u', max_size=30).map(str.encode))
def test_what_both_accept_means_the_same_and_nothing_else_escapes(raw: bytes) -> None:
    try:
        value = loads(raw)
    except JsonError:
        return
    assert value == json.loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"nonsense",
        b'{"a": 1} {"b": 2}',
        b'{"a": 1, "a": 1}',
        b'{"x": {"a": 1, "a": 2}}',
        b'{"a": 1, "\\u0061": 2}',
        b"NaN",
        b"[Infinity]",
        b'{"a": -Infinity}',
        b'"\\u0000"',
        b'{"\\u0000": 1}',
        b'["\\ud800"]',
        b'"\\udc00\\ud800"',
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        '"ä"'.encode("latin-1"),
        '{"a": 1}'.encode("utf-16"),
        b'"a\nb"',
        b'"a\x00b"',
        b"1" * 33,
        b"1" * 5000,
        b"01",
        b"'a'",
        b"[1,]",
        b"/**/1",
    ],
)
def test_what_can_be_read_in_more_than_one_way_is_refused(raw: bytes) -> None:
    with pytest.raises(JsonError):
        loads(raw)


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert loads(b'"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded(opening: str, closing: str) -> None:
    def nested(depth: int) -> bytes:
        return (opening * depth + "1" + closing * depth).encode()

    loads(nested(DEPTH_MAX))
    for depth in (DEPTH_MAX + 1, 100_000):
        with pytest.raises(JsonError):
            loads(nested(depth))


def test_brackets_in_text_are_no_depth() -> None:
    brackets = '[{"' * 200
    assert loads(json.dumps({"a": brackets}).encode()) == {"a": brackets}


@pytest.mark.serial
def test_a_full_body_is_read_in_no_time() -> None:
    # The largest webhook there can be, made of what costs the most: brackets in text, and escapes.
    raw = json.dumps(["[\\" * 60_000 + "é"]).encode()
    started = time.perf_counter()
    loads(raw[: 256 * 1024] if len(raw) <= 256 * 1024 else raw)
    # Quadratic work would take minutes.
    assert time.perf_counter() - started < 2
