"""Restart web under load on a stack of its own, again and again: `python tests/faults/web_restart.py [restarts]`.

Exits with 1 if a caller without retries lost an answer (a refused connection is none), a waiting request was cut, or a
caller of a starting process was held.
"""

from __future__ import annotations

import http.client
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

# Run by its path, as the other scripts here.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from testbed.waiting import wait_until
from tests.e2e.frontend import Frontend
from tests.support.supervised_stack import RECOVERY_SECONDS, SupervisedStack

RESTARTS = 5
WAITING = 5  # Requests that wait at the moment of each restart: as many as one client token may have.
HELD_SECONDS = 5.0  # An accepted request is answered sooner, also on a busy machine; a boot takes longer.


@dataclass
class Caller:
    """Sends one request after the other without any retry, and keeps what came of them."""

    port: int
    keeps_connection: bool
    stopped: threading.Event = field(default_factory=threading.Event)
    answered: int = 0
    refused: int = 0
    slowest: float = 0.0
    lost: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Call until stopped; a connection that is refused is not a loss, everything else without an answer is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self.stopped.is_set():
            began = time.monotonic()
            try:
                connection.request("GET", "/health/live")
                assert connection.getresponse().read()
                self.answered += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
            except ConnectionRefusedError:
                self.refused += 1
                connection.close()
                time.sleep(0.01)
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                connection.close()
            if not self.keeps_connection:
                connection.close()
        connection.close()


def restart_once(stack: SupervisedStack, pool: ThreadPoolExecutor, callers: list[Caller]) -> list[int]:
    """Stop web with requests waiting, see it come back, and return the status codes of those that waited."""
    frontend = Frontend(stack)
    # Nobody calls the provider: the deposits wait for as long as they may.
    with stack.paused("worker-provider"):
        waiting = [pool.submit(frontend.ask, wait=10) for _ in range(WAITING)]
        count = "select count(*) as n from payment_transactions where user_id = :user"
        wait_until(lambda: stack.rows(count, user=frontend.user_id)[0]["n"] == WAITING, "they wait")
        before = int(stack.run["pids"]["web"])
        psutil.Process(before).terminate()
        codes = [one.result().status_code for one in waiting]
    stack.wait_for_restart("web", before)
    seen = [caller.answered for caller in callers]
    wait_until(
        lambda: all(caller.answered > n for caller, n in zip(callers, seen, strict=True)), "web", RECOVERY_SECONDS
    )
    return codes


def main(restarts: int) -> int:
    """Restart web so often; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="sluice-faults-") as folder:
        stack = SupervisedStack(Path(folder) / "home")
        callers: list[Caller] = []
        cut: list[int] = []
        try:
            stack.start()
            callers = [Caller(stack.ports[0], keeps) for keeps in (True, True, True, False, False, False)]
            with ThreadPoolExecutor(len(callers) + WAITING) as pool:
                running = [pool.submit(caller.run) for caller in callers]
                for number in range(restarts):
                    codes = restart_once(stack, pool, callers)
                    cut += [code for code in codes if code != 202]
                    print(f"restart {number + 1}: waiting requests answered {codes}", flush=True)
                for caller in callers:
                    caller.stopped.set()
                for one in running:
                    one.result()
            stack.stop()
        finally:
            for caller in callers:
                caller.stopped.set()
            stack.end()
    lost = [error for caller in callers for error in caller.lost]
    slowest = max(caller.slowest for caller in callers)
    answered, refused = sum(caller.answered for caller in callers), sum(caller.refused for caller in callers)
    print(f"answered {answered}, refused {refused}, slowest {slowest:.1f} s")
    if lost or cut or slowest > HELD_SECONDS:
        print(f"LOST: {lost}; waiting requests cut: {cut}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else RESTARTS))
