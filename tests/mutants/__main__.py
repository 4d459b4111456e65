"""Plants each bug in a copy of the project and shows whether a test goes red: `make mutants ARGS="words"`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.mutant import Mutant
from tests.mutants.table import MUTANTS
from tests.support.repository import ROOT

# A test that hangs because of the bug has noticed it.
SECONDS_MAX = 300


def main() -> int:
    """Run the mutants whose promise, path or tests contain all words of the command line; 1 if one survives."""
    words = [word.lower() for word in sys.argv[1:]]
    chosen = [
        mutant
        for mutant in MUTANTS
        if all(word in f"{mutant.promise} {mutant.path} {mutant.tests}".lower() for word in words)
    ]
    survivors = []
    with tempfile.TemporaryDirectory(prefix="sluice-mutants-") as folder:
        copy = copy_project(Path(folder))
        named = sorted({test for mutant in chosen for test in mutant.tests})
        if not is_green(copy, named):
            print("The named tests fail without any planted bug: nothing can be said")
            return 2
        for mutant in chosen:
            started = time.monotonic()
            survived = survives(copy, mutant)
            verdict = "SURVIVED" if survived else "found"
            print(f"{verdict}  {time.monotonic() - started:5.1f} s  {mutant.path}: {mutant.promise}", flush=True)
            survivors += [mutant] * survived
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} planted bugs were found")
    return 1 if survivors else 0


def copy_project(folder: Path) -> Path:
    """Copy the files that git knows, as they are now, into `folder`."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def survives(copy: Path, mutant: Mutant) -> bool:
    """Whether all tests of the mutant pass with its bug planted in `copy`; the copy is put back afterwards."""
    target = copy / mutant.path
    target.write_text(mutant.apply(), encoding="utf-8")
    try:
        return is_green(copy, mutant.tests)
    finally:
        target.write_text(mutant.read(), encoding="utf-8")


def is_green(copy: Path, tests: list[str] | tuple[str, ...]) -> bool:
    """Whether pytest passes the tests in `copy`. Raise RuntimeError where it could not run them."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", f"--timeout={SECONDS_MAX}", "-p", "no:cacheprovider"]
    # Before the installed checkout on the path, so that subprocesses too run what is in the copy.
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, *(f"tests/{test}" for test in tests)], cwd=copy, env=environment, capture_output=True, text=True
    )
    if done.returncode not in (0, 1):
        # A bug that keeps the application from starting says nothing about the test.
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
