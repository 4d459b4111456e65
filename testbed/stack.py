"""Chosen processes of Sluice, started as `sluice up` starts them, on databases of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from app.local.processes import ROOT, Ports, Process, list_processes
from app.local.readiness import node_answers, url_answers
from app.local.spawn import hold_free_ports, launch, read_log_tail
from app.runtime.runtime import Runtime
from testbed.process_tree import kill_all, list_tree
from testbed.sandbox_control import SandboxControl
from testbed.servers import Databases
from testbed.shop import Shop, make_shop
from testbed.waiting import StackError, wait_until

# A cold interpreter on a busy two-core machine; a process that needs longer does not start at all.
START_SECONDS = 60.0
STOP_SECONDS = 8.0


@dataclass
class Stack:
    """Processes by name (see app.local.processes); `environment` overrides their own variables."""

    databases: Databases
    runtime: Runtime
    ports: Ports
    environment: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _described: dict[str, Process] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def open(cls, databases: Databases, **environment: str) -> Iterator[Self]:
        """Open a stack in which no process runs yet; started processes are ended with the block."""
        with contextlib.ExitStack() as opened:
            ports = Ports("127.0.0.1", *opened.enter_context(hold_free_ports(4)))
            urls = {"SLUICE_PUBLIC_URL": f"http://127.0.0.1:{ports.web}"}
            runtime = opened.enter_context(databases.open_runtime(**urls | environment))
            stack = cls(databases, runtime, ports, environment)
            opened.callback(stack.close)
            yield stack

    @property
    def web(self) -> str:
        """The web process's base URL."""
        return self.ports.url(self.ports.web)

    @property
    def sockets(self) -> str:
        """The sockets process's base URL."""
        return self.ports.url(self.ports.sockets)

    @property
    def sandbox(self) -> SandboxControl:
        """The control API of the sandbox, which must have been started."""
        return SandboxControl(self.ports.url(self.ports.sandbox))

    def log_path(self, name: str) -> Path:
        """Return where a process logs."""
        return self.databases.folder / f"{name}.log"

    def start(self, *names: str, **environment: str) -> None:
        """Start processes, all at once, and wait until each of them works. Raise StackError where one does not."""
        self.launch(*names, **environment)
        self.await_working(*names)

    def launch(self, *names: str, **environment: str) -> None:
        """Start processes without waiting; `await_working` may follow."""
        for name in names:
            process = self._describe(name)
            outer = {**os.environ, **self.databases.environment, **self._urls, **self._share_metrics(process)}
            self.running[name] = launch(
                process.argv,
                log_path=self.log_path(name),
                env=process.environment({**outer, **self.environment, **environment}),
                cwd=ROOT,
                death_signal=signal.SIGTERM,
            )

    def start_ended(self) -> None:
        """Start the processes again that have ended by themselves, as their supervisor would."""
        self.start(*[name for name, running in self.running.items() if running.poll() is not None])

    def await_working(self, *names: str) -> None:
        """Wait until each of these works. Raise StackError where one does not."""
        for name in names:
            wait_until(lambda name=name: self._works(name), f"{name} works", START_SECONDS)  # type: ignore[misc]

    def _describe(self, name: str) -> Process:
        # Kept: a worker's node has random digits in its name.
        if name not in self._described:
            self._described = {process.name: process for process in list_processes(self.ports, self.databases.folder)}
        return self._described[name]

    @property
    def _urls(self) -> dict[str, str]:
        """Return the environment variables with the addresses of the processes."""
        return {
            "SLUICE_BIND": "127.0.0.1",
            "SLUICE_PORT": str(self.ports.web),
            "SLUICE_SANDBOX_PORT": str(self.ports.sandbox),
            "SLUICE_SOCKETS_PORT": str(self.ports.sockets),
            "SLUICE_FLOWER_PORT": str(self.ports.flower),
            "SLUICE_PUBLIC_URL": self.web,
            "SLUICE_SOCKETS_PUBLIC_URL": self.sockets,
            "SLUICE_SANDBOX_PUBLIC_URL": self.sandbox.url,
            # Short waits, so that a repeated webhook is seen within a test; the honest schedule is an hour long.
            "SANDBOX_RETRY_SECONDS": "0.2,0.2,0.2",
        }

    def _share_metrics(self, process: Process) -> dict[str, str]:
        """Several processes of a type add up their metrics in a folder, as under `sluice up`."""
        if not process.several_processes:
            return {}
        folder = self.databases.folder / "metrics" / process.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return {"PROMETHEUS_MULTIPROC_DIR": str(folder)}

    def _works(self, name: str) -> bool:
        running, process = self.running[name], self._describe(name)
        if running.poll() is not None:
            raise StackError(f"{name} ended with {running.returncode}: {read_log_tail(self.log_path(name), 30)}")
        if process.health_url:
            return url_answers(process.health_url)
        return not process.node or node_answers(self.databases.redis_url, process.node)

    def tree(self, name: str) -> list[psutil.Process]:
        """Return a started process and its descendants; none where it has ended."""
        running = self.running[name]
        return list_tree(running.pid) if running.poll() is None else []

    def stop(self, *names: str, sign: signal.Signals = signal.SIGTERM) -> None:
        """End processes and their children, all at once; SIGKILL hits the children too, as the end of a machine."""
        trees = [self.tree(name) for name in names]
        for name, tree in zip(names, trees, strict=True):
            if sign == signal.SIGKILL:
                kill_all(tree)
            else:
                self.running[name].send_signal(sign)
        deadline = time.monotonic() + STOP_SECONDS
        for name, tree in zip(names, trees, strict=True):
            running = self.running.pop(name)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(max(0.0, deadline - time.monotonic()))
            kill_all(tree)
            running.wait()

    def close(self) -> None:
        """End everything that runs."""
        self.stop(*self.running)

    def make_shop(self, **tenant: Any) -> Shop:
        """Make a tenant, and its account at the sandbox where that runs."""
        shop = make_shop(self.runtime, self.sandbox.url, **tenant)
        if "sandbox" in self.running:
            account = (shop.provider_api_key, shop.webhook_secret, shop.provider_id)
            self.sandbox.put_merchant(shop.tenant_id, *account)
        return shop
