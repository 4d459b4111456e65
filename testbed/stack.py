"""Chosen processes of Sluice, started as `sluice up` starts them, on a database of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
import requests

from app.local.processes import ROOT, Ports, Process, list_processes
from app.local.readiness import node_answers, url_answers
from app.local.spawn import find_free_ports, launch, read_log_tail
from app.runtime.runtime import Runtime
from testbed.servers import Databases
from testbed.shop import Shop, make_shop
from testbed.waiting import StackError, wait_until

# A cold interpreter on a busy two-core machine; a process that needs longer does not start at all.
START_SECONDS = 40.0
STOP_SECONDS = 8.0


@dataclass
class Stack:
    """Processes by name (see app.local.processes); `environment` goes over what they get."""

    databases: Databases
    runtime: Runtime
    ports: Ports
    environment: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def web(self) -> str:
        """The web process's base URL."""
        return self.ports.url(self.ports.web)

    @property
    def sandbox(self) -> str:
        """The sandbox's base URL."""
        return self.ports.url(self.ports.sandbox)

    @property
    def sockets(self) -> str:
        """The sockets process's base URL."""
        return self.ports.url(self.ports.sockets)

    def start(self, *names: str, **environment: str) -> None:
        """Start processes, all at once, and waits until each of them works."""
        processes = {process.name: process for process in list_processes(self.ports, self.databases.folder)}
        outer = {**os.environ, **self.databases.environment, **self.urls, **self.environment, **environment}
        for name in names:
            process = processes[name]
            log = self.databases.folder / f"{name}.log"
            self.running[name] = launch(
                process.argv,
                log_path=log,
                env=process.environment(outer),
                cwd=ROOT,
                death_signal=signal.SIGTERM,
            )
        for name in names:
            wait_until(lambda name=name: self._works(processes[name]), f"{name} works", START_SECONDS)  # type: ignore[misc]

    @property
    def urls(self) -> dict[str, str]:
        """The variables that tell every process where the others are."""
        return {
            "SLUICE_BIND": "127.0.0.1",
            "SLUICE_PORT": str(self.ports.web),
            "SLUICE_SANDBOX_PORT": str(self.ports.sandbox),
            "SLUICE_SOCKETS_PORT": str(self.ports.sockets),
            "SLUICE_FLOWER_PORT": str(self.ports.flower),
            "SLUICE_PUBLIC_URL": self.web,
            "SLUICE_SOCKETS_PUBLIC_URL": self.sockets,
            "SLUICE_SANDBOX_PUBLIC_URL": self.sandbox,
            # Short waits, so that a repeated webhook is seen within a test; the honest schedule is an hour long.
            "SANDBOX_RETRY_SECONDS": "0.2,0.2,0.2",
        }

    def _works(self, process: Process) -> bool:
        running = self.running[process.name]
        log = self.databases.folder / f"{process.name}.log"
        if running.poll() is not None:
            raise StackError(f"{process.name} ended with {running.returncode}: {read_log_tail(log, 30)}")
        if process.health_url:
            return url_answers(process.health_url)
        return not process.node or node_answers(self.databases.redis_url, process.node)

    def stop(self, name: str, kind: signal.Signals = signal.SIGTERM) -> None:
        """End a process and its children; SIGKILL hits all of them at once, as the end of a machine does."""
        running = self.running.pop(name)
        family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
        if kind == signal.SIGKILL:
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        else:
            running.send_signal(kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(STOP_SECONDS)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        running.wait()

    def close(self) -> None:
        """End everything that runs."""
        for name in list(self.running):
            if self.running[name].poll() is None:
                self.stop(name)

    def make_shop(self, **tenant: Any) -> Shop:
        """Make a tenant, and its account at the sandbox where that runs."""
        shop = make_shop(self.runtime, self.sandbox, **tenant)
        if "sandbox" in self.running:
            account = {
                "api_key": shop.provider_api_key,
                "provider_id": str(shop.provider_id),
                "webhook_secret": shop.webhook_secret,
            }
            _check(requests.put(f"{self.sandbox}/control/merchants/{shop.tenant_id}", json=account, timeout=10))
        return shop

    def script(self, **script: Any) -> None:
        """Store a script at the sandbox (docs/SANDBOX.md)."""
        _check(requests.put(f"{self.sandbox}/control/script", json=script, timeout=10))

    def act(self, reference: str, action: str, **body: Any) -> dict[str, Any]:
        """Pay, declines, cancels or refunds at the sandbox, as the customer does."""
        return _check(requests.post(f"{self.sandbox}/v1/payments/{reference}/{action}", json=body, timeout=20))

    def truth(self, payment_id: uuid.UUID | str) -> dict[str, Any]:
        """Return what really happened at the sandbox for one of our payments."""
        query = {"merchant_reference": str(payment_id)}
        return _check(requests.get(f"{self.sandbox}/control/truth", params=query, timeout=10))


def _check(answer: requests.Response) -> dict[str, Any]:
    """Return the JSON of an answer. Raise StackError unless it is 200."""
    if answer.status_code != 200:
        raise StackError(f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}")
    return dict(answer.json())


@contextlib.contextmanager
def open_stack(databases: Databases, **environment: str) -> Iterator[Stack]:
    """A stack in which nothing runs yet; what was started is ended with the block."""
    ports = Ports("127.0.0.1", *find_free_ports(4))
    urls = {"SLUICE_PUBLIC_URL": f"http://127.0.0.1:{ports.web}"}
    with databases.open_runtime(**urls | environment) as runtime:
        stack = Stack(databases, runtime, ports, environment)
        try:
            yield stack
        finally:
            stack.close()
