"""Names and prose use the field's standard terms: the words that were retired do not come back."""

from __future__ import annotations

import re

import pytest

from tests.unit.repository.project_files import Passage, list_files, list_passages, read

# What was retired, and the term that stands in its place.
IDENTIFIERS = {
    "after_commit": "settlement.open",
    "hold_beside": "hold_other_reference",
    "is_alone": "is_single",
    "is_probe": "is_half_open",
    "is_troubled": "has_failures",
    "keep_what_is_loaded": "freeze_gc",
    "put_off": "postponed",
    "run_alone": "run_single",
    "stays_alone": "stays_single",
    "write_later": "buffer",
    "_told": "_as_sqlalchemy_errors",
    "_Marks": "_Verdicts",
}
PROSE = {
    r"\bfor ever\b": "without a time limit",
    r"\bgo(?:es)? on\b": "continue",
    r"\bkeeps? the house\b": "housekeeping",
    r"\bbeside\b": "with, next to, in addition to",
    r"\bt(?:ell|ells|old|elling)\b": "report, record, publish, say",
    r"\blook(?:s|ed|ing)?\b(?!-| ?up\b| \w+ up\b)": "query, read, check",
    r"\blook-ups?\b": "lookup",
    r"\b(?:settled|run|runs|tried|done|committed) alone\b": "in isolation, isolated",
    r"\b(?:put|puts) off\b": "postpone",
}


# Names of the code are no prose.
_CODE_SPAN = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def find_retired(passage: Passage) -> list[str]:
    prose = _CODE_SPAN.sub("", passage.text) if passage.path.endswith(".md") else passage.text
    return [
        f"{passage.path}:{passage.line}: {found[0]!r}: {instead}"
        for pattern, instead in PROSE.items()
        for found in re.finditer(pattern, prose, re.IGNORECASE)
    ]


def test_prose_uses_the_fields_terms() -> None:
    found = [each for passage in list_passages() for each in find_retired(passage)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("identifier", IDENTIFIERS)
def test_a_retired_name_is_not_used(identifier: str) -> None:
    word = re.compile(rf"(?<!\w){identifier}(?!\w)")
    code = [path for path in list_files() if path.endswith(".py") and path != "tests/unit/repository/test_words.py"]
    used = [path for path in code if word.search(read(path))]
    assert not used, f"{identifier} is {IDENTIFIERS[identifier]} today: {used}"


def test_a_retired_word_is_found() -> None:
    (found,) = find_retired(Passage("docs/X.md", 1, "A row goes on waiting."))
    assert "continue" in found
