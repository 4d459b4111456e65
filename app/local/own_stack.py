"""A stack for the length of one command: the one that runs, or one of the command's own."""

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
from app.local.spawn import find_free_ports, launch, read_log_tail
from app.local.supervisor import StartFailed
from app.runtime.settings import Settings

START_SECONDS = 120.0  # `sluice up` gives its programs less and then says itself what did not start.
STOP_SECONDS = 15.0  # The stack goes within ten; the rest is for a machine under load.
POLL_SECONDS = 0.05  # Short against a start of seconds.

# A stack of a command's own is for this machine and this moment, wherever the operator's own one is meant to listen.
_OWN_PLACE = (
    *("SLUICE_BIND", "SLUICE_SOCKETS_PORT", "SLUICE_METRICS_PORT"),
    *("SLUICE_PUBLIC_URL", "SLUICE_SOCKETS_PUBLIC_URL", "SLUICE_SANDBOX_PUBLIC_URL"),
)


def find_running(home: Path) -> dict[str, Any] | None:
    """Return run.json of the stack in `home` where it answers."""
    run = read_run_file(home)
    return run if run is not None and url_answers(f"{run['web']}/health/live") else None


@contextlib.contextmanager
def start_own(settings: Settings) -> Iterator[dict[str, Any]]:
    """Run `sluice up` in the settings' home on free ports for the length of the block; give its run.json.

    Raise StartFailed with what it said.
    """
    log_path = settings.home / "logs" / "own-stack.log"
    log_path.unlink(missing_ok=True)
    ports = dict(
        zip(("SLUICE_PORT", "SLUICE_SANDBOX_PORT", "SLUICE_FLOWER_PORT"), map(str, find_free_ports(3)), strict=True)
    )
    env = {key: value for key, value in os.environ.items() if key not in _OWN_PLACE}
    env |= {**ports, "SLUICE_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"}
    # It dies with this process, however that ends: see app.local.spawn.
    stack = launch(
        [sys.executable, "-m", "app.cli", "up"], log_path=log_path, env=_importable(env), death_signal=signal.SIGTERM
    )
    # Whoever ends this command expects that its stack is gone when it is.
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield _wait_for_run_file(stack, settings.home, log_path)
    finally:
        _stop(stack)
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _frame: FrameType | None) -> None:
    # The exit code with which a shell reports the end by a signal.
    raise SystemExit(128 + number)


def _importable(env: dict[str, str]) -> dict[str, str]:
    # The working directory stays the caller's, because relative paths in the environment mean that one.
    paths = [str(ROOT), *filter(None, [env.get("PYTHONPATH")])]
    return {**env, "PYTHONPATH": os.pathsep.join(paths)}


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
