"""Every script shown in docs/SANDBOX.md is one that the sandbox takes, and every word is explained there."""

from __future__ import annotations

import re

import pytest

from sandbox.scripting import vocabulary
from tests.support.repository import ROOT

PAGE = (ROOT / "docs" / "SANDBOX.md").read_text()
EXAMPLES = re.findall(r"```json\n(.+?)\n```", PAGE, re.DOTALL)
WORDS = sorted({word for section in vocabulary.SECTIONS.values() for word in section} | set(vocabulary.ANSWERS))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 30


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_script(example: str) -> None:
    assert vocabulary.read_script(example.encode())["match"]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_explained(word: str) -> None:
    assert re.search(rf"[`\"]{word}[`\"]", PAGE)
