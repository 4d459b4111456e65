"""Coverage-guided fuzzing of what reads a stranger's bytes: `python tests/fuzz/parsers.py signature|amount|body`.

Further arguments are libFuzzer's, such as -max_total_time=60. An exception that is no refusal ends the run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["app.core"]):
    from app.core import money, signatures, strict_json
    from app.core.errors import WebhookRejected

KEY = bytes(range(32))
NOW = 1_700_000_000


def fuzz_signature(data: bytes) -> None:
    """No header is taken that was not signed."""
    provider = atheris.FuzzedDataProvider(data)
    scheme = signatures.Scheme(signatures.SCHEMES[provider.ConsumeIntInRange(0, 2)])
    headers = {name: provider.ConsumeUnicode(200) for name in scheme.headers}
    try:
        signatures.verify(scheme, (KEY,), headers, data, None, NOW)
    except WebhookRejected:
        return
    raise AssertionError(f"taken: {headers!r}")


def fuzz_amount(data: bytes) -> None:
    """Check that an amount is refused, or written back it is the same number."""
    provider = atheris.FuzzedDataProvider(data)
    currency = ("USD", "JPY", "KWD")[provider.ConsumeIntInRange(0, 2)]
    text = provider.ConsumeUnicode(40)
    try:
        minor = money.parse_amount(text, currency)
    except (money.AmountError, money.CurrencyError):
        return
    assert money.parse_amount(money.format_amount(minor, currency), currency) == minor


def fuzz_body(data: bytes) -> None:
    """Check that a body is refused, or is a value that can be stored."""
    try:
        value = strict_json.loads(data)
    except strict_json.JsonError:
        return
    repr(value).encode("utf-8")


TARGETS = {"signature": fuzz_signature, "amount": fuzz_amount, "body": fuzz_body}

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
