"""Schemathesis over the OpenAPI document with all of its checks: what is sent is answered as the document says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.shop import Shop
from tests.support.stack import Stack

# One seed, so that a failure is there again the next time; a longer run takes others (`make fuzz`).
SEED = int(os.environ.get("FUZZ_SEED", "20260131"))
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "110"))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
def test_the_api_answers_as_its_document_says(house: Stack, shop: Shop, tmp_path: Path) -> None:
    argv = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{house.web}/openapi.json"),
        *("--checks", "all", "--seed", str(SEED), "--max-examples", str(EXAMPLES), "--workers", "1"),
        *("--phases", "examples,coverage,fuzzing", "--header", f"Authorization: Bearer {shop.secret_key}"),
        *("--generation-database", "none", "--continue-on-failure", "--no-color"),
        # Metrics change while they are read, and are plain text by a standard of their own.
        *("--exclude-path", "/metrics"),
    ]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    log = (house.place.folder / "web.log").read_text(encoding="utf-8")
    assert '"unexpected"' not in log
