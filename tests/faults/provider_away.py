"""Takes the provider away for a while and prints how long after its return the next redirect URL comes.

    .venv/bin/python tests/faults/provider_away.py [--seconds 135] [--kind killed|stopped|silent]

A stack of its own: PostgreSQL, Valkey, web, workers, beat and the sandbox. Deposits are made all along, a few seconds
apart. `killed`: connections are refused; `stopped`: the provider's process stands still, so calls hang; `silent`: with
a single deposit, made before, so that nothing but its own retry finds out. Exits 1 above thirty seconds.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

# Started by its path, the script sees its own folder only.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from app.local.embedded import PostgresServer, ValkeyServer
from testbed.servers import Servers
from testbed.shop import Shop
from testbed.stack import Stack
from testbed.waiting import wait_until

# The next redirect URL comes at most so long after the provider's return.
BOUND_SECONDS = 30.0
# As in an ordinary shop: often enough that deposits meet every stage of the outage.
DEPOSIT_SECONDS = 3.0
# What has not come back by then does not come back at all.
GIVE_UP_SECONDS = 180.0

PROCESSES = ("web", "sandbox", "worker-settle", "worker-provider", "beat")


def run(stack: Stack, seconds: float, kind: str) -> float:
    """Return the seconds from the provider's return to the next redirect URL."""
    stack.start(*PROCESSES)
    shop = stack.make_shop()
    first = shop.deposit().id
    wait_until(lambda: shop.payment(first).redirect_url, "the provider works", 60)
    return_provider = _take_away(stack, kind)
    waiting = [shop.deposit().id]
    away_at = time.monotonic()
    while time.monotonic() - away_at < seconds:
        time.sleep(min(DEPOSIT_SECONDS, max(0.0, seconds - (time.monotonic() - away_at))))
        if kind != "silent":
            waiting.append(shop.deposit().id)
    assert not _has_redirect(stack, shop), "the provider was not away"
    _print_breaker(stack, shop)
    return_provider()
    returned_at = time.monotonic()
    wait_until(lambda: _has_redirect(stack, shop), "a redirect URL after the provider's return", GIVE_UP_SECONDS)
    passed = time.monotonic() - returned_at
    wait_until(lambda: _count_redirects(stack, shop) == len(waiting) + 1, "all deposits follow", GIVE_UP_SECONDS)
    print(f"all {len(waiting)} deposits of the outage follow after {time.monotonic() - returned_at:.1f} s")
    return passed


def _take_away(stack: Stack, kind: str) -> Callable[[], None]:
    """Take the sandbox away; return what brings it back."""
    if kind == "stopped":
        process = psutil.Process(stack.running["sandbox"].pid)
        family = [process, *process.children(recursive=True)]
        for member in family:
            member.suspend()
        return lambda: [member.resume() for member in family] and None  # type: ignore[func-returns-value]
    stack.stop("sandbox", sign=signal.SIGKILL)
    return lambda: stack.start("sandbox")


def _count_redirects(stack: Stack, shop: Shop) -> int:
    query = "select count(*) from payment_transactions where provider_id = :id and redirect_url is not null"
    return int(stack.databases.value(query, id=shop.provider_id))


def _has_redirect(stack: Stack, shop: Shop) -> bool:
    """Whether any deposit but the first has its redirect URL."""
    return _count_redirects(stack, shop) > 1


def _print_breaker(stack: Stack, shop: Shop) -> None:
    rows = stack.databases.rows(
        "select failures, opens, extract(epoch from paused_until - now())::float as seconds"
        " from provider_breakers where provider_id = :id",
        id=shop.provider_id,
    )
    for row in rows:
        print(
            f"breaker before the return: {row['failures']} failures, pause {row['opens']}, {row['seconds']:.1f} s left"
        )


def main() -> int:
    """Run the fault once; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=135.0, help="how long the provider is away")
    parser.add_argument("--kind", choices=("killed", "stopped", "silent"), default="killed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-fault-") as folder:
        root = Path(folder)
        for name in ("pg", "vk", "databases"):
            (root / name).mkdir()
        with (
            PostgresServer(root / "pg", {}) as postgres,
            ValkeyServer(root / "vk") as valkey,
            Servers(postgres, valkey, root / "databases").open_databases() as databases,
            Stack.open(databases) as stack,
        ):
            passed = run(stack, options.seconds, options.kind)
    is_good = passed <= BOUND_SECONDS
    print(f"{options.kind} for {options.seconds:.0f} s: next redirect {passed:.1f} s after the provider's return")
    print("good" if is_good else f"more than {BOUND_SECONDS:.0f} s")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
