"""docs/INVARIANTS.md and the checks of the proof name the same invariants with the same statements."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from app.services.verification.checks import HEADLINE
from tests.support.repository import ROOT


def _in_code(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (invariant, statement) of every check and violation that a module makes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Name("read_checks"), [ast.Constant(str(queries)), *_]):
                yield from HEADLINE.findall(queries)
            case ast.Call(ast.Name("Violation"), [ast.Constant(str(name)), statement, *_]):
                found = constants[statement.id] if isinstance(statement, ast.Name) else statement
                assert isinstance(found, ast.Constant), f"{path}:{node.lineno}: the statement is no constant"
                yield name, str(found.value)


def _in_document() -> Iterator[tuple[str, str]]:
    name = None
    for line in (ROOT / "docs" / "INVARIANTS.md").read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"## (I[0-9]+): ", line):
            name = heading[1]
        elif name and (row := re.match(r"\| ([^|]+) \| [^|]+ \| [^|]+ \|$", line)) and row[1] != "statement":
            yield name, row[1]


def test_the_document_has_the_statements_of_the_code() -> None:
    in_code = {pair for path in (ROOT / "app").rglob("*.py") for pair in _in_code(path)}
    in_document = list(_in_document())
    assert len(in_code) > 40
    assert sorted(in_document) == sorted(in_code)
