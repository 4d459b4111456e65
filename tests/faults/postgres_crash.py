"""Crash PostgreSQL and Valkey under `sluice up`, again and again: `python tests/faults/postgres_crash.py`.

Exits with 0 if the command outlives every crash, replaces what died and every deposit is credited once; else with 1.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg2
import requests

# Run by its path, as the other scripts here.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from testbed.waiting import wait_until
from tests.e2e.frontend import Frontend, PayPage, assert_credited_once
from tests.support.supervised_stack import RECOVERY_SECONDS, SupervisedStack

ROUNDS = 2  # Each kind of crash once while everything is healthy and once soon after the others.


def kill_postmaster(stack: SupervisedStack) -> None:
    """Kill the main process; its own processes notice by themselves."""
    psutil.Process(stack.run["pids"]["postgres"]).kill()


def kill_everything_of_postgres(stack: SupervisedStack) -> None:
    """Kill the main process and its children at once, as a machine without memory does."""
    stack.kill("postgres")


def kill_backend(stack: SupervisedStack) -> None:
    """Kill one connection's process: PostgreSQL ends all others and recovers."""
    (row,) = stack.rows(
        "select pid from pg_stat_activity where usename like 'sluice%' and pid <> pg_backend_pid() limit 1"
    )
    psutil.Process(row["pid"]).kill()


def shut_down_immediately(stack: SupervisedStack) -> None:
    """Ask for an immediate shutdown: the next start recovers from the log."""
    psutil.Process(stack.run["pids"]["postgres"]).send_signal(signal.SIGQUIT)


def kill_again_while_it_starts(stack: SupervisedStack) -> None:
    """Kill the main process and its successor before that has recovered."""
    before = stack.run["pids"]["postgres"]
    psutil.Process(before).kill()
    supervisor = psutil.Process(stack.run["pids"]["supervisor"])

    def find_successor() -> psutil.Process | None:
        with contextlib.suppress(psutil.NoSuchProcess):
            return next((p for p in supervisor.children() if p.name() == "postgres" and p.pid != before), None)
        return None

    wait_until(find_successor, "a successor starts", RECOVERY_SECONDS).kill()


def kill_valkey(stack: SupervisedStack) -> None:
    """Kill Valkey."""
    stack.kill("valkey")


CRASHES: tuple[Callable[[SupervisedStack], None], ...] = (
    *(kill_postmaster, kill_everything_of_postgres, kill_backend),
    *(shut_down_immediately, kill_again_while_it_starts, kill_valkey),
)


def is_ready(stack: SupervisedStack) -> bool:
    """Return whether web reports that it can store rows and ring doorbells."""
    try:
        answer = stack.http.get(f"{stack.run['web']}/health/ready", timeout=5)
    except (requests.RequestException, OSError):
        return False
    return bool(answer.status_code == 200 and answer.json()["status"] == "ok")


def crash_once(stack: SupervisedStack, crash: Callable[[SupervisedStack], None]) -> None:
    """Crash in the middle of a deposit, and fail unless it is credited once afterwards."""
    frontend = Frontend(stack)
    payment = frontend.deposit("5.00")
    crash(stack)
    # A payment made meanwhile arrives with the provider's retries of its webhook.
    PayPage(payment["redirect_url"]).press("Pay")
    wait_until(lambda: stack.running and is_ready(stack), "the stack works again", RECOVERY_SECONDS)
    frontend.wait_until_status(payment["id"], "completed", RECOVERY_SECONDS)
    assert_credited_once(stack, payment["id"], 500)
    assert stack.running, stack.output


def main() -> int:
    """Run every crash; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="sluice-faults-") as folder:
        stack = SupervisedStack(Path(folder) / "home")
        try:
            stack.start()
            for number in range(ROUNDS):
                for crash in CRASHES:
                    crash_once(stack, crash)
                    print(f"round {number + 1}: {crash.__name__}: survived", flush=True)
            print(f"stopped in {stack.stop():.1f} s")
        except (AssertionError, psycopg2.Error, psutil.Error, requests.RequestException) as error:
            print(f"LOST: {error}\n{stack.output[-2000:]}", file=sys.stderr)
            return 1
        finally:
            stack.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
