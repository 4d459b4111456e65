"""Calls that a group commit writes as one group, whatever the machine's load."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import pytest

from app.runtime import group_commit
from app.runtime.group_commit import LEADERS_MAX, GroupCommit
from testbed.waiting import DEADLINE_SECONDS, wait_until

_T = TypeVar("_T")


def run_as_one_group(line: GroupCommit[Any, Any], calls: Sequence[Callable[[], _T]]) -> list[Future[_T]]:
    """Run `calls`, which commit one row each on `line`, so that all are in one group; return once all have ended.

    Every turn is taken until all rows wait. Then one turn ends, so that the first row leads the others; the other turns
    end after the group.
    """
    taken, ends = threading.Semaphore(0), [threading.Event() for _ in range(LEADERS_MAX)]

    def take(end: threading.Event) -> None:
        def write(rows: Sequence[object]) -> Sequence[object]:
            taken.release()
            assert end.wait(DEADLINE_SECONDS)
            return rows

        line.commit("a turn", 0, write)

    with pytest.MonkeyPatch.context() as patched, ThreadPoolExecutor(LEADERS_MAX + len(calls)) as pool:
        # On a loaded machine the last row may come long after the first.
        patched.setattr(group_commit, "WAIT_SECONDS", DEADLINE_SECONDS)
        patched.setattr(group_commit, "STUCK_SECONDS", DEADLINE_SECONDS)
        try:
            turns = [pool.submit(take, end) for end in ends]
            for _ in turns:
                assert taken.acquire(timeout=DEADLINE_SECONDS)
            futures = [pool.submit(call) for call in calls]
            wait_until(lambda: line.waiting == len(calls), "all rows wait")
            ends[0].set()
            wait(futures, DEADLINE_SECONDS)
        finally:
            for end in ends:
                end.set()
    return futures
