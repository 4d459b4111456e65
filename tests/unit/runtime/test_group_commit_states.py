"""The states of a row in app/runtime/group_commit.py: all that some rows can reach, by every sequence of events."""

from __future__ import annotations

import re
from collections.abc import Sequence

import psycopg2
import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from app.runtime import group_commit
from app.runtime.group_commit import GroupCommit

Entry = group_commit._Entry[int, int]
ENDS = ("committed", "single", "failed", "broken off", "gone", "refused")
# Enough for a leader, two that wait and one that is refused.
ROWS_MAX = 4


def lose(_rows: Sequence[int]) -> list[int]:
    raise OperationalError("insert", {}, psycopg2.OperationalError("server closed the connection"))


def refuse(_rows: Sequence[int]) -> list[int]:
    raise ValueError("one of them")


WRITES = {"commit": lambda rows: list(rows), "refuse": refuse, "lose": lose}


class GroupWalk:
    """Up to ROWS_MAX rows and the groups that are being written, moved by one event at a time.

    Events: a row arrives; its request, which has a turn, gathers a group; the group's write commits, is refused, loses
    its connection, or its thread ends; a request that waits leaves.
    """

    def __init__(self, path: Sequence[tuple[str, int]]) -> None:
        self.group: GroupCommit[int, int] = GroupCommit()
        self.entries: list[Entry] = []
        self.states: list[str] = []
        self.groups: dict[int, list[Entry]] = {}
        self.left: dict[int, str] = {}
        self.steps: set[tuple[str, str]] = set()
        self.order: list[int] = []
        for event, row in path:
            self.move(event, row)

    @property
    def key(self) -> tuple[object, ...]:
        """All on which the next events depend."""
        waiting = [entry.row for entry in self.group._waiting]
        groups = {row: [entry.row for entry in members] for row, members in self.groups.items()}
        return (*self.states, str(waiting), str(sorted(groups.items())), *(entry.leads for entry in self.entries))

    def moves(self) -> list[tuple[str, int]]:
        """Return the events that are possible, each with its row."""
        found = [("arrive", len(self.entries))] if len(self.entries) < ROWS_MAX else []
        for row, state in enumerate(self.states):
            if row in self.groups:
                found += [(event, row) for event in (*WRITES, "end")]
            elif state == "leading":
                found.append(("gather", row))
            # A row that has just got its turn may have given up before; one that never waited has not.
            waits = state in ("waiting", "gathered") or (state == "leading" and self.entries[row].leads)
            if waits and row not in self.groups:
                found.append(("leave", row))
        return found

    def move(self, event: str, row: int) -> None:
        """Let `event` happen, note the steps, and check the invariants."""
        if event == "arrive":
            self.arrive(row)
        elif event == "gather":
            self.groups[row] = [self.entries[row]]
            self.group._gather(self.groups[row])
        elif event == "leave":
            self.left[row] = "gone"
            self.group._leave(self.entries[row])
        else:
            members = self.groups.pop(row)
            if event in WRITES:
                group_commit._settle(members, WRITES[event])
                # A row that had no company is not written twice.
                assert event != "refuse" or members[0].is_single is (len(members) > 1)
            else:
                self.left = dict.fromkeys((entry.row for entry in members), "broken off") | self.left
            self.group._finish(members)
        self.note()
        self.check()

    def arrive(self, row: int) -> None:
        entry = Entry(row, 1)
        self.entries.append(entry)
        self.states.append("new")
        try:
            self.group._enter(entry)
        except NoConnection:
            self.left[row] = "refused"

    def note(self) -> None:
        for row, entry in enumerate(self.entries):
            before, after = self.states[row], self.read(entry)
            if before not in ENDS and before != after:
                self.steps.add((before, after))
                self.states[row] = after
                if before in ("new", "waiting") and after in ("leading", "gathered"):
                    self.order.append(row)

    def read(self, entry: Entry) -> str:
        if entry.row in self.left:
            return self.left[entry.row]
        if entry.is_single:
            return "single"
        if entry.error is not None:
            return "failed"
        if entry.receipt is not None:
            return "committed"
        if entry in self.group._leading:
            return "leading"
        return "waiting" if entry in self.group._waiting else "gathered"

    def check(self) -> None:
        """Check the invariants of the module's docstring."""
        leading = [row for row, state in enumerate(self.states) if state == "leading"]
        assert len(leading) == len(self.group._leading) <= group_commit.LEADERS_MAX
        assert leading or not self.group.waiting
        assert self.order == sorted(self.order)
        gathered = [entry.row for members in self.groups.values() for entry in members]
        assert len(gathered) == len(set(gathered))
        for entry, state in zip(self.entries, self.states, strict=True):
            # A second release would raise.
            assert state == "gone" or entry.woken.locked() is (state in ("waiting", "gathered"))


def list_documented() -> set[tuple[str, str]]:
    assert group_commit.__doc__ is not None
    return set(re.findall(r"^    (\w+) +-> ([a-z]+(?: off)?)  ", group_commit.__doc__, re.MULTILINE))


@pytest.mark.parametrize(("leaders", "waiting"), [(1, 2), (2, 1)])
def test_the_documented_steps_are_those_that_happen(
    leaders: int, waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "LEADERS_MAX", leaders)
    monkeypatch.setattr(group_commit, "WAITING_MAX", waiting)
    steps: set[tuple[str, str]] = set()
    seen: set[tuple[object, ...]] = set()
    paths: list[tuple[tuple[str, int], ...]] = [()]
    while paths:
        path = paths.pop()
        walk = GroupWalk(path)
        if walk.key not in seen:
            seen.add(walk.key)
            steps |= walk.steps
            paths += [(*path, move) for move in walk.moves()]
    assert len(seen) > 1_000
    assert steps == list_documented()
