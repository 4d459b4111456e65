"""Every process type ends within ten seconds of SIGTERM while its broker or its database is gone or does not answer."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.local.embedded.server import RunningServer
from app.local.readiness import url_answers
from testbed.process_tree import list_tree
from testbed.servers import NO_SYNC, Servers, open_servers
from testbed.stack import Stack
from testbed.waiting import wait_until

NAMES = ("web", "sockets", "worker-settle", "worker-provider", "worker-deliver", "beat", "flower")
GONE_SECONDS = 10.0
# A cold interpreter on a busy two-core machine takes most of it.
NOTICED_SECONDS = 40.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers that the tests stop and freeze."""
    with open_servers(tmp_path_factory.mktemp("stops"), NO_SYNC) as opened:
        yield opened


@contextlib.contextmanager
def made_unavailable(server: RunningServer, how: str) -> Iterator[None]:
    """Stop a server for the length of a block, or freeze it, so that it accepts connections and answers nothing."""
    if how == "gone":
        server.stop()
        try:
            yield
        finally:
            server.restart()
        return
    tree = list_tree(server.pid)
    for process in tree:
        process.suspend()
    try:
        yield
    finally:
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def handles_sigterm(pid: int) -> bool:
    """Return whether a process has come far enough in its start to handle SIGTERM itself."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))


def has_lost_database(stack: Stack) -> bool:
    """Return whether the web process has noticed that the database is away."""
    return not url_answers(stack.web + "/health/ready")


def has_lost_broker(stack: Stack) -> bool:
    """Return whether all workers have noticed that the broker is away."""
    logs = [stack.log_path(name).read_text(encoding="utf-8", errors="replace") for name in NAMES if "worker" in name]
    return all("onnection to broker lost" in log or "Cannot connect" in log for log in logs)


def assert_all_end(stack: Stack) -> None:
    """Ask all processes to stop, and fail unless each goes in time, with 0 and with all that it started."""
    families = {name: stack.tree(name) for name in NAMES}
    began = time.monotonic()
    for name in NAMES:
        stack.running[name].send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs([process for family in families.values() for process in family], GONE_SECONDS)
    left = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert not left, {name: [each for each in family if each in left] for name, family in families.items()}
    assert time.monotonic() - began < GONE_SECONDS + 1
    assert {name: stack.running.pop(name).wait(1) for name in NAMES} == dict.fromkeys(NAMES, 0)


@pytest.mark.parametrize("how", ["gone", "frozen"])
@pytest.mark.parametrize("which", ["valkey", "postgres"])
def test_processes_that_lose_a_server_end(own_servers: Servers, which: str, how: str) -> None:
    with own_servers.open_databases() as databases, Stack.open(databases) as stack:
        stack.start(*NAMES)
        with made_unavailable(getattr(own_servers, which), how):
            # No log line follows a freeze at once: the processes are in the middle of a query.
            if how == "gone":
                noticed = has_lost_broker if which == "valkey" else has_lost_database
                wait_until(lambda: noticed(stack), f"{which} is missed", NOTICED_SECONDS)
            assert_all_end(stack)


@pytest.mark.parametrize("how", ["gone", "frozen"])
@pytest.mark.parametrize("which", ["valkey", "postgres"])
def test_processes_that_start_without_a_server_end(own_servers: Servers, which: str, how: str) -> None:
    with (
        own_servers.open_databases() as databases,
        Stack.open(databases) as stack,
        made_unavailable(getattr(own_servers, which), how),
    ):
        stack.launch(*NAMES)
        started = [stack.running[name].pid for name in NAMES]
        wait_until(lambda: all(map(handles_sigterm, started)), "all have begun to start", NOTICED_SECONDS)
        assert_all_end(stack)
