"""The supervisor replaces what crashes and leaves nothing behind, however it ends itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.local.run_folder import HomeInUse, hold_home, read_run_file, write_run_file
from app.local.spawn import reserve_ports
from app.local.supervisor import StartFailed
from app.local.up import check_ports
from app.runtime.settings import Settings
from tests.support.repository import ROOT

# Runs a supervisor over the programs given as JSON: name -> Python source. Each line it prints is a report.
DRIVER = """
import json, os, sys
from pathlib import Path
from app.local.supervisor import Program, StartFailed, StopRequested, Supervisor

home, sources = Path(sys.argv[1]), json.loads(sys.argv[2])
say = lambda line: print(line, flush=True)

def program(name, source):
    mark = home / f"{name}.ready"
    env = {**os.environ, "MARK": str(mark), "SLUICE_TEST_HOME": str(home)}
    return Program(name, (sys.executable, "-c", source), env, home, mark.exists)

supervisor = Supervisor(home, report=say)
supervisor.on_change = lambda: say(f"changed {json.dumps(supervisor.pids)}")
try:
    with supervisor.signals():
        try:
            supervisor.start([program(*item) for item in sources.items()])
            say(f"ready {json.dumps(supervisor.pids)}")
            supervisor.watch()
        finally:
            supervisor.stop()
except StopRequested:
    say("stopped")
except StartFailed as error:
    sys.exit(f"failed: {error}")
"""

MARK = "import os, pathlib, signal, subprocess, sys, time; pathlib.Path(os.environ['MARK']).touch();"
PLAIN = MARK + "signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + MARK + "time.sleep(600)"
# Its own child knows nothing of the supervisor and takes no notice of its parent's end.
PARENT = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);" + PLAIN
BROKEN = "raise SystemExit('no such table')"


class Driven:
    """A supervisor in a process of its own."""

    def __init__(self, home: Path, sources: dict[str, str]) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(home), json.dumps(sources)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read(self, start: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(start):
                return line.removeprefix(start).strip()
        pytest.fail(f"ended without a line {start!r}: {self.process.communicate()}")

    def read_pids(self, start: str = "ready") -> dict[str, int]:
        found: dict[str, int] = json.loads(self.read(start))
        return found

    def members(self) -> list[psutil.Process]:
        home = str(self.home)
        return [
            row
            for row in psutil.process_iter(["environ"])
            if (row.info["environ"] or {}).get("SLUICE_TEST_HOME") == home
        ]


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], Driven]]:
    started: list[Driven] = []

    def start(sources: dict[str, str]) -> Driven:
        started.append(Driven(tmp_path, sources))
        return started[-1]

    yield start
    for driven in started:
        driven.process.kill()
        driven.process.communicate()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@pytest.mark.parametrize("asked_by", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_takes_all_with_it_even_the_stubborn(
    drive: Callable[[dict[str, str]], Driven], asked_by: signal.Signals
) -> None:
    driven = drive({"plain": PLAIN, "stubborn": STUBBORN, "parent": PARENT})
    driven.read_pids()
    assert len(driven.members()) == 4
    began = time.monotonic()
    driven.process.send_signal(asked_by)
    wait_until(lambda: len(driven.members()) < 4, "the first one stops")
    driven.process.send_signal(asked_by)
    assert driven.process.wait(timeout=10) == 0
    assert time.monotonic() - began < 10
    assert driven.members() == []
    assert driven.read("stopped") == ""


def test_a_killed_supervisor_takes_its_grandchildren_along(drive: Callable[[dict[str, str]], Driven]) -> None:
    driven = drive({"parent": PARENT, "stubborn": STUBBORN})
    guard = psutil.Process(driven.read_pids()["guard"])
    assert len(driven.members()) == 3
    driven.process.kill()
    wait_until(lambda: not driven.members(), "children and grandchildren are gone", seconds=5)
    wait_until(lambda: not guard.is_running() or guard.status() == psutil.STATUS_ZOMBIE, "the guard is gone", seconds=5)


def test_a_killed_guard_is_replaced_and_knows_what_to_end(drive: Callable[[dict[str, str]], Driven]) -> None:
    driven = drive({"parent": PARENT, "stubborn": STUBBORN})
    before = driven.read_pids()
    for _ in range(2):
        os.kill(before["guard"], signal.SIGKILL)
        after = driven.read_pids("changed")
        assert after["guard"] != before["guard"]
        assert (after["parent"], after["stubborn"]) == (before["parent"], before["stubborn"])
        before = after
    driven.process.kill()
    wait_until(lambda: not driven.members(), "children and grandchildren are gone", seconds=5)


def test_a_child_killed_while_it_starts_is_started_again(drive: Callable[[dict[str, str]], Driven]) -> None:
    slow = "import time; time.sleep(1.5);" + PLAIN
    driven = drive({"slow": slow})
    wait_until(lambda: len(driven.members()) == 1, "it starts")
    driven.members()[0].kill()
    assert psutil.pid_exists(driven.read_pids()["slow"])


def test_a_reader_of_its_output_that_has_gone_ends_nothing(drive: Callable[[dict[str, str]], Driven]) -> None:
    driven = drive({"plain": PLAIN})
    before = driven.read_pids()
    assert driven.process.stdout is not None
    driven.process.stdout.close()
    os.kill(before["plain"], signal.SIGKILL)
    wait_until(lambda: [row.pid for row in driven.members()] not in ([], [before["plain"]]), "it is replaced")
    assert driven.process.poll() is None


def test_a_crashed_child_is_replaced_together_with_what_it_started(drive: Callable[[dict[str, str]], Driven]) -> None:
    driven = drive({"plain": PLAIN, "parent": PARENT})
    before = driven.read_pids()
    (orphan,) = psutil.Process(before["parent"]).children()
    os.kill(before["parent"], signal.SIGKILL)
    assert driven.read("parent ended").startswith("with code -9; starts again in 0.5 s")
    after = driven.read_pids("changed")
    assert after["parent"] != before["parent"]
    assert after["plain"] == before["plain"]
    assert orphan not in driven.members()


def test_a_child_that_keeps_crashing_is_tried_less_and_less_often(drive: Callable[[dict[str, str]], Driven]) -> None:
    # Long enough to be seen as ready, then gone.
    driven = drive({"plain": PLAIN, "brittle": MARK + "time.sleep(0.3)"})
    waits = [driven.read("brittle ended").split("again in ")[1].split(" s")[0] for _ in range(3)]
    assert waits == ["0.5", "1", "2"]


def test_a_start_that_fails_half_way_says_why_and_leaves_nothing(drive: Callable[[dict[str, str]], Driven]) -> None:
    driven = drive({"parent": PARENT, "broken": BROKEN})
    _, reported = driven.process.communicate(timeout=20)
    assert driven.process.returncode == 1
    assert "broken ended with code 1 while starting" in reported
    assert "no such table" in reported
    assert driven.members() == []


def test_a_stop_during_the_start_leaves_nothing(drive: Callable[[dict[str, str]], Driven]) -> None:
    driven = drive({"parent": PARENT, "silent": "import time; time.sleep(600)"})
    wait_until(lambda: len(driven.members()) == 3, "the children run")
    driven.process.send_signal(signal.SIGTERM)
    assert driven.process.wait(timeout=10) == 0
    assert driven.members() == []


def test_a_home_serves_one_stack_at_a_time(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with hold_home(home):
        write_run_file(home, {"web": "http://127.0.0.1:8000"})
        with pytest.raises(HomeInUse, match=rf"process {os.getpid()}\) already runs in {home}"), hold_home(home):
            pass
        assert read_run_file(home) == {"web": "http://127.0.0.1:8000"}
        assert (home / "run.json").stat().st_mode & 0o777 == 0o600
    assert read_run_file(home) is None
    with hold_home(home):
        assert read_run_file(home) is None


@pytest.mark.parametrize(
    "variable", ["SLUICE_PORT", "SLUICE_SANDBOX_PORT", "SLUICE_FLOWER_PORT", "SLUICE_SOCKETS_PORT"]
)
def test_a_taken_port_is_named_with_its_variable(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.local.up.PORT_SECONDS", 0.1)
    names = ["SLUICE_PORT", "SLUICE_SANDBOX_PORT", "SLUICE_FLOWER_PORT", "SLUICE_SOCKETS_PORT"]
    environment = dict(zip(names, map(str, reserve_ports(4)), strict=True))
    check_ports(Settings.from_environment(environment))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        environment[variable] = str(other.getsockname()[1])
        with pytest.raises(StartFailed, match=f"port {environment[variable]} on 127.0.0.1 is taken: set {variable}"):
            check_ports(Settings.from_environment(environment))


def test_two_servers_on_one_port_are_refused() -> None:
    (port,) = reserve_ports(1)
    with pytest.raises(StartFailed, match="SLUICE_FLOWER_PORT and SLUICE_PORT are both"):
        check_ports(Settings.from_environment({"SLUICE_PORT": str(port), "SLUICE_FLOWER_PORT": str(port)}))
