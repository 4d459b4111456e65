"""Starts child processes, replaces crashed ones and ends all of them, whatever happens to this process."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from app.local.backoff import Backoff
from app.local.guard import Guard
from app.local.server_watch import Server, ServerWatch
from app.local.spawn import launch, read_log_tail

START_SECONDS = 60.0  # A cold start of eight interpreters on one slow core takes about a third of this.
STOP_SECONDS = 5.0  # Half of the ten seconds in which everything must be down; the servers have the rest.
POLL_SECONDS = 0.05  # Only while starting and stopping.
SERVER_POLL_SECONDS = 0.2  # How often a server that starts again is asked whether it answers.
WATCH_SECONDS = 1.0  # A child's death wakes the watch at once; this only bounds what a lost signal costs.
KILLED_STARTS_MAX = 5  # A process that is killed so often before it was ready will not start by one more try.


class StartFailed(RuntimeError):
    """A process ended or stayed silent while everything was being started."""


class StopRequested(BaseException):
    """Somebody asked for the end; not an Exception, so that no error handling on the way swallows it."""


@dataclass(frozen=True)
class Program:
    """A command to keep running; `ready` is its readiness check, repeated while it starts."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    ready: Callable[[], bool]


class Child:
    """One program and its present process."""

    def __init__(self, program: Program, log_path: Path) -> None:
        self.program = program
        self.log_path = log_path
        self.process: subprocess.Popen[bytes] | None = None
        self.backoff = Backoff()
        self.restart_at: float | None = None
        self.killed_starts = 0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> int:
        """Start the process and return its id, which is its group's too."""
        program = self.program
        self.process = launch(program.argv, env=program.env, cwd=program.cwd, log_path=self.log_path)
        self.backoff.started_at = time.monotonic()
        self.restart_at = None
        return self.process.pid

    def kill_group(self) -> None:
        """End whatever is left of the process and what it started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Supervisor:
    """Keeps programs and servers running between `start` and `stop`.

    Must be used from the main thread: children are tied to the thread that starts them, and signals arrive there.
    """

    def __init__(self, home: Path, report: Callable[[str], None]) -> None:
        self.home = home
        self.report = report
        self.on_change: Callable[[], None] = lambda: None  # Called when a process has another id than before.
        self.children: dict[str, Child] = {}
        self._watches: list[ServerWatch] = []
        self._guard = Guard()
        self._stop_asked = False
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)

    @property
    def pids(self) -> dict[str, int]:
        """Every process by name: this one, the servers, the children and the guard."""
        found = {"supervisor": os.getpid()}
        found |= {watch.server.name: watch.server.pid for watch in self._watches}
        found |= {name: child.process.pid for name, child in self.children.items() if child.process is not None}
        if self._guard.pid is not None:
            found["guard"] = self._guard.pid
        return found

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Turn the first SIGINT or SIGTERM in the block into StopRequested; later ones change nothing."""
        wanted = {
            signal.SIGINT: self._request_stop,
            signal.SIGTERM: self._request_stop,
            signal.SIGHUP: self._request_stop,
            signal.SIGCHLD: lambda _number, _frame: None,
        }
        # Whoever started this with nohup wants it to outlive the terminal.
        if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
            del wanted[signal.SIGHUP]
        before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
        wake_before = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wake_before)
            for number, handler in before.items():
                signal.signal(number, handler)

    def add_server(self, server: Server) -> None:
        """Take over a server that is started next: watched from `watch_servers` on, stopped after all programs."""
        self._watches.append(ServerWatch(server, self._say, self._changed))

    def watch_servers(self) -> bool:
        """Start servers that have ended again, as far as that is due; return whether all of them answer."""
        answering = [watch.step() for watch in self._watches]
        return all(answering)

    def start(self, programs: Iterable[Program]) -> None:
        """Start programs concurrently and wait until all are ready. Raise StartFailed for the first that fails.

        A server that crashes meanwhile, and a program that is killed, is started again; the time without a server does
        not count.
        """
        self._ensure_guard()
        fresh = []
        for program in programs:
            child = Child(program, self.home / "logs" / f"{program.name}.log")
            self.children[program.name] = child
            self._launch(child)
            fresh.append(child)
        deadline = time.monotonic() + START_SECONDS
        while fresh:
            self._ensure_guard()
            if not self.watch_servers():
                deadline = time.monotonic() + START_SECONDS
            for child in fresh:
                self._check_started(child, deadline)
            fresh = [child for child in fresh if not child.program.ready()]
            if fresh:
                time.sleep(POLL_SECONDS)

    def watch(self) -> None:
        """Restart crashed processes until StopRequested is raised."""
        while True:
            wait = self._restart_due()
            if not self.watch_servers():
                wait = min(wait, SERVER_POLL_SECONDS)
            self._wait(wait)
            self._ensure_guard()
            for child in self.children.values():
                if child.restart_at is None and not child.running:
                    self._note_crash(child)

    def stop(self) -> None:
        """Stop all programs at once, then the servers; kill the groups of those that do not stop in time."""
        self._stop_asked = True
        children = list(self.children.values())
        for child in children:
            if child.running and child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while any(child.running for child in children) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for child in children:
            child.kill_group()
        self.children.clear()
        while self._watches:
            self._watches.pop().server.stop()
        self._guard.stop()

    def _request_stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self._stop_asked:
            self._stop_asked = True
            raise StopRequested

    def _say(self, line: str) -> None:
        # The terminal may be gone, or the reader of a pipe: that is no reason to end everything.
        with contextlib.suppress(OSError):
            self.report(line)

    def _changed(self) -> None:
        try:
            self.on_change()
        except OSError as error:
            self._say(f"run.json could not be written: {error}")

    def _ensure_guard(self) -> None:
        had = self._guard.pid
        try:
            is_new = self._guard.ensure(child.process.pid for child in self.children.values() if child.process)
        except OSError as error:
            self._say(f"no guard could be started: {error}")
            return
        if is_new and had is not None:
            self._say(f"guard started again (process {self._guard.pid})")
            self._changed()

    def _launch(self, child: Child) -> None:
        self._guard.send("+", child.start())

    def _check_started(self, child: Child, deadline: float) -> None:
        code = None if child.process is None else child.process.poll()
        if code == -signal.SIGKILL and child.killed_starts < KILLED_STARTS_MAX:
            # By an operator, or by a kernel without memory: it says nothing about the program.
            child.killed_starts += 1
            self._end_group(child)
            self._launch(child)
            return
        if code is not None:
            trouble = f"ended with code {code} while starting"
        elif time.monotonic() > deadline:
            trouble = f"was not ready within {START_SECONDS:.0f} s"
        else:
            return
        log = child.log_path
        raise StartFailed(f"{child.program.name} {trouble}; {log} ends with:\n{read_log_tail(log)}")

    def _restart_due(self) -> float:
        """Start again what has waited long enough; return the seconds until the next one is due."""
        now = time.monotonic()
        wait = WATCH_SECONDS
        for child in self.children.values():
            if child.restart_at is None:
                continue
            if child.restart_at <= now:
                self._start_again(child)
            if child.restart_at is not None:
                wait = min(wait, max(0.0, child.restart_at - now))
        return wait

    def _start_again(self, child: Child) -> None:
        name = child.program.name
        try:
            self._launch(child)
        except OSError as error:
            # A full disk, or no room for another process: both may pass.
            seconds = child.backoff.take()
            child.restart_at = time.monotonic() + seconds
            self._say(f"{name} could not be started again ({error}); next try in {seconds:g} s")
        else:
            self._say(f"{name} started again (process {self.pids[name]})")
            self._changed()

    def _note_crash(self, child: Child) -> None:
        code = child.process.returncode if child.process is not None else None
        self._end_group(child)
        wait = child.backoff.take()
        child.restart_at = time.monotonic() + wait
        self._say(f"{child.program.name} ended with code {code}; starts again in {wait:g} s; log: {child.log_path}")

    def _end_group(self, child: Child) -> None:
        child.kill_group()
        if child.process is not None:
            self._guard.send("-", child.process.pid)

    def _wait(self, seconds: float) -> None:
        """Sleep until a signal arrives or the time is over."""
        readable, _, _ = select.select([self._wake_read], [], [], seconds)
        if readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
