"""Sections of the documents, run as they stand on a running stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.documents import Document
from tests.support.supervised_stack import SupervisedStack


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
