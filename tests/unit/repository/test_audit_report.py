"""What `make audit` says: a package without a verdict is never one without vulnerabilities."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.repository import ROOT

LOCK = (ROOT / "requirements/runtime.txt").read_text(encoding="utf-8")
# A package with a marker may be for another system.
NAMES = [line.split("==")[0] for line in LOCK.splitlines() if "==" in line and ";" not in line and line[0].isalnum()]
SKIPPED = "Dependency not found on PyPI and could not be audited: {name} (1.0)"
VULNERABLE = {"id": "PYSEC-2026-1", "fix_versions": ["2.0"], "description": "x"}


def audited(name: str, *vulnerabilities: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": list(vulnerabilities)}


def skipped(name: str) -> dict[str, Any]:
    return {"name": name, "skip_reason": SKIPPED.format(name=name)}


def run(folder: Path, report: list[dict[str, Any]] | str | None, *mode: str) -> tuple[int, str]:
    """Return the exit code and the output for a report, None where pip-audit wrote none."""
    path, log = folder / "audit.json", folder / "audit.log"
    log.write_text("first line\nERROR: connection refused\n", encoding="utf-8")
    if report is not None:
        path.write_text(report if isinstance(report, str) else json.dumps({"dependencies": report}), encoding="utf-8")
    command = [sys.executable, str(ROOT / "requirements/audit.py"), str(path), str(log), *mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize(("mode", "code"), [((), 0), (("strict",), 1)])
@pytest.mark.parametrize("report", ["skipped", "none", "torn"])
def test_nothing_audited_is_said_and_fails_where_it_must(
    tmp_path: Path, report: str, mode: tuple[str, ...], code: int
) -> None:
    reports: dict[str, Any] = {"skipped": [skipped(name) for name in NAMES], "none": None, "torn": "{"}
    status, said = run(tmp_path, reports[report], *mode)
    assert status == code
    assert f"NOT AUDITED: {len(NAMES)} of {len(NAMES)} packages" in said
    assert "No known vulnerabilities" not in said
    assert ("could not be audited" if report == "skipped" else "connection refused") in said


@pytest.mark.parametrize("mode", [(), ("strict",)])
def test_one_package_without_a_verdict_among_others_fails(tmp_path: Path, mode: tuple[str, ...]) -> None:
    status, said = run(tmp_path, [audited(name) for name in NAMES[1:]] + [skipped(NAMES[0])], *mode)
    assert (status, f"NOT AUDITED: 1 of {len(NAMES)} packages: {NAMES[0]}\n" in said) == (1, True)
    # What the report does not name at all has no verdict either.
    status, said = run(tmp_path, [audited(name) for name in NAMES[1:]], *mode)
    assert (status, f"NOT AUDITED: 1 of {len(NAMES)} packages" in said) == (1, True)


@pytest.mark.parametrize("rest", [audited, skipped])
def test_a_vulnerability_fails_whatever_else_was_audited(tmp_path: Path, rest: Any) -> None:
    status, said = run(tmp_path, [audited(NAMES[0], VULNERABLE)] + [rest(name) for name in NAMES[1:]])
    assert status == 1
    assert f"VULNERABLE: {NAMES[0]} 1.0: PYSEC-2026-1 (fixed in: 2.0)" in said
    assert "No known vulnerabilities" not in said


def test_all_audited_and_none_found_passes(tmp_path: Path) -> None:
    status, said = run(tmp_path, [audited(name) for name in NAMES], "strict")
    assert (status, said) == (0, f"No known vulnerabilities in the {len(NAMES)} packages that were audited\n")
