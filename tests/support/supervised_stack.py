"""`sluice up` with a home and ports of its own, and what a test may do to its processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import requests

from app.local.spawn import reserve_ports
from testbed.process_tree import kill_all, list_tree
from testbed.sandbox_control import SandboxControl
from testbed.superuser import Superuser
from testbed.waiting import wait_until
from tests.support.repository import ROOT

SLUICE = Path(sys.executable).with_name("sluice")
# Seven cold interpreters on a busy two-core machine need some ten seconds; a stack that needs a minute is broken.
START_SECONDS = 60.0
# CONTRACT section 1: Ctrl-C or SIGTERM stops everything within ten seconds.
STOP_SECONDS = 10.0
# A second start is ready in under ten seconds.
SECOND_START_SECONDS = 10.0
# A crashed process is back after at most 15 s of back-off and some seconds of start.
RECOVERY_SECONDS = 45.0
# Short waits, so that a repeated webhook is seen within a test; the honest schedule is an hour long.
SANDBOX_RETRY_SECONDS = "1,1,1,1,2,2,2,2,5,5,5,5"
# What the environment of the test run must not decide for the stack under test.
FOREIGN = ("SLUICE_", "DATABASE_", "REDIS_URL", "BROKER_URL", "TRUSTED_PROXIES", "ALERT_", "PROMETHEUS_")


class SupervisedStack:
    """A whole stack under the supervisor of `sluice up`; may be stopped and started again on the same home."""

    def __init__(self, home: Path, *, ports: tuple[int, int, int] | None = None) -> None:
        self.home = home
        self.ports = ports or choose_ports()
        self.output_path = home.with_name(home.name + ".out")
        self.process: subprocess.Popen[bytes] | None = None
        self.http = requests.Session()
        self.http.trust_env = False
        self._last_superuser: Superuser | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The test run's environment without what would reach into the stack, with its home and ports."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        web, sandbox, flower = self.ports
        return {
            **kept,
            "SLUICE_HOME": str(self.home),
            "SLUICE_PORT": str(web),
            "SLUICE_SANDBOX_PORT": str(sandbox),
            "SLUICE_FLOWER_PORT": str(flower),
            "SANDBOX_RETRY_SECONDS": SANDBOX_RETRY_SECONDS,
        }

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the command without waiting; its output goes to `output_path`."""
        with self.output_path.open("ab") as output:
            return subprocess.Popen(
                [str(SLUICE), "up"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start(self) -> float:
        """Start everything, waits for the closing line and return the seconds it took."""
        began = time.monotonic()
        seen = self.output.count("sluice ready ")
        self.process = self.launch()
        process = self.process

        def is_ready() -> bool:
            assert process.poll() is None, f"sluice up ended with {process.returncode}:\n{self.output}"
            return self.output.count("sluice ready ") > seen

        wait_until(is_ready, "sluice ready", START_SECONDS)
        return time.monotonic() - began

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> float:
        """Ask for the end as an operator does, and return the seconds until every process was gone.

        Fails where one of run.json's processes, or a process that they started, outlives the supervisor.
        """
        assert self.process is not None
        processes = self.processes()
        began = time.monotonic()
        self.process.send_signal(sign)
        code = self.process.wait(STOP_SECONDS * 3)
        assert code == 0, self.output
        left = list_living(processes)
        seconds = time.monotonic() - began
        assert not left, f"left behind: {left}"
        assert not (self.home / "run.json").exists()
        return seconds

    def kill_supervisor(self) -> None:
        """End the command with SIGKILL, which leaves it no time for its processes."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def running(self) -> bool:
        """Whether the command runs."""
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """End what is left after a failed test."""
        if self.process is not None and self.running:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS * 3)
                return
            self.process.kill()

    @property
    def output(self) -> str:
        """What the command printed so far."""
        return self.output_path.read_text(encoding="utf-8") if self.output_path.exists() else ""

    @property
    def run(self) -> dict[str, Any]:
        """The content of run.json as it is now."""
        content: dict[str, Any] = json.loads((self.home / "run.json").read_text(encoding="utf-8"))
        return content

    def processes(self) -> list[psutil.Process]:
        """Return run.json's processes and all that they started; a reused process id is another process."""
        supervisor = psutil.Process(self.run["pids"]["supervisor"])
        found = {process.pid: process for process in (supervisor, *supervisor.children(recursive=True))}
        missing = set(self.run["pids"].values()) - set(found)
        assert not missing, f"run.json names processes that do not run: {missing}"
        return list(found.values())

    def kill(self, name: str) -> int:
        """End one process type with SIGKILL, its own children too, and return its process id."""
        pid = int(self.run["pids"][name])
        kill_all(list_tree(pid))
        return pid

    def wait_for_restart(self, name: str, before: int) -> int:
        """Wait until the supervisor started another process in the place of `before`, and return its id."""
        return wait_until(
            lambda: pid if (pid := int(self.run["pids"][name])) != before and psutil.pid_exists(pid) else None,
            f"{name} started again",
            RECOVERY_SECONDS,
        )

    @contextlib.contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Hold one process type still, its own children too, for the length of the block."""
        processes = list_tree(int(self.run["pids"][name]))
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    @property
    def sandbox(self) -> SandboxControl:
        """The stack's sandbox."""
        return SandboxControl(self.run["sandbox"])

    @property
    def _superuser(self) -> Superuser:
        url = str(self.run["owner_database_url"]).replace("sluice_owner@", "postgres@", 1)
        if self._last_superuser is None or self._last_superuser.url != url:
            self._last_superuser = Superuser(url)
        return self._last_superuser

    def rows(self, sql: str, **values: object) -> list[dict[str, Any]]:
        """Run a statement of the superuser and return its rows; see Superuser.rows."""
        return self._superuser.rows(sql, **values)


def list_living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run; an orphan that ended may wait long for the machine's first process to note it."""
    living = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                living.append(process)
    return living


def choose_ports() -> tuple[int, int, int]:
    """Return free ports for web, sandbox and Flower."""
    web, sandbox, flower = reserve_ports(3)
    return web, sandbox, flower
