"""Start child processes, restart those that crash, and end all of them when this process ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
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
SERVER_POLL_SECONDS = 0.2  # Interval of readiness checks of a server that starts again.
WATCH_SECONDS = 1.0  # SIGCHLD ends the wait at once; this bounds the delay if one is lost.
KILLED_STARTS_MAX = 5  # A process that is killed this often before it is ready will not start by one more try.


class StartFailed(RuntimeError):
    """A process ended, or was not ready in time, during the start of the stack."""


class StopRequested(BaseException):
    """A signal requested the end; not an Exception, so that no error handler catches it."""


@dataclass(frozen=True)
class Program:
    """A command to keep running; `ready` is its readiness check, repeated while it starts."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    ready: Callable[[], bool]


class Child:
    """One program and its current process; started when it is created."""

    def __init__(self, program: Program, log_path: Path) -> None:
        self.program = program
        self.log_path = log_path
        self.backoff = Backoff()
        self.killed_starts = 0
        self.start()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def start(self) -> None:
        """Start the process; its id is its group's too."""
        self.backoff.begin()
        program = self.program
        self.process = launch(program.argv, env=program.env, cwd=program.cwd, log_path=self.log_path)

    def kill_group(self) -> None:
        """Kill the process and all processes of its group."""
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
        self.on_change: Callable[[], None] = lambda: None  # Called when a process's id has changed.
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
        found |= {name: child.process.pid for name, child in self.children.items()}
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
        # Started with nohup, it must survive the end of the terminal.
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
        """Watch a server, also before its first start is complete; it is stopped after all programs."""
        self._watches.append(ServerWatch(server, self._say, self._changed))

    def watch_servers(self) -> bool:
        """Restart ended servers whose backoff is over; return whether all servers answer."""
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
            self._guard.send("+", child.process.pid)
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
                if child.backoff.due_at is None and not child.running:
                    self._note_crash(child)

    def stop(self) -> None:
        """Stop all programs at once, then the servers; kill the groups of those that do not stop in time."""
        self._stop_asked = True
        children = list(self.children.values())
        for child in children:
            if child.running:
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
        # A closed terminal or pipe must not end the stack.
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
            is_new = self._guard.ensure(child.process.pid for child in self.children.values())
        except OSError as error:
            self._say(f"no guard could be started: {error}")
            return
        if is_new and had is not None:
            self._say(f"guard started again (process {self._guard.pid})")
            self._changed()

    def _launch(self, child: Child) -> None:
        child.start()
        self._guard.send("+", child.process.pid)

    def _check_started(self, child: Child, deadline: float) -> None:
        code = child.process.poll()
        if code == -signal.SIGKILL and child.killed_starts < KILLED_STARTS_MAX:
            # By an operator, or by the kernel for lack of memory: not the program's fault.
            child.killed_starts += 1
            self._end_group(child)
            self._launch(child)
            return
        if code is not None:
            problem = f"ended with code {code} while starting"
        elif time.monotonic() > deadline:
            problem = f"was not ready within {START_SECONDS:.0f} s"
        else:
            return
        log = child.log_path
        raise StartFailed(f"{child.program.name} {problem}; {log} ends with:\n{read_log_tail(log)}")

    def _restart_due(self) -> float:
        """Restart the programs whose backoff is over; return the seconds until the next one is due."""
        now, wait = time.monotonic(), WATCH_SECONDS
        for child in self.children.values():
            if child.backoff.due_at is not None and child.backoff.due_at <= now:
                self._start_again(child)
            if child.backoff.due_at is not None:
                wait = min(wait, max(0.0, child.backoff.due_at - now))
        return wait

    def _start_again(self, child: Child) -> None:
        name = child.program.name
        try:
            self._launch(child)
        except OSError as error:
            # A full disk or a full process table may be temporary.
            wait = child.backoff.postpone()
            self._say(f"{name} could not be started again ({error}); next try in {wait:g} s")
        else:
            self._say(f"{name} started again (process {self.pids[name]})")
            self._changed()

    def _note_crash(self, child: Child) -> None:
        code = child.process.returncode
        self._end_group(child)
        wait = child.backoff.postpone()
        self._say(f"{child.program.name} ended with code {code}; starts again in {wait:g} s; log: {child.log_path}")

    def _end_group(self, child: Child) -> None:
        child.kill_group()
        self._guard.send("-", child.process.pid)

    def _wait(self, seconds: float) -> None:
        """Sleep until a signal arrives or the time is over."""
        readable, _, _ = select.select([self._wake_read], [], [], seconds)
        if readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
