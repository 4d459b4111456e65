"""Reads pip-audit's report and says what was audited, what was not, and what was found.

    python requirements/audit.py REPORT LOG [strict]

Exit code 1: a known vulnerability; a package without a verdict although others have one; in strict mode any package
without a verdict. A machine that cannot reach the service exits 0 otherwise: it says loudly what was not audited.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).with_name("runtime.txt")
# As many reasons as fit on a screen; they are mostly the same one.
REASONS_MAX = 3
# Without a marker: what is for another system or Python is not in the report, and is not installed here.
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==[^\s;]+(?: \\)?$", re.MULTILINE)


def main(report: Path, log: Path, mode: str) -> int:
    """Print the verdict; return the exit code."""
    packages = {_normal(one["name"]): one for one in _read(report)}
    # What the report leaves out has no verdict either.
    wanted = packages.keys() | {_normal(name) for name in _PINNED.findall(LOCK.read_text(encoding="utf-8"))}
    audited = {name for name, one in packages.items() if "vulns" in one}
    missing = sorted(wanted - audited)
    found = _print_vulnerabilities(packages)
    if missing:
        print(f"NOT AUDITED: {len(missing)} of {len(wanted)} packages: {', '.join(missing)}")
        for reason in _reasons(packages, log):
            print(f"  {reason}")
    if audited and not found:
        print(f"No known vulnerabilities in the {len(audited)} packages that were audited")
    if not missing or found:
        return int(found)
    if audited:
        print("The service answers, so that each package must have a verdict: this fails")
    elif mode == "strict":
        print("AUDIT=strict: this fails")
    else:
        print("The service cannot be read from here; AUDIT=strict makes this a failure")
    return int(bool(audited) or mode == "strict")


def _print_vulnerabilities(packages: dict[str, dict[str, Any]]) -> bool:
    found = False
    for one in packages.values():
        for vulnerability in one.get("vulns", []):
            fixed = ", ".join(vulnerability.get("fix_versions", [])) or "none"
            print(f"VULNERABLE: {one['name']} {one['version']}: {vulnerability['id']} (fixed in: {fixed})")
            found = True
    return found


def _read(report: Path) -> list[dict[str, Any]]:
    try:
        dependencies = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [one for one in dependencies if isinstance(one, dict) and "name" in one]


def _reasons(packages: dict[str, dict[str, Any]], log: Path) -> list[str]:
    """Return why packages have no verdict, each kind of reason once."""
    reasons = {re.sub(r": \S+ \(\S+\)$", "", one["skip_reason"]) for one in packages.values() if "skip_reason" in one}
    if not packages and log.exists():
        reasons.update(log.read_text(encoding="utf-8").strip().splitlines()[-1:])
    return sorted(reasons)[:REASONS_MAX]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""))
