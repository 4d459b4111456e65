"""docs/PROVIDERS.md has every adapter and every case, as the kit has them now."""

from __future__ import annotations

from app.conformance.kit import CASES
from app.conformance.matrix import PAGE, render_matrix
from app.conformance.subjects import SUBJECTS
from app.providers.registry import OWN_PACKAGE, load_registry


def test_the_page_is_the_present_one() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_matrix(), "run `make matrix`"


def test_every_adapter_that_is_offered_is_examined() -> None:
    ours = {name for name, package in load_registry(frozenset()).packages.items() if package == OWN_PACKAGE}
    assert ours == SUBJECTS.keys()


def test_every_case_has_a_name_and_a_sentence_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len({case.sentence for case in CASES}) == len(CASES)
