"""Bodies that are made to hurt the reader, who reads them before any signature is checked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.money import AmountError, CurrencyError, format_amount, parse_amount
from app.core.strict_json import DEPTH_MAX, JsonError, loads
from app.services.webhooks.receive import BODY_BYTES_MAX

# A body of the largest size, as ordinary text, is read in some milliseconds; ten times that on a busy machine is still
# far below this, and what is quadratic is far above.
SECONDS_MAX = 1.0

HOSTILE: dict[str, Callable[[int], bytes]] = {
    "strings without an end": lambda size: b"[" * 33 + b'"' + b'\\"' * ((size - 40) // 2),
    "and a backslash at the end": lambda size: b"[" * 33 + b'"' + b'\\"' * ((size - 40) // 2) + b"\\",
    "quotes": lambda size: b"[" * 33 + b'"' * (size - 40),
    "brackets in a row": lambda size: b"[" * size,
    "empty lists": lambda size: b"[" + b"[]," * (size // 3 - 1) + b"[]]",
    "backslashes": lambda size: b"{" * 33 + b'"' + b"\\" * (size - 40),
    "one number": lambda size: b"9" * size,
    "one fraction": lambda size: b"0." + b"9" * (size - 2),
    "one exponent": lambda size: b"1e" + b"9" * (size - 2),
    "many keys": lambda size: json.dumps({f"{key:07}": 0 for key in range(size // 15)}).encode(),
    "one key many times": lambda size: b"{" + b'"a":1,' * (size // 6 - 2) + b'"a":1}',
    "blanks": lambda size: b" " * size,
    "escapes": lambda size: b'"' + b"\\u0041" * (size // 6 - 1) + b'"',
    "halves of pairs": lambda size: b'"' + b"\\ud83d" * (size // 6 - 1) + b'"',
}


@pytest.mark.serial
@pytest.mark.parametrize("kind", HOSTILE)
def test_the_largest_hostile_body_is_read_or_refused_at_once(kind: str) -> None:
    body = HOSTILE[kind](BODY_BYTES_MAX)
    assert BODY_BYTES_MAX * 0.8 < len(body) <= BODY_BYTES_MAX + 1
    said, started = "", time.perf_counter()
    try:
        loads(body)
    except JsonError as error:
        said = str(error)
    assert time.perf_counter() - started < SECONDS_MAX
    # What is said about it must not be as long as it is.
    assert len(said) < 200


@pytest.mark.parametrize("raw", [b"1e999", b"-1e999", b'{"amount": 1E400}', b"[1.5e308, 1e309]"])
def test_numbers_that_become_infinite_are_refused(raw: bytes) -> None:
    with pytest.raises(JsonError):
        loads(raw)


@given(st.integers(0, DEPTH_MAX + 3), st.text('"\\[]{}', max_size=12))
def test_depth_is_counted_outside_strings_only(depth: int, text: str) -> None:
    raw = ("[" * depth + json.dumps(text) + "]" * depth).encode()
    if depth > DEPTH_MAX:
        with pytest.raises(JsonError):
            loads(raw)
    else:
        assert loads(raw) == json.loads(raw)


@given(st.binary(max_size=200))
def test_anything_is_a_value_that_can_be_stored_or_a_refusal(raw: bytes) -> None:
    try:
        value = loads(raw)
    except JsonError:
        return
    again = json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert b"\\u0000" not in again
    assert loads(again) == value


@given(
    st.text(max_size=30) | st.from_regex(r"\A[0-9.eE+_ -]{0,25}\Z"), st.sampled_from(["USD", "JPY", "KWD", "XXX", ""])
)
def test_an_amount_is_one_spelling_of_one_number_or_refused(text: str, currency: str) -> None:
    try:
        minor = parse_amount(text, currency)
    except (AmountError, CurrencyError):
        return
    assert text.isascii()
    assert 0 < minor <= 10**15
    whole, _, fraction = format_amount(minor, currency).partition(".")
    given_whole, _, given_fraction = text.partition(".")
    assert (whole, fraction) == (given_whole, given_fraction.ljust(len(fraction), "0"))
