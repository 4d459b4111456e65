"""Sections of the documents that make a tenant with a provider, run as they stand on a running stack."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.repository import ROOT
from tests.support.supervised_stack import SLUICE, SupervisedStack

# Six commands that start an interpreter each, and a deposit.
SECTION_SECONDS = 120


def read_section(page: str, title: str) -> str:
    """Return the shell script of the section."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    section = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    (script,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return str(script)


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
    script = tmp_path / "section.sh"
    script.write_text(read_section(page, title), encoding="utf-8")
    done = subprocess.run(
        ["bash", "-e", str(script)],
        cwd=tmp_path,
        env=full_stack.environment | {"PATH": f"{SLUICE.parent}:{full_stack.environment['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECTION_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tenant = f"(select id from tenants where name = '{name}')"
    (wallet,) = full_stack.rows(
        f"select balance_minor, currency from wallets where user_id = '{user}' and tenant_id = {tenant}"
    )
    assert (wallet["balance_minor"], wallet["currency"]) == (2500, currency)
    for table in ("alerts", "dead_letters"):
        assert full_stack.rows(f"select * from {table} where tenant_id = {tenant}") == []
