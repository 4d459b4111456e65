"""Callers that come together share a commit; each gets its own receipt or its own error, and none hangs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg2
import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from app.local.processes import ROOT
from app.runtime import group_commit
from app.runtime.group_commit import GROUP_BYTES_MAX, GROUP_ROWS_MAX, LEADERS_MAX, GroupCommit
from testbed.waiting import wait_until

Group = GroupCommit[int, str]
BLOCKERS = range(-LEADERS_MAX, 0)


class Table:
    """What was committed, group by group; a commit of negative rows takes until `opened` is set."""

    def __init__(self, refused: Callable[[Sequence[int]], BaseException | None] = lambda rows: None) -> None:
        self.group: Group = GroupCommit()
        self.opened = threading.Event()
        self.groups: list[list[int]] = []
        self.asked: list[list[int]] = []
        self.refused = refused
        self._pool = ThreadPoolExecutor(200)
        self._lock = threading.Lock()

    def write(self, rows: Sequence[int]) -> list[str]:
        """Commit rows and return their receipts."""
        with self._lock:
            self.asked.append(list(rows))
        if rows[0] < 0:
            assert self.opened.wait(20)
        if error := self.refused(rows):
            raise error
        with self._lock:
            self.groups.append(list(rows))
        return [f"receipt {row}" for row in rows]

    def commit(self, row: int, size: int = 1) -> Future[str]:
        """Commit a row in a thread of its own."""
        return self._pool.submit(self.group.commit, row, size, self.write)

    def block(self) -> list[Future[str]]:
        """Let as many commits be under way as there may be."""
        blockers = [self.commit(row) for row in BLOCKERS]
        wait_until(lambda: len(self.asked) == len(blockers), "all turns are taken")
        return blockers

    def queue(self, rows: Sequence[int], size: int = 1) -> list[Future[str]]:
        """Let rows wait, in this order."""
        queued = []
        for row in rows:
            before = self.group.waiting
            queued.append(self.commit(row, size))
            wait_until(lambda before=before: self.group.waiting == before + 1, f"row {row} waits")  # type: ignore[misc]
        return queued

    def close(self) -> None:
        """End all threads."""
        self.opened.set()
        self._pool.shutdown()


def lost(_rows: Sequence[int]) -> OperationalError:
    """Return the error of a lost connection."""
    return OperationalError("insert", {}, psycopg2.OperationalError("server closed the connection"))


def test_a_single_caller_commits_at_once() -> None:
    table = Table()
    assert [table.group.commit(row, 1, table.write) for row in (1, 2)] == ["receipt 1", "receipt 2"]
    assert table.groups == [[1], [2]]


def test_who_comes_meanwhile_is_committed_together_in_the_order_of_arrival() -> None:
    table = Table()
    blockers = table.block()
    queued = table.queue(range(10))
    assert len(table.asked) == LEADERS_MAX
    table.opened.set()
    assert [future.result(20) for future in queued] == [f"receipt {row}" for row in range(10)]
    assert [future.result(20) for future in blockers] == [f"receipt {row}" for row in BLOCKERS]
    together = [rows for rows in table.groups if rows[0] >= 0]
    assert sorted(row for rows in together for row in rows) == list(range(10))
    assert all(rows == sorted(rows) for rows in together)
    assert len(together) <= LEADERS_MAX
    table.close()


def test_a_group_has_a_bounded_number_of_rows_and_bytes() -> None:
    table = Table()
    table.block()
    many = table.queue(range(GROUP_ROWS_MAX + 10))
    large = table.queue(range(1_000, 1_005), GROUP_BYTES_MAX // 2)
    table.opened.set()
    for future in many + large:
        future.result(20)
    assert max(len(rows) for rows in table.groups) <= GROUP_ROWS_MAX
    assert max(sum(row >= 1_000 for row in rows) for rows in table.groups) <= 2
    table.close()


def test_a_row_that_is_refused_fails_no_other() -> None:
    table = Table(lambda rows: ValueError("five") if 5 in rows else None)
    table.block()
    queued = table.queue(range(10))
    table.opened.set()
    for row, future in enumerate(queued):
        if row == 5:
            with pytest.raises(ValueError, match="five"):
                future.result(20)
        else:
            assert future.result(20) == f"receipt {row}"
    # Each of them is there once: what failed together left nothing.
    assert sorted(row for rows in table.groups for row in rows if row >= 0) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    table.close()


def test_a_lost_connection_fails_everyone_and_nothing_is_tried_again() -> None:
    table = Table(lambda rows: lost(rows) if rows[0] >= 0 else None)
    table.block()
    queued = table.queue(range(10))
    table.opened.set()
    for future in queued:
        with pytest.raises(OperationalError, match="closed the connection"):
            future.result(20)
    assert sorted(row for rows in table.asked for row in rows if row >= 0) == list(range(10))
    table.close()


def test_a_thread_that_is_ended_while_it_commits_leaves_nobody_waiting() -> None:
    table = Table(lambda rows: SystemExit() if 3 in rows else None)
    table.block()
    queued = table.queue(range(10))
    table.opened.set()
    errors = [future.exception(20) for future in queued]
    # The one whose thread it was, and those whose rows it had taken along; all others have been committed.
    assert {type(error) for error in errors} <= {type(None), SystemExit, NoConnection}
    assert sum(isinstance(error, SystemExit) for error in errors) == 1
    assert table.group.commit(11, 1, table.write) == "receipt 11"
    table.close()


def test_a_row_that_waits_too_long_raises_and_is_not_committed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "WAIT_SECONDS", 0.1)
    table = Table()
    blockers = table.block()
    with pytest.raises(NoConnection, match="in time"):
        table.commit(1).result(20)
    table.opened.set()
    for future in blockers:
        future.result(20)
    assert [rows for rows in table.groups if 1 in rows] == []
    table.close()


def test_no_more_wait_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "WAITING_MAX", 3)
    table = Table()
    table.block()
    queued = table.queue(range(3))
    with pytest.raises(NoConnection, match="too many"):
        table.commit(3).result(20)
    table.opened.set()
    assert [future.result(20) for future in queued] == ["receipt 0", "receipt 1", "receipt 2"]
    table.close()


def test_commits_that_hang_do_not_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    blockers = table.block()
    monkeypatch.setattr(group_commit, "STUCK_SECONDS", 0.0)
    assert table.commit(1).result(20) == "receipt 1"
    assert not any(future.done() for future in blockers)
    monkeypatch.undo()
    table.opened.set()
    assert [future.result(20) for future in blockers] == [f"receipt {row}" for row in BLOCKERS]
    assert table.commit(2).result(20) == "receipt 2"
    table.close()


# Greenlets that are killed at any moment, waiting, taken along or next to commit; the others never hear of it.
_GREENLETS = """
from gevent import monkey; monkey.patch_all()
import random, gevent
from app.runtime.group_commit import GroupCommit

chance, group, stored = random.Random(7), GroupCommit(), set()

def write(rows):
    gevent.sleep(chance.random() / 500)
    stored.update(rows)
    return rows

answered = set()
def call(row):
    try:
        assert group.commit(row, 1, write) == row
    except Exception as error:
        assert "broken off" in str(error), error
    else:
        answered.add(row)

greenlets = []
for row in range(3000):
    greenlets.append(gevent.spawn(call, row))
    if chance.random() < 0.3:
        greenlets[chance.randrange(max(0, row - 60), row + 1)].kill(block=False)
    if chance.random() < 0.5:
        gevent.sleep(chance.random() / 2000)
gevent.joinall(greenlets, timeout=20, raise_error=True)
assert all(greenlet.dead for greenlet in greenlets), "somebody waits for ever"
assert answered <= stored and len(answered) > 1000, (len(answered), len(stored))
assert group.commit(-1, 1, write) == -1 and group.waiting == 0
print("answered", len(answered))
"""


def test_killed_greenlets_leave_nobody_waiting() -> None:
    ran = subprocess.run(
        (sys.executable, "-c", _GREENLETS), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "answered" in ran.stdout
