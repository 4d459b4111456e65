"""What comments, docstrings and documents cite is there, and what is not is found."""

from __future__ import annotations

import pytest

from tests.unit.repository.citations import find_unresolved
from tests.unit.repository.project_files import Passage, list_passages

# Texts of docs/ARCHITECTURE.md, each with one citation of what is there and one of what is not.
PLANTED = {
    "file": ("web.py, worker_of_nothing.py", "worker_of_nothing.py"),
    "file that the page has saved": ("`a1.py`, `a2.py`\n\n```python\n# a1.py\nimport os\n```\n", "a2.py"),
    "path": ("(docs/CONTRACT.md), see docs/DESIGN.md.", "docs/DESIGN.md"),
    "path without its first folders": (
        "`unit/repository/citations.py` and `support/citation.py`",
        "support/citation.py",
    ),
    "pattern": ("docs/*.md, docs/*.sql", "docs/*.sql"),
    "folder": ("`tests/unit/`, `tests/units/`", "`tests/units/`"),
    "test": (
        "unit/repository/test_citations.py::test_what_is_cited_is_there,"
        " unit/repository/test_citations.py::test_nothing",
        "unit/repository/test_citations.py::test_nothing",
    ),
    "link to a file": ("[a](../setup.cfg) [b](../setup.ini.py)", "[b](../setup.ini.py)"),
    "link": ("[a](../docker/) [b](../dockers/)", "[b](../dockers/)"),
    "anchor": ("[a](CONTRACT.md#states) [b](CONTRACT.md#state)", "[b](CONTRACT.md#state)"),
    "anchor of the same page": ("[a](#glossary) [b](#glossaries)", "[b](#glossaries)"),
    "module": ("app.cli, app.clip", "app.clip"),
    "attribute": ("app.core.errors.NotSent.outcome, app.core.errors.Sent", "app.core.errors.Sent"),
    "attribute of a class": ("app.core.facts.Fact.kind, app.core.facts.Fact.sort", "app.core.facts.Fact.sort"),
    "attribute by the module's short name": ("`citations.has_file`, `citations.has_fill`", "`citations.has_fill`"),
    "column": ("`payment_transactions.version`, `payment_transactions.versions`", "`payment_transactions.versions`"),
    "section": ("CONTRACT sections 2, 3 and 5, CONTRACT section 99", "CONTRACT section 99"),
    "one of several sections": ("CONTRACT sections 2,\n3 and 99", "CONTRACT sections 2, 3 and 99"),
    "section of another document": ("RFC 6455, section 4.1; SAFETY section 1", "SAFETY section 1"),
    "title": ('CONTRACT section 3, "States"; docs/OPERATIONS.md, "Setting"', 'docs/OPERATIONS.md, "Setting"'),
    "invariant": ("I3, (I11), I4", "I4"),
    "invariant of another document": ("SAFETY I1", "SAFETY I1"),
    "decision": ("ADR 9999", "ADR 9999"),
    "target of make": ("`make test` and `make tests`", "make tests"),
    "target of make in a block": ("```sh\nmake run  # comment\nmake walk\n```\n", "make walk"),
    "command": ("`sluice payments explain ID`, `sluice payment explain ID`", "sluice payment explain ID"),
    "one of several commands": ("`sluice keys create|list`, `sluice keys create|lost`", "sluice keys create|lost"),
    "option": ("`sluice verify --full --json`, `sluice verify --fall`", "sluice verify --fall"),
    "command in a block": ("```sh\nkey=$(sluice keys create --json \\\n --tenent x | field a)\n```\n", "--tenent"),
}


def test_what_is_cited_is_there() -> None:
    unresolved = [str(found) for passage in list_passages() for found in find_unresolved(passage)]
    assert not unresolved, "\n".join(unresolved)


@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_not_there_is_found(kind: str) -> None:
    text, planted = PLANTED[kind]
    (found,) = find_unresolved(Passage("docs/ARCHITECTURE.md", 1, text))
    assert planted in found.cited


def test_it_is_found_in_its_line() -> None:
    text = "one\n```sh\nmake run\nmake walk\n```\nCONTRACT\nsection 99, https://example.test/a.py\n[b](c.txt)"
    found = [str(each) for each in find_unresolved(Passage("docs/ARCHITECTURE.md", 10, text))]
    assert found == [
        "docs/ARCHITECTURE.md:15: CONTRACT section 99",
        "docs/ARCHITECTURE.md:13: make walk",
        "docs/ARCHITECTURE.md:17: [b](c.txt)",
    ]


def test_every_kind_of_text_is_read() -> None:
    read = {(path, text.split(",")[0]) for path, _, text in list_passages()}
    paths = {path for path, _ in read}
    assert {
        "README.md",
        "Makefile",
        "setup.cfg",
        "docker/compose.yaml",
        "docker/Dockerfile",
        "docs/CONTRACT.md",
    } <= paths
    assert ("tests/unit/repository/test_citations.py", "What comments") in read
    assert ("tests/unit/repository/test_citations.py", "Texts of docs/ARCHITECTURE.md") in read
