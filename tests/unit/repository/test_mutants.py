"""The table of planted bugs fits the code: each can be planted, and the tests that must find it are there."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.mutant import Mutant
from tests.mutants.table import MUTANTS
from tests.support.repository import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.promise)
def test_the_bug_can_be_planted_and_its_tests_exist(mutant: Mutant) -> None:
    planted = mutant.apply()
    if mutant.path.endswith(".py"):
        ast.parse(planted)
    assert mutant.tests
    for test in mutant.tests:
        name, _, function = test.partition("::")
        tree = ast.parse((ROOT / "tests" / name).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not function or function in functions, test


def test_no_bug_is_listed_twice() -> None:
    assert len({(mutant.path, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)
    assert len({mutant.promise for mutant in MUTANTS}) == len(MUTANTS)
