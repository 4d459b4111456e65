"""What an operation costs in processor time, by process: where the time goes, whatever else the machine does."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from typing import Any

import psutil

from bench.figures import short
from bench.measured_stack import MeasuredStack


def read_seconds(stack: MeasuredStack) -> dict[str, float]:
    """Return the processor seconds that each process of `stack` and both servers have used so far."""
    servers = stack.servers
    mains = {name: process.pid for name, process in stack.running.items()}
    mains |= {"postgresql": servers.postgres.pid, "valkey": servers.valkey.pid}
    return {name: sum_seconds(pid) for name, pid in mains.items()}


def sum_seconds(pid: int) -> float:
    """Return what a process, its children and those of them that have ended used so far, in seconds."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        main = psutil.Process(pid)
        for process in (main, *main.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


class Costs:
    """Processor time by operation, summed up over rounds."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._seconds: dict[str, dict[str, float]] = {}

    @contextlib.contextmanager
    def of(self, operation: str, stack: MeasuredStack, count: int = 0) -> Iterator[None]:
        """Charge the processor time of a block to `count` operations; `add` may report them later instead."""
        before = read_seconds(stack)
        yield
        self.add(operation, count)
        sums = self._seconds.setdefault(operation, {})
        for name, seconds in read_seconds(stack).items():
            sums[name] = sums.get(name, 0.0) + max(0.0, seconds - before.get(name, 0.0))

    @contextlib.contextmanager
    def of_children(self, operation: str, name: str) -> Iterator[None]:
        """Charge the processor time of child processes that begin and end within a block."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        yield
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.charge(operation, name, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    def add(self, operation: str, count: int) -> None:
        """Add `count` to the number of operations done."""
        self._counts[operation] = self._counts.get(operation, 0) + count

    def charge(self, operation: str, name: str, seconds: float) -> None:
        """Charge processor time (s) that another process reported."""
        sums = self._seconds.setdefault(operation, {})
        sums[name] = sums.get(name, 0.0) + seconds

    def describe(self) -> list[dict[str, Any]]:
        """Return, for each operation, how many were done and the microseconds that one took in each process."""
        return [
            {
                "operation": operation,
                "count": count,
                "microseconds": {
                    name: short(seconds * 1e6 / count) for name, seconds in self._seconds[operation].items()
                },
            }
            for operation, count in self._counts.items()
            if count
        ]
