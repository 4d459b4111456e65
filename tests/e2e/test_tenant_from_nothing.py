"""The section "A tenant from nothing" of docs/COMMANDS.md, run as it stands on a running stack."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.repository import ROOT
from tests.support.supervised_stack import SLUICE, SupervisedStack

# Six commands that start an interpreter each, and a deposit.
SECTION_SECONDS = 120


def read_section() -> str:
    """Return the shell script of the section."""
    text = (ROOT / "docs" / "COMMANDS.md").read_text(encoding="utf-8")
    section = text.split("\n## A tenant from nothing\n")[1].split("\n## ")[0]
    (script,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return str(script)


def test_the_section_ends_with_a_credited_deposit(full_stack: SupervisedStack, tmp_path: Path) -> None:
    script = tmp_path / "section.sh"
    script.write_text(read_section(), encoding="utf-8")
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
    tenant = "(select id from tenants where name = 'acme')"
    (wallet,) = full_stack.rows(
        f"select balance_minor, currency from wallets where user_id = 'alice' and tenant_id = {tenant}"
    )
    assert (wallet["balance_minor"], wallet["currency"]) == (2500, "USD")
    for table in ("alerts", "dead_letters"):
        assert full_stack.rows(f"select * from {table} where tenant_id = {tenant}") == []
