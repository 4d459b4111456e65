"""Start the guard, which kills all process groups if the supervisor is killed (app/local/orphan_guard.py)."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

GUARD = Path(__file__).with_name("orphan_guard.py")


class Guard:
    """The guard process and the pipe that names the groups it must kill."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The guard's process id; None before the start."""
        return None if self._process is None else self._process.pid

    def ensure(self, groups: Iterable[int]) -> bool:
        """Start a guard unless one runs, and send it all groups; return whether one was started."""
        if self._process is not None and self._process.poll() is None:
            return False
        self._close_pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD)],
            stdin=subprocess.PIPE,
            # A pipe that reads our output would otherwise stay open until the guard ends.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for group in groups:
            self.send("+", group)
        return True

    def send(self, sign: str, group: int) -> None:
        """Add ("+") or remove ("-") a group; a guard that was killed is replaced by the next `ensure`."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(f"{sign}{group}\n".encode())
                self._process.stdin.flush()

    def stop(self) -> None:
        """End the guard, which first kills the remaining groups."""
        if self._process is not None:
            self._close_pipe()
            self._process.wait()
            self._process = None

    def _close_pipe(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
