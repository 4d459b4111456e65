"""Check the interpreter, the installed packages, and the adapters that they bring."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from app.doctor.finding import Finding, expect, fail, ok, warn
from app.local.processes import ROOT
from app.providers.registry import Registry

PYTHON_MIN, PYTHON_MAX = (3, 11), (3, 14)  # The versions that the tests run on.
LOCK = ROOT / "requirements" / "runtime.txt"

# One requirement of the lock, without the hashes that follow it.
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*==[^\\\n]+)", re.MULTILINE)


def examine_packages(lock: Path = LOCK) -> Iterator[Finding]:
    """Yield findings about Python, and about the packages compared with the lock file."""
    version = ".".join(map(str, sys.version_info[:3]))
    is_tested = PYTHON_MIN <= sys.version_info[:2] <= PYTHON_MAX
    yield expect("Python", is_tested, version, f"{version} is not tested; 3.11 to 3.14 are", warn)
    if not lock.exists():
        yield warn("Packages", "requirements/runtime.txt is missing: the versions cannot be compared with the lock")
        return
    yield _compare(lock.read_text(encoding="utf-8"))


def examine_adapters(registry: Registry) -> Iterator[Finding]:
    """Yield a finding for each adapter that cannot be used, and one for all others."""
    yield from (fail("Adapters", f"{broken}; repair or remove the package") for broken in registry.broken)
    yield ok("Adapters", ", ".join(registry.adapters))


def _compare(lock: str) -> Finding:
    missing, other, count = [], [], 0
    for line in _PINNED.findall(lock):
        requirement = Requirement(line.strip())
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        count += 1
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(requirement.name)
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            other.append(f"{requirement.name} {installed} (locked: {requirement.specifier})")
    if missing:
        return fail("Packages", f"missing: {', '.join(missing)}; install requirements/runtime.txt")
    differing = f"other versions than the lock: {', '.join(other)}; install requirements/runtime.txt"
    return expect("Packages", not other, f"{count} packages, all as in the lock", differing, warn)
