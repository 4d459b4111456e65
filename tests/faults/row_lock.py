"""Repeats a row lock of 45 s against a running stack, in real time: verified money waits for it and is credited.

    make run                                    # in one terminal
    .venv/bin/python tests/faults/row_lock.py   # in another; --home where SLUICE_HOME is not .sluice

One session holds the rows of some payments and of one wallet. Meanwhile webhooks arrive for these and, every second,
for others. The script ends with 0 if the others were credited within OTHERS_SECONDS each, the locked ones within
HEAL_SECONDS after the lock was released, and none of them became a dead letter.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg2

# Run by its path, as the other scripts here.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from testbed.waiting import StackError, wait_until
from tests.support.clients.tenant_client import TenantClient

# A batch that meets the lock for the first time waits for it for two seconds; then a webhook takes moments.
OTHERS_SECONDS = 8.0
# Postponements are at most twenty seconds apart, and the sweep rings every two.
HEAL_SECONDS = 30.0
# How long an answer of the stack may take.
ANSWER_SECONDS = 20.0
LOCKED_PAYMENTS = 3


def wait_for(tenant: TenantClient, payment_ids: Sequence[str], seconds: float) -> float | None:
    """Return after how many seconds all payments were credited, None where that took longer than `seconds`."""
    began = time.monotonic()
    try:
        wait_until(lambda: all(map(tenant.is_completed, payment_ids)), "all are credited", seconds)
    except StackError:
        return None
    return time.monotonic() - began


@contextlib.contextmanager
def held_rows(database_url: str, payment_ids: Sequence[str], user_id: str) -> Iterator[None]:
    """Hold the rows of the payments and of the user's wallets in one transaction."""
    connection = psycopg2.connect(database_url)
    try:
        with connection.cursor() as cursor:
            # The server ends sessions that are idle in a transaction; one that works on holds its locks all the same.
            cursor.execute("set idle_in_transaction_session_timeout = 0")
            cursor.execute(
                "select from payment_transactions where id = any(%s::uuid[]) for update", [list(payment_ids)]
            )
            assert cursor.rowcount == len(payment_ids)
            cursor.execute("select from wallets where user_id = %s for update", [user_id])
            assert cursor.rowcount == 1
        yield
    finally:
        connection.close()


def count_dead_letters(database_url: str, payment_ids: Sequence[str]) -> int:
    """Return how many of the payments have a dead letter."""
    with contextlib.closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from dead_letters where payment_id = any(%s::uuid[])", [list(payment_ids)])
        (count,) = cursor.fetchone() or (0,)
    return int(count)


def repeat(tenant: TenantClient, database_url: str, seconds: float) -> list[str]:
    """Hold the lock for `seconds` while webhooks arrive; return what was not as it must be."""
    user, faults = f"held-{uuid.uuid4().hex[:8]}", []
    opening = tenant.deposit(user)["id"]
    tenant.deliver(opening)
    if wait_for(tenant, [opening], ANSWER_SECONDS) is None:
        return ["nothing is credited even without a lock: are the workers running?"]
    locked = [tenant.deposit(f"{user}-{number}")["id"] for number in range(LOCKED_PAYMENTS)]
    # Its payment is free, and its wallet is not.
    untouched, others, slowest = tenant.deposit(user)["id"], list[str](), 0.0
    with held_rows(database_url, locked, user):
        until = time.monotonic() + seconds
        for payment_id in (*locked, untouched):
            tenant.deliver(payment_id)
        while time.monotonic() < until:
            others.append(tenant.deposit(f"free-{uuid.uuid4().hex[:8]}")["id"])
            tenant.deliver(others[-1])
            took = wait_for(tenant, others[-1:], OTHERS_SECONDS)
            if took is None:
                faults.append(f"{others[-1]}, which nobody holds, was not credited within {OTHERS_SECONDS:.0f} s")
            slowest = max(slowest, took or OTHERS_SECONDS)
            time.sleep(max(0.0, min(1.0, until - time.monotonic())))
        faults += [f"{one} was credited through the lock" for one in locked if tenant.is_completed(one)]
    healed = wait_for(tenant, [*locked, untouched], HEAL_SECONDS)
    if healed is None:
        faults.append(f"not all of {locked} and {untouched} were credited within {HEAL_SECONDS:.0f} s after the lock")
    if dead := count_dead_letters(database_url, [*locked, untouched, *others]):
        faults.append(f"{dead} dead letters")
    print(
        f"lock held {seconds:.0f} s; {len(others)} others credited meanwhile, the slowest in {slowest:.1f} s;"
        f" {len(locked) + 1} that waited credited {'never' if healed is None else f'{healed:.1f} s'} after it"
    )
    return faults


def main() -> int:
    """Read the options, repeat the fault, and print what is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path(".sluice"), help="SLUICE_HOME of the running stack")
    parser.add_argument("--seconds", type=float, default=45.0, help="how long the lock is held")
    options = parser.parse_args()
    run = json.loads((options.home / "run.json").read_text(encoding="utf-8"))
    faults = repeat(TenantClient(run), run["owner_database_url"], options.seconds)
    for fault in faults:
        print(f"FAULT: {fault}")
    print("FAILED" if faults else "PASSED")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
