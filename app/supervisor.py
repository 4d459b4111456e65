"""Starts child processes, replaces crashed ones and ends all of them, whatever happens to this process."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from app.launch import launch, read_log_tail

GUARD = Path(__file__).with_name("orphan_guard.py")
START_SECONDS = 60.0  # A cold start of eight interpreters on one slow core takes about a third of this.
STOP_SECONDS = 5.0  # Half of the ten seconds in which everything must be down; the servers have the rest.
POLL_SECONDS = 0.05  # Only while starting and stopping.
WATCH_SECONDS = 1.0  # A child's death wakes the watch at once; this only bounds what a lost signal costs.
FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 15.0  # A broken process is tried four times a minute: its log stays readable.
STEADY_SECONDS = 30.0  # Who ran this long is healthy: the next crash counts as the first.


class StartFailed(RuntimeError):
    """A process ended or stayed silent while everything was being started."""


class StopRequested(BaseException):
    """Somebody asked for the end; not an Exception, so that no error handling on the way swallows it."""


class Server(Protocol):
    """What the supervisor needs of an embedded server."""

    name: str

    @property
    def pid(self) -> int: ...
    @property
    def running(self) -> bool: ...
    def restart(self) -> object: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class Program:
    """A command to keep running; `ready` tells whether it works, asked again and again while starting."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    ready: Callable[[], bool]


@dataclass
class Backoff:
    """How long to wait before the next start of something that keeps ending."""

    seconds: float = FIRST_BACKOFF_SECONDS
    started_at: float = 0.0

    def take(self) -> float:
        """Return the wait, and double it for the next time unless the last run was a steady one."""
        if time.monotonic() - self.started_at > STEADY_SECONDS:
            self.seconds = FIRST_BACKOFF_SECONDS
        wait, self.seconds = self.seconds, min(self.seconds * 2, MAX_BACKOFF_SECONDS)
        return wait


class Child:
    """One program and its present process."""

    def __init__(self, program: Program, log_path: Path) -> None:
        self.program = program
        self.log_path = log_path
        self.process: subprocess.Popen[bytes] | None = None
        self.backoff = Backoff()
        self.restart_at: float | None = None

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
        self.servers: list[Server] = []
        self._server_backoffs: dict[str, Backoff] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._stop_asked = False
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)

    @property
    def pids(self) -> dict[str, int]:
        """Every process by name: this one, the servers, the children and the guard."""
        found = {"supervisor": os.getpid()}
        found |= {server.name: server.pid for server in self.servers}
        found |= {name: child.process.pid for name, child in self.children.items() if child.process is not None}
        if self._guard is not None:
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
        """Take over a running server: watched from now on, stopped after all programs, the first one last."""
        self.servers.append(server)
        self._server_backoffs[server.name] = Backoff(started_at=time.monotonic())

    def start(self, programs: Iterable[Program]) -> None:
        """Start programs side by side and wait until all work; StartFailed tells of the first that does not."""
        self._start_guard()
        fresh = []
        for program in programs:
            child = Child(program, self.home / "logs" / f"{program.name}.log")
            self.children[program.name] = child
            self._launch(child)
            fresh.append(child)
        deadline = time.monotonic() + START_SECONDS
        while fresh:
            for child in fresh:
                self._check_started(child, deadline)
            fresh = [child for child in fresh if not child.program.ready()]
            if fresh:
                time.sleep(POLL_SECONDS)

    def watch(self) -> None:
        """Replace what crashes, for ever; leaves by StopRequested only."""
        while True:
            self._wait(self._restart_due())
            for child in self.children.values():
                if child.restart_at is None and not child.running:
                    self._note_crash(child)
            for server in self.servers:
                if not server.running:
                    self._restart_server(server)

    def stop(self) -> None:
        """End everything: programs together, then the servers; whoever does not go in time is killed with its group."""
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
        while self.servers:
            self.servers.pop().stop()
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
            self._guard.wait()
            self._guard = None

    def _request_stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self._stop_asked:
            self._stop_asked = True
            raise StopRequested

    def _start_guard(self) -> None:
        if self._guard is None:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD)],
                stdin=subprocess.PIPE,
                # A reader of our output must not wait for the guard to close it.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _tell_guard(self, sign: str, group: int) -> None:
        # A guard that was killed is no reason to stop: it only matters if this process is killed too.
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.write(f"{sign}{group}\n".encode())
                self._guard.stdin.flush()

    def _launch(self, child: Child) -> None:
        self._tell_guard("+", child.start())

    def _check_started(self, child: Child, deadline: float) -> None:
        if not child.running and child.process is not None:
            trouble = f"ended with code {child.process.returncode} while starting"
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
                self._launch(child)
                self.report(f"{child.program.name} started again (process {self.pids[child.program.name]})")
                self.on_change()
            else:
                wait = min(wait, child.restart_at - now)
        return wait

    def _note_crash(self, child: Child) -> None:
        code = child.process.returncode if child.process is not None else None
        child.kill_group()
        if child.process is not None:
            self._tell_guard("-", child.process.pid)
        wait = child.backoff.take()
        child.restart_at = time.monotonic() + wait
        self.report(f"{child.program.name} ended with code {code}; starts again in {wait:g} s; log: {child.log_path}")

    def _restart_server(self, server: Server) -> None:
        backoff = self._server_backoffs[server.name]
        wait = backoff.take()
        self.report(f"{server.name} ended; starts again in {wait:g} s")
        self._wait(wait)
        backoff.started_at = time.monotonic()
        try:
            server.restart()
        except RuntimeError as error:
            self.report(f"{server.name} could not be started again: {error}")
        else:
            self.report(f"{server.name} started again (process {server.pid})")
            self.on_change()

    def _wait(self, seconds: float) -> None:
        """Sleep until a signal arrives or the time is over."""
        readable, _, _ = select.select([self._wake_read], [], [], seconds)
        if readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
