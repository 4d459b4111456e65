"""Nodes for pytest-celery that are processes of this machine instead of containers.

The plugin's clusters, its `ready`, `kill` and `restart` then drive the project's own worker commands and an embedded
broker, and no container engine is needed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import celery
import psutil
from pytest_celery import CeleryTestContainer  # type: ignore[import-untyped]
from redis.exceptions import ConnectionError as RedisConnectionError

from app.local.embedded import ValkeyServer
from app.local.processes import ROOT, Ports, Process, list_processes
from app.local.readiness import node_answers
from app.local.spawn import launch, read_log_tail, reserve_ports
from app.runtime.broker.urls import kombu_url
from testbed.waiting import wait_until

# A cold interpreter on a busy two-core machine.
START_SECONDS = 40.0
# What a container engine grants between SIGTERM and SIGKILL.
STOP_SECONDS = 10.0


class ProcessContainer(CeleryTestContainer):  # type: ignore[misc]
    """A process under the names by which the plugin asks a container for its state."""

    def __init__(self, name: str) -> None:
        # The plugin's own initialiser asks a container engine for addresses; a process has none.
        self._label = name

    @property
    def id(self) -> str:
        return socket.gethostname()

    @property
    def name(self) -> str:
        return self._label

    def reload(self) -> None:
        """Do nothing: a process's state is asked for each time."""

    def teardown(self) -> None:
        self.kill(signal.SIGKILL)


class BrokerProcess(ProcessContainer):
    """An embedded Valkey as the broker; it keeps its port and password over a restart."""

    def __init__(self, home: Path) -> None:
        super().__init__("valkey")
        self._server = ValkeyServer(home).start()

    @property
    def url(self) -> str:
        """Where its clients connect."""
        return self._server.url

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {"url": kombu_url(self.url), "host_url": kombu_url(self.url)}

    @property
    def status(self) -> str:
        return "running" if self._server.running else "exited"

    def ready(self) -> bool:
        return self._server.answers()

    def logs(self) -> str:
        return read_log_tail(self._server.log_path, 1000)

    def kill(self, signal: str | int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._server.pid, to_signal(signal))
        wait_until(lambda: not self._server.running, "the broker ended", STOP_SECONDS)

    def restart(self, timeout: int = int(STOP_SECONDS)) -> None:
        self._server.restart()


class WorkerProcess(ProcessContainer):
    """One of the project's worker commands as a process in a group of its own."""

    def __init__(self, name: str, environment: Mapping[str, str], folder: Path) -> None:
        super().__init__(name)
        ports = Ports("127.0.0.1", *reserve_ports(4))
        self._command: Process = next(process for process in list_processes(ports, folder) if process.name == name)
        self._variables = environment
        self._log_path = folder / f"{name}.log"
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return launch(
            self._command.argv,
            log_path=self._log_path,
            env=self._command.environment({**os.environ, **self._variables}),
            cwd=ROOT,
        )

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {}

    @property
    def status(self) -> str:
        return "running" if self._process.poll() is None else "exited"

    @property
    def exit_code(self) -> int | None:
        """How the last process ended; None while it runs."""
        return self._process.poll()

    def processes(self) -> list[psutil.Process]:
        """Return the main process and its pool."""
        main = psutil.Process(self._process.pid)
        return [main, *main.children(recursive=True)]

    def worker_name(self) -> str:
        return self._command.node

    def worker_queue(self) -> str:
        return self._command.argv[self._command.argv.index("--queues") + 1]

    def version(self) -> str:
        return str(celery.__version__)

    def ready(self) -> bool:
        if self.status == "exited":
            raise AssertionError(f"{self.name} ended with {self.exit_code}: {self.logs()}")
        try:
            return node_answers(self._variables["BROKER_URL"], self._command.node)
        except RedisConnectionError:
            # This process's connection is from before the broker's restart; the next poll opens another one.
            return False

    def logs(self) -> str:
        return read_log_tail(self._log_path, 1000)

    def kill(self, signal: str | int = signal.SIGKILL) -> None:
        """Send a signal to the main process; SIGKILL hits all of the group, as the end of a container does."""
        number = to_signal(signal)
        with contextlib.suppress(ProcessLookupError):
            if number == to_signal("SIGKILL"):
                os.killpg(self._process.pid, number)
            else:
                os.kill(self._process.pid, number)
        wait_until(lambda: self._process.poll() is not None, f"{self.name} ended", STOP_SECONDS)

    def restart(self, timeout: int = int(STOP_SECONDS)) -> None:
        self.kill("SIGTERM")
        self.kill("SIGKILL")
        self._process = self._start()
        wait_until(self.ready, f"{self.name} answers", START_SECONDS)


def to_signal(name: str | int) -> signal.Signals:
    """Return a signal named as the plugin names it: by its name or by its number."""
    return signal.Signals[name] if isinstance(name, str) else signal.Signals(name)
