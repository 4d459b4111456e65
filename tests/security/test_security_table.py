"""The table in docs/SECURITY.md names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.support.repository import ROOT

TESTS = ROOT / "tests"
TABLE = ROOT / "docs" / "SECURITY.md"
NAMED = re.compile(r"`((?:\w+/)+test_\w+\.py)(?:::(test_\w+))?`")


def rows() -> list[str]:
    """Return the rows of the table of attacks."""
    section = TABLE.read_text(encoding="utf-8").split("## Attacks and tests")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


def find_tests(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    # A test that is always skipped shows nothing.
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.Attribute) and node.attr in ("skip", "skipif", "xfail")), path
    return found


def test_every_row_names_tests_that_exist() -> None:
    table = rows()
    assert len(table) > 20
    for row in table:
        named = NAMED.findall(row)
        assert named, row
        for name, function in named:
            found = find_tests(TESTS / name)
            assert found, name
            assert not function or function in found, f"{name}::{function}"


def test_every_module_of_tests_is_in_the_table() -> None:
    named = {TESTS / name for row in rows() for name, _ in NAMED.findall(row)}
    assert set((TESTS / "security").rglob("test_*.py")) - {Path(__file__)} <= named
