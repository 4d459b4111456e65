"""Keep an embedded server running, in steps that do not block while it recovers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from app.local.backoff import Backoff


class Server(Protocol):
    """An embedded server as the supervisor uses it."""

    name: str

    @property
    def pid(self) -> int: ...
    @property
    def running(self) -> bool: ...
    def launch(self) -> None: ...
    def answers(self) -> bool: ...
    def stop(self) -> None: ...


class ServerWatch:
    """One started server, and the time of its next start once it has ended."""

    def __init__(self, server: Server, report: Callable[[str], None], on_change: Callable[[], None]) -> None:
        self.server = server
        self._report = report
        self._on_change = on_change
        self._backoff = Backoff(started_at=time.monotonic())
        self._is_starting = False

    def step(self) -> bool:
        """Launch the server if that is due; return False from its end until it answers again.

        A server that crashed is launched with exponential backoff, without a limit. While its process lives, it is
        only queried again, however long its recovery takes.
        """
        name, backoff = self.server.name, self._backoff
        if not self.server.running and backoff.due_at is None:
            self._is_starting = False
            self._report(f"{name} ended; starts again in {backoff.postpone():g} s")
        if backoff.due_at is not None and time.monotonic() >= backoff.due_at:
            self._launch()
        if self._is_starting and self.server.running and self.server.answers():
            self._is_starting = False
            self._report(f"{name} started again (process {self.server.pid})")
            self._on_change()
        return backoff.due_at is None and not self._is_starting

    def _launch(self) -> None:
        self._backoff.begin()
        try:
            self.server.launch()
        # ServerUnavailable, a RuntimeError, is the server's own; OSError is a full disk or a full process table.
        except (RuntimeError, OSError) as error:
            wait = self._backoff.postpone()
            self._report(f"{self.server.name} could not be started again ({error}); next try in {wait:g} s")
        else:
            self._is_starting = True
