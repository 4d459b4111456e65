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
# The coverage phase can meet a fault of Python 3.11's own parser; the long run takes it in.
PHASES = os.environ.get("FUZZ_PHASES", "examples,fuzzing")
# What a document cannot say: that a cursor is one we gave, that a signature fits, and that a fixed name and an id share
# a place in a path (GET on the fixed name is then an id that is not there).
UNSAYABLE = "positive_data_acceptance,unsupported_method,allow_header_conformance"
SECONDS = float(os.environ.get("FUZZ_SECONDS", "110"))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
def test_the_api_answers_as_its_document_says(house: Stack, shop: Shop, tmp_path: Path) -> None:
    # Nobody works on these payments: a request that waits for a change would wait for its whole time.
    (tmp_path / "schemathesis.toml").write_text('[parameters]\n"query.wait" = 0\n"header.Prefer" = "wait=0"\n')
    argv = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{house.web}/openapi.json"),
        *(
            "--checks",
            "all",
            "--exclude-checks",
            UNSAYABLE,
            "--seed",
            str(SEED),
            "--max-examples",
            str(EXAMPLES),
            "--workers",
            "4",
        ),
        *("--phases", PHASES, "--header", f"Authorization: Bearer {shop.secret_key}"),
        *("--generation-database", "none", "--continue-on-failure", "--no-color"),
        # Metrics change while they are read, and are plain text by a standard of their own.
        *("--exclude-path", "/metrics"),
    ]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    (tmp_path / "report.txt").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    log = (house.place.folder / "web.log").read_text(encoding="utf-8")
    assert '"unexpected"' not in log
