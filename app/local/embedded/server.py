"""Start an embedded server as a child process, wait until it answers, and stop it."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from app.local.spawn import read_log_tail

START_SECONDS = 60.0  # Recovery after a crash reads up to max_wal_size (1 GB) of log on a slow disk.
POLL_SECONDS = 0.02  # A start takes 0.3 s, a connection attempt 1 ms.


class ServerUnavailable(RuntimeError):
    """An embedded server could not be started."""


class RunningServer(ABC):
    """A server process that can be stopped, killed and started again at the same address; runs for a `with` block."""

    name = "server"
    death_signal = signal.SIGTERM
    # Whether the last check was answered with "recovering from a crash".
    is_recovering = False
    stop_steps: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0))

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.log_path = self.home / "logs" / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Return the main process's id. Raise RuntimeError if it was never started."""
        if self.process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self.process.pid

    @property
    def running(self) -> bool:
        """Return whether the main process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> Self:
        """Start the server and wait until it answers. Raise ServerUnavailable if it does not."""
        self.launch()
        assert self.process is not None  # noqa: S101  # nosec B101  # it has just been launched
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.is_recovering:
                # The time of a recovery depends on the size of the log; a restart would only begin it again.
                deadline = time.monotonic() + START_SECONDS
            if self.process.poll() is not None:
                raise ServerUnavailable(self.explain_exit(self.process.returncode))
            if time.monotonic() > deadline:
                self.kill()
                raise ServerUnavailable(f"{self.name} did not answer within {START_SECONDS:.0f} s; see {self.log_path}")
            time.sleep(POLL_SECONDS)
        return self

    def launch(self) -> None:
        """Start the server's process without waiting for an answer. Raise ServerUnavailable if that fails."""
        self.prepare()
        self.process = self.spawn()

    def stop(self) -> None:
        """Stop the server gracefully, by force if that takes too long; do nothing if it is stopped."""
        for signal_number, seconds in self.stop_steps:
            if not self.running or self.process is None:
                break
            self.process.send_signal(signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)

    def kill(self) -> None:
        """End the main process with SIGKILL, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def restart(self) -> Self:
        """Start again at the same address, stopping a running server first."""
        self.stop()
        return self.start()

    def explain_exit(self, code: int) -> str:
        """Return why the server ended, with the last lines of its log."""
        return f"{self.name} ended with code {code}; {self.log_path} ends with:\n{read_log_tail(self.log_path)}"

    @abstractmethod
    def prepare(self) -> None:
        """Write the server's files before its start."""

    @abstractmethod
    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the main process."""

    @abstractmethod
    def answers(self) -> bool:
        """Return whether the server answers a client."""


def find_package(name: str) -> Path:
    """Return an installed package's folder without importing it; a path that does not exist if it is missing."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else Path(name, "not-installed")
