"""A sandbox of the kit's own, for the time of a run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from app.local.processes import ROOT, drop_secrets
from app.local.readiness import url_answers
from app.local.spawn import launch, read_log_tail, reserve_ports
from app.local.supervisor import StartFailed

# A cold interpreter on a busy machine needs some seconds.
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05


@contextlib.contextmanager
def start_sandbox() -> Iterator[str]:
    """Run a sandbox on a free port in a temporary folder; yield its URL. Raise StartFailed."""
    with tempfile.TemporaryDirectory(prefix="sluice-conformance-") as folder:
        log, (port,) = Path(folder) / "sandbox.log", reserve_ports(1)
        environment = drop_secrets(os.environ) | {
            "SLUICE_BIND": "127.0.0.1",
            "SLUICE_SANDBOX_PORT": str(port),
            "SLUICE_SANDBOX_PUBLIC_URL": "",
            "SANDBOX_DATA": str(Path(folder) / "data"),
        }
        process = launch(
            [sys.executable, "-m", "sandbox"], log_path=log, env=environment, cwd=ROOT, death_signal=signal.SIGTERM
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _await(process, url, log)
            yield url
        finally:
            _stop(process)


def _await(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not url_answers(f"{url}/health"):
        if process.poll() is not None or time.monotonic() >= deadline:
            raise StartFailed(f"the sandbox did not start:\n{read_log_tail(log)}")
        time.sleep(_POLL_SECONDS)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
