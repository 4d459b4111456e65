"""`sluice up` as a process of its own, with a home and ports of its own, and what a test may do to its parts."""

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
import psycopg2
import psycopg2.extras
import requests

from app.local.spawn import find_free_ports
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


class RunningStack:
    """One `sluice up`; may be stopped and started again on the same home."""

    def __init__(self, home: Path, *, ports: tuple[int, int, int] | None = None) -> None:
        self.home = home
        self.ports = ports or choose_ports()
        self.output_path = home.with_name(home.name + ".out")
        self.process: subprocess.Popen[bytes] | None = None
        self.http = requests.Session()
        self.http.trust_env = False

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
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
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
        main = psutil.Process(int(self.run["pids"][name]))
        processes = [main, *main.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def rows(self, query: str, **parameters: object) -> list[dict[str, Any]]:
        """Return rows as the superuser sees them, past the walls between tenants."""
        url = str(self.run["owner_database_url"]).replace("sluice_owner@", "postgres@", 1)
        connection = psycopg2.connect(url)
        try:
            with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute(query, parameters)
                found = [dict(row) for row in cursor.fetchall()]
            connection.commit()
            return found
        finally:
            connection.close()

    def execute(self, statement: str, **parameters: object) -> None:
        """Change rows as the superuser, and commit."""
        self.rows(f"{statement} returning 1", **parameters)

    def script(self, **script: Any) -> None:
        """Has the sandbox misbehave (docs/SANDBOX.md)."""
        answer = self.http.put(f"{self.run['sandbox']}/control/script", json=script, timeout=5)
        assert answer.status_code == 200, answer.text

    def truth(self, payment_id: str) -> dict[str, Any]:
        """Return what the external app knows of a payment of ours: `{payments, create_calls}`."""
        return self._look("truth", payment_id)

    def deliveries(self, payment_id: str) -> list[dict[str, Any]]:
        """Return the webhooks that the external app sent for a payment of ours, with each attempt's answer."""
        sent: list[dict[str, Any]] = self._look("deliveries", payment_id)["data"]
        return sent

    def attempts(self, payment_id: str) -> list[int | None]:
        """Return the status codes with which the external app's attempts to deliver were answered; None for none."""
        return [attempt["status"] for sent in self.deliveries(payment_id) for attempt in sent["attempts"]]

    def _look(self, what: str, payment_id: str) -> dict[str, Any]:
        url = f"{self.run['sandbox']}/control/{what}"
        found: dict[str, Any] = self.http.get(url, params={"merchant_reference": payment_id}, timeout=5).json()
        return found


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
    web, sandbox, flower = find_free_ports(3)
    return web, sandbox, flower
