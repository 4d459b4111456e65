"""A planted bug: one change of one line, and the tests that must go red for it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.repository import ROOT


@dataclass(frozen=True, slots=True)
class Mutant:
    """A refusal that docs/CONTRACT.md or docs/SECURITY.md promises, and the planted bug that takes it away.

    `old` occurs exactly once in the file `path` and is replaced by `new`. `tests` are pytest node ids below tests/,
    without parameters; at least one of them must fail.
    """

    promise: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]

    def read(self) -> str:
        """Return the file as it is."""
        return (ROOT / self.path).read_text(encoding="utf-8")

    def apply(self) -> str:
        """Return the file with the bug in it. Raise ValueError unless `old` is there exactly once."""
        text = self.read()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.path} has {text.count(self.old)} times: {self.old}")
        return text.replace(self.old, self.new)
