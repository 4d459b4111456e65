"""A bench that is ended leaves no process behind, whatever ended it, and also where its broker does not answer."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.local.processes import ROOT
from testbed.process_tree import kill_all, list_tree
from testbed.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

START_SECONDS = 90.0
# Servers are given seven seconds each to end in good order.
GONE_SECONDS = 25.0


class RunningBench:
    """A bench in a process of its own, and all that it has started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.main = subprocess.Popen(
            (sys.executable, "-m", "app.cli", "bench", "--json", "--only", "settle_vs_celery_noop"),
            env={**os.environ, "TMPDIR": str(folder)},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.tree: list[psutil.Process] = []

    def has_workers(self) -> bool:
        """Return whether the pools of the product's worker and of the baseline's run."""
        self.tree = list_tree(self.main.pid)
        commands = []
        for process in self.tree:
            # A zombie has no command line.
            with contextlib.suppress(psutil.NoSuchProcess):
                commands.append(" ".join(process.cmdline()))
        return all(sum(name in command for command in commands) >= 3 for name in ("noop_app", "ring.settle"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RunningBench]:
    """Provide a bench whose workers run."""
    running = RunningBench(tmp_path)
    try:
        wait_until(running.has_workers, "the workers run", START_SECONDS)
        yield running
    finally:
        kill_all(running.tree)
        running.main.kill()
        running.main.wait()


def assert_ended(processes: list[psutil.Process]) -> None:
    """Fail unless these processes end in time."""
    _, alive = psutil.wait_procs(processes, GONE_SECONDS)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_a_bench_that_is_asked_to_stop_clears_away(bench: RunningBench) -> None:
    bench.main.send_signal(signal.SIGTERM)
    assert bench.main.wait(GONE_SECONDS) == 128 + signal.SIGTERM
    assert_ended(bench.tree)
    assert list(bench.folder.iterdir()) == []


@pytest.mark.parametrize("is_frozen", [False, True], ids=["broker up", "broker frozen"])
def test_a_bench_that_is_killed_takes_all_along(bench: RunningBench, is_frozen: bool) -> None:
    (broker,) = [process for process in bench.tree if process.name().startswith("valkey")]
    if is_frozen:
        broker.suspend()
    bench.main.kill()
    # A frozen process gets its signal when it is resumed.
    assert_ended([process for process in bench.tree if process != broker])
    with contextlib.suppress(psutil.NoSuchProcess):
        broker.resume()
    assert_ended([broker])
