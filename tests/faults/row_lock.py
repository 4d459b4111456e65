"""Repeats a row lock of 45 s against a running stack, in real time: verified money waits for it and is credited.

    make run                                    # in one terminal
    .venv/bin/python tests/faults/row_lock.py   # in another; --home where SLUICE_HOME is not .sluice

One session holds the rows of some payments and of one wallet. Meanwhile webhooks arrive for these and, every second,
for others. The script ends with 0 if the others were credited within OTHERS_SECONDS each, the locked ones within
HEAL_SECONDS after the lock was released, and none of them became a dead letter.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import hmac
import json
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import requests

# A batch that meets the lock for the first time waits for it for two seconds; then a webhook takes moments.
OTHERS_SECONDS = 8.0
# Postponements are at most twenty seconds apart, and the sweep rings every two.
HEAL_SECONDS = 30.0
# How long an answer of the stack may take.
ANSWER_SECONDS = 20.0
LOCKED_PAYMENTS = 3


@dataclass(frozen=True)
class Stack:
    """A running stack as its run.json has it."""

    web: str
    secret_key: str
    provider_id: str
    webhook_secret: str
    owner_database_url: str

    @classmethod
    def from_file(cls, path: Path) -> Stack:
        """Read what is needed of a run.json."""
        said = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{name: said[name] for name in cls.__dataclass_fields__})

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> dict[str, Any]:
        """Return the JSON of an answer. Raise requests.RequestException for a refusal."""
        answer = requests.request(method, f"{self.web}{path}", data=body, headers=headers, timeout=ANSWER_SECONDS)
        answer.raise_for_status()
        return dict(answer.json())

    def deposit(self, user_id: str) -> str:
        """Make a deposit and return its id."""
        body = json.dumps({"user_id": user_id, "amount": "25.00", "currency": "USD"}).encode()
        headers = {"Authorization": f"Bearer {self.secret_key}", "Content-Type": "application/json"}
        return str(
            self.call("POST", "/api/payments/deposit", body, **headers, **{"Idempotency-Key": uuid.uuid4().hex})["id"]
        )

    def deliver(self, payment_id: str) -> None:
        """Send a signed webhook that says the payment was paid."""
        fields = {"event_type": "payment.success", "status": "success", "amount": "25.00", "currency": "USD"}
        body = json.dumps({"provider_id": self.provider_id, "transaction_id": payment_id, **fields}).encode()
        webhook_id, stamp = f"msg_{uuid.uuid4().hex}", str(int(time.time()))
        key = base64.b64decode(self.webhook_secret.removeprefix("whsec_"))
        digest = hmac.digest(key, f"{webhook_id}.{stamp}.".encode() + body, hashlib.sha256)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": stamp,
            "webhook-signature": "v1," + base64.b64encode(digest).decode(),
        }
        assert self.call("POST", "/webhooks/payment-success", body, **headers)["received"] is True

    def is_completed(self, payment_id: str) -> bool:
        """Tell whether a payment was credited."""
        answer = self.call("GET", f"/api/payments/{payment_id}", Authorization=f"Bearer {self.secret_key}")
        return bool(answer["status"] == "completed")

    def wait_for(self, payment_ids: Sequence[str], seconds: float) -> float | None:
        """Return after how many seconds all payments were credited, None where that took longer than `seconds`."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if all(self.is_completed(payment_id) for payment_id in payment_ids):
                return time.monotonic() - began
            time.sleep(0.1)
        return None


@contextlib.contextmanager
def held_rows(stack: Stack, payment_ids: Sequence[str], user_id: str) -> Iterator[None]:
    """Hold the rows of the payments and of the user's wallets in one transaction."""
    connection = psycopg2.connect(stack.owner_database_url)
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


def count_dead_letters(stack: Stack, payment_ids: Sequence[str]) -> int:
    """Return how many of the payments have a dead letter."""
    with contextlib.closing(psycopg2.connect(stack.owner_database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from dead_letters where payment_id = any(%s::uuid[])", [list(payment_ids)])
        (count,) = cursor.fetchone() or (0,)
    return int(count)


def repeat(stack: Stack, seconds: float) -> list[str]:
    """Hold the lock for `seconds` while webhooks arrive; return what was not as it must be."""
    user, faults = f"held-{uuid.uuid4().hex[:8]}", []
    opening = stack.deposit(user)
    stack.deliver(opening)
    if stack.wait_for([opening], ANSWER_SECONDS) is None:
        return ["nothing is credited even without a lock: are the workers running?"]
    locked = [stack.deposit(f"{user}-{number}") for number in range(LOCKED_PAYMENTS)]
    # Its payment is free, and its wallet is not.
    untouched, others, slowest = stack.deposit(user), list[str](), 0.0
    with held_rows(stack, locked, user):
        until = time.monotonic() + seconds
        for payment_id in (*locked, untouched):
            stack.deliver(payment_id)
        while time.monotonic() < until:
            others.append(stack.deposit(f"free-{uuid.uuid4().hex[:8]}"))
            stack.deliver(others[-1])
            took = stack.wait_for(others[-1:], OTHERS_SECONDS)
            if took is None:
                faults.append(f"{others[-1]}, which nobody holds, was not credited within {OTHERS_SECONDS:.0f} s")
            slowest = max(slowest, took or OTHERS_SECONDS)
            time.sleep(max(0.0, min(1.0, until - time.monotonic())))
        faults += [f"{one} was credited through the lock" for one in locked if stack.is_completed(one)]
    healed = stack.wait_for([*locked, untouched], HEAL_SECONDS)
    if healed is None:
        faults.append(f"not all of {locked} and {untouched} were credited within {HEAL_SECONDS:.0f} s after the lock")
    if dead := count_dead_letters(stack, [*locked, untouched, *others]):
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
    faults = repeat(Stack.from_file(options.home / "run.json"), options.seconds)
    for fault in faults:
        print(f"FAULT: {fault}")
    print("FAILED" if faults else "PASSED")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
