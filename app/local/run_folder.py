"""The folder of a running stack: its lock, and run.json with its addresses for other commands."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.local.spawn import write_private


class HomeInUse(RuntimeError):
    """Another stack runs in this folder."""


@contextlib.contextmanager
def hold_home(home: Path) -> Iterator[None]:
    """Lock the folder for the duration of the block. Raise HomeInUse if another `sluice up` holds the lock."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(home / "lock", "a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise HomeInUse(
                f"another stack (process {lock.read().strip()}) already runs in {home}: "
                "stop it first, or set SLUICE_HOME and the ports to run both"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        # A stack that was killed leaves its run.json behind.
        remove_run_file(home)
        try:
            yield
        finally:
            remove_run_file(home)


def write_run_file(home: Path, content: Mapping[str, Any]) -> None:
    """Write run.json, readable by its owner only."""
    write_private(home / "run.json", json.dumps(content, indent=2) + "\n")


def read_run_file(home: Path) -> dict[str, Any] | None:
    """Return the content of run.json, or None if no stack is ready."""
    try:
        content: dict[str, Any] = json.loads((home / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content


def remove_run_file(home: Path) -> None:
    """Remove run.json if there is one."""
    (home / "run.json").unlink(missing_ok=True)
