"""docs/PROVIDERS.md has every adapter and every case, as the kit has them now."""

from __future__ import annotations

import re

import pytest

from app.conformance.kit import CASES
from app.conformance.matrix import PAGE, SIZE_TITLE, measure, render_matrix
from app.conformance.subjects import SUBJECTS
from app.providers.registry import OWN_PACKAGE, load_registry

SIZE_TOLERANCE = 0.1


def test_the_page_is_the_present_one() -> None:
    present, _, _ = PAGE.read_text(encoding="utf-8").partition(SIZE_TITLE)
    assert present == render_matrix().partition(SIZE_TITLE)[0], "run `make matrix`"


def test_the_page_has_the_size_of_every_adapter() -> None:
    _, _, sizes = PAGE.read_text(encoding="utf-8").partition(SIZE_TITLE)
    shown = dict(re.findall(r"^\| ([a-z]+) \| ([0-9]+) \|", sizes, re.MULTILINE))
    assert shown.keys() == SUBJECTS.keys(), "run `make matrix`"
    for name, lines in shown.items():
        # Each change of a line does not ask for another run of the kit.
        assert int(lines) == pytest.approx(int(measure(name)[1]), rel=SIZE_TOLERANCE), "run `make matrix`"


def test_every_adapter_that_is_offered_is_examined() -> None:
    ours = {name for name, package in load_registry(frozenset()).packages.items() if package == OWN_PACKAGE}
    assert ours == SUBJECTS.keys()


def test_every_case_has_a_name_and_a_sentence_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len({case.sentence for case in CASES}) == len(CASES)
