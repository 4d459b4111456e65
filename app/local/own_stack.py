"""Find the running stack, or run one for the duration of a command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from app.local.processes import ROOT
from app.local.readiness import url_answers
from app.local.run_folder import read_run_file
from app.local.spawn import launch, read_log_tail, reserve_ports
from app.local.supervisor import StartFailed
from app.runtime.settings import Settings

START_SECONDS = 120.0  # `sluice up` has shorter timeouts and reports itself what did not start.
STOP_SECONDS = 15.0  # A stack stops within ten; the rest is for a machine under load.
POLL_SECONDS = 0.05  # Short in relation to a start of seconds.

# Not inherited: a command's own stack listens on loopback only, whatever addresses the operator has configured.
_ADDRESSES = (
    *("SLUICE_BIND", "SLUICE_SOCKETS_PORT", "SLUICE_METRICS_PORT"),
    *("SLUICE_PUBLIC_URL", "SLUICE_SOCKETS_PUBLIC_URL", "SLUICE_SANDBOX_PUBLIC_URL"),
)


def find_running(home: Path) -> dict[str, Any] | None:
    """Return run.json of the stack in `home` if it answers."""
    run = read_run_file(home)
    return run if run is not None and url_answers(f"{run['web']}/health/live") else None


@contextlib.contextmanager
def start_own(settings: Settings) -> Iterator[dict[str, Any]]:
    """Run `sluice up` in the settings' home on free ports for the duration of the block; yield its run.json.

    Raise StartFailed with the end of its log.
    """
    log_path = settings.home / "logs" / "own-stack.log"
    log_path.unlink(missing_ok=True)
    ports = dict(
        zip(("SLUICE_PORT", "SLUICE_SANDBOX_PORT", "SLUICE_FLOWER_PORT"), map(str, reserve_ports(3)), strict=True)
    )
    env = {key: value for key, value in os.environ.items() if key not in _ADDRESSES}
    env |= {**ports, "SLUICE_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"}
    # The working directory stays the caller's: relative paths in the environment refer to it.
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    stack = launch([sys.executable, "-m", "app.cli", "up"], log_path=log_path, env=env, death_signal=signal.SIGTERM)
    # SIGTERM to this command must stop the stack before the command ends.
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield _wait_for_run_file(stack, settings.home, log_path)
    finally:
        _stop(stack)
        signal.signal(signal.SIGTERM, before)


def _exit(number: int, _frame: FrameType | None) -> None:
    # The exit code by which a shell reports a signal.
    raise SystemExit(128 + number)


def _wait_for_run_file(stack: subprocess.Popen[bytes], home: Path, log_path: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        run = read_run_file(home)
        if run is not None and run["pids"]["supervisor"] == stack.pid:
            return run
        if stack.poll() is not None:
            raise StartFailed(f"the stack did not start:\n{read_log_tail(log_path)}")
        time.sleep(POLL_SECONDS)
    raise StartFailed(f"the stack was not ready within {START_SECONDS:.0f} s; see {log_path}")


def _stop(stack: subprocess.Popen[bytes]) -> None:
    stack.terminate()
    try:
        stack.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        stack.kill()
        stack.wait()
