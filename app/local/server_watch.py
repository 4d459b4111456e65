"""Keeps an embedded server running, one step at a time, so that nothing else has to wait while it recovers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from app.local.backoff import Backoff


class Server(Protocol):
    """What a supervisor needs of an embedded server."""

    name: str

    @property
    def pid(self) -> int: ...
    @property
    def running(self) -> bool: ...
    def launch(self) -> None: ...
    def answers(self) -> bool: ...
    def stop(self) -> None: ...


class ServerWatch:
    """One server that was started, and its next start where it has ended."""

    def __init__(self, server: Server, report: Callable[[str], None], on_change: Callable[[], None]) -> None:
        self.server = server
        self._report = report
        self._on_change = on_change
        self._backoff = Backoff(started_at=time.monotonic())
        self._launch_at: float | None = None
        self._is_starting = False

    def step(self) -> bool:
        """Do what is due now; return whether the server runs and answers as far as is known.

        A server that crashed is launched after a growing wait, as often as it takes. How long it recovers is its own
        affair: as long as its process lives, it is only asked again.
        """
        name = self.server.name
        if not self.server.running and self._launch_at is None:
            wait = self._backoff.take()
            self._launch_at = time.monotonic() + wait
            self._is_starting = False
            self._report(f"{name} ended; starts again in {wait:g} s")
        if self._launch_at is not None and time.monotonic() >= self._launch_at:
            self._launch()
        if self._is_starting and self.server.running and self.server.answers():
            self._is_starting = False
            self._report(f"{name} started again (process {self.server.pid})")
            self._on_change()
        return self._launch_at is None and not self._is_starting

    def _launch(self) -> None:
        self._backoff.started_at = time.monotonic()
        try:
            self.server.launch()
        # RuntimeError is what the server says itself; OSError is a full disk, or no room for another process.
        except (RuntimeError, OSError) as error:
            wait = self._backoff.take()
            self._launch_at = time.monotonic() + wait
            self._report(f"{self.server.name} could not be started again ({error}); next try in {wait:g} s")
        else:
            self._launch_at = None
            self._is_starting = True
