"""An adapter of somebody else's package, written from docs/ADAPTERS.md, is installed and passes the kit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT

PACKAGE = ROOT / "tests" / "outsider_adapter"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a process in which the package is installed."""
    folder, copy = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source")
    # Building leaves files in the folder of the sources.
    for path in PACKAGE.glob("[!.]*.*"):
        (copy / path.name).write_bytes(path.read_bytes())
    install = [
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(folder),
        str(copy),
    ]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, timeout=100, capture_output=True)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def run(environment: dict[str, str], *arguments: str) -> tuple[int, dict[str, object]]:
    """Run a command of `sluice adapters`; return its exit code and its document."""
    command = [sys.executable, "-m", "app.cli", "adapters", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_it_is_listed(environment: dict[str, str]) -> None:
    _, document = run(environment, "list")
    rows = document["data"]
    assert isinstance(rows, list)
    (row,) = [row for row in rows if row["name"] == "acme-pay"]
    assert (row["package"], row["problem"]) == ("sluice-acme-pay", None)


def test_it_passes_the_kit(environment: dict[str, str]) -> None:
    code, document = run(environment, "test", "acme-pay")
    rows = document["data"]
    assert isinstance(rows, list)
    assert [row for row in rows if row["state"] == "FAIL"] == []
    assert (code, document["ok"]) == (0, True)


def test_the_adapter_is_one_file_of_public_parts() -> None:
    source = (PACKAGE / "acme_pay.py").read_text(encoding="utf-8")
    page = Path(ROOT / "docs" / "ADAPTERS.md").read_text(encoding="utf-8")
    imported = [line.split()[1] for line in source.splitlines() if line.startswith("from app.")]
    assert [name for name in imported if name not in page] == []
