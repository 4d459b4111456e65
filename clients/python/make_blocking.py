"""Makes src/sluice_client/blocking from src/sluice_client/aio: run it after a change there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "src" / "sluice_client"
WORDS = {
    "async def": "def",
    "async for": "for",
    "async with": "with",
    "await ": "",
    "import asyncio": "import time",
    "asyncio.sleep": "time.sleep",
    "AsyncIterator": "Iterator",
    "AsyncClient": "Client",
    "AsyncEventStream": "EventStream",
    "AsyncSender": "Sender",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "aiter_bytes": "iter_bytes",
    "aread": "read",
    "aclose": "close",
    "sluice_client.aio": "sluice_client.blocking",
    "The client for asyncio.": "The client for code that waits.",
}
_WORD = re.compile("|".join(re.escape(word) for word in WORDS))
_NOTE = "# Made from aio/{name} by make_blocking.py: change that one.\n"
# Two modules have the import already once asyncio has become time.
_DOUBLED = re.compile(r"^(import time\n)\1", re.MULTILINE)


def make_blocking() -> dict[str, str]:
    """Return the text of each file of the folder blocking, by its name."""
    return {path.name: _convert(path) for path in sorted((PACKAGE / "aio").glob("*.py"))}


def _convert(path: Path) -> str:
    text = _WORD.sub(lambda found: WORDS[found[0]], path.read_text(encoding="utf-8"))
    text = _DOUBLED.sub(r"\1", text)
    docstring, newline, rest = text.partition("\n")
    text = docstring + newline + _NOTE.format(name=path.name) + rest
    for command in (["check", "--quiet", "--select=I", "--fix"], ["format", "--quiet"]):
        words = [sys.executable, "-m", "ruff", *command, f"--stdin-filename={PACKAGE / 'blocking' / path.name}", "-"]
        text = subprocess.run(words, input=text, capture_output=True, text=True, check=True).stdout
    return text


if __name__ == "__main__":
    (PACKAGE / "blocking").mkdir(exist_ok=True)
    for name, text in make_blocking().items():
        (PACKAGE / "blocking" / name).write_text(text, encoding="utf-8")
