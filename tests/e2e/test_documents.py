"""Guides, and sections of other documents, run as they stand on a running stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.documents import Document
from tests.support.repository import ROOT
from tests.support.supervised_stack import SupervisedStack

GUIDES = sorted(path.stem for path in (ROOT / "docs" / "guides").glob("*.md") if path.stem != "README")


@pytest.mark.parametrize(
    ("page", "title", "name", "user", "currency"),
    [
        ("COMMANDS.md", "A tenant from nothing", "acme", "alice", "USD"),
        ("SANDBOX.md", "Emulators", "emulated", "bob", "GBP"),
    ],
)
def test_the_section_ends_with_a_credited_deposit(
    full_stack: SupervisedStack, tmp_path: Path, page: str, title: str, name: str, user: str, currency: str
) -> None:
    Document(page, title).run(full_stack, tmp_path)
    tenant = f"(select id from tenants where name = '{name}')"
    (wallet,) = full_stack.rows(
        f"select balance_minor, currency from wallets where user_id = '{user}' and tenant_id = {tenant}"
    )
    assert (wallet["balance_minor"], wallet["currency"]) == (2500, currency)
    for table in ("alerts", "dead_letters"):
        assert full_stack.rows(f"select * from {table} where tenant_id = {tenant}") == []


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_runs_and_prints_what_it_shows(full_stack: SupervisedStack, tmp_path: Path, guide: str) -> None:
    Document(f"guides/{guide}.md").run(full_stack, tmp_path)


def test_the_guides_are_linked() -> None:
    assert len(GUIDES) >= 4
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [guide for guide in GUIDES if f"(docs/guides/{guide}.md)" not in readme] == []
