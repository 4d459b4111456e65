"""Restart web under load on a stack of its own, again and again: `python tests/faults/web_restart.py [restarts]`.

Exits with 1 if a caller without retries lost an answer (a refused connection is none), a waiting request was cut, or a
caller of a starting process was held.
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

# Run by its path, as the other scripts here.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from testbed.waiting import wait_until
from tests.e2e.frontend import Frontend
from tests.support.availability import AvailabilityProbe, probing, wait_until_answered
from tests.support.supervised_stack import RECOVERY_SECONDS, SupervisedStack

RESTARTS = 5
WAITING = 5  # Requests that wait at the moment of each restart: as many as one client token may have.
HELD_SECONDS = 5.0  # An accepted request is answered sooner, also on a busy machine; a boot takes longer.


def restart_once(stack: SupervisedStack, pool: ThreadPoolExecutor, probes: list[AvailabilityProbe]) -> list[int]:
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
    wait_until_answered(probes, RECOVERY_SECONDS)
    return codes


def main(restarts: int) -> int:
    """Restart web so often; return the exit code."""
    probes: list[AvailabilityProbe] = []
    cut: list[int] = []
    with tempfile.TemporaryDirectory(prefix="sluice-faults-") as folder:
        stack = SupervisedStack(Path(folder) / "home")
        try:
            stack.start()
            with probing(stack.ports[0]) as probes, ThreadPoolExecutor(WAITING) as pool:
                for number in range(restarts):
                    codes = restart_once(stack, pool, probes)
                    cut += [code for code in codes if code != 202]
                    print(f"restart {number + 1}: waiting requests answered {codes}", flush=True)
            stack.stop()
        finally:
            stack.end()
    lost = [error for probe in probes for error in probe.lost]
    slowest = max(probe.slowest for probe in probes)
    answered, refused = sum(probe.answered for probe in probes), sum(probe.refused for probe in probes)
    print(f"answered {answered}, refused {refused}, slowest {slowest:.1f} s")
    if lost or cut or slowest > HELD_SECONDS:
        print(f"LOST: {lost}; waiting requests cut: {cut}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else RESTARTS))
