"""Everything at once on one payment: the books come out right each time, and nobody gets a 5xx.

Fifty parallel deposits with one key are in `tests/integration/payments/test_api_deposits.py`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
import requests

from app.core.payment import Payment
from app.runtime.runtime import Runtime
from app.services.payments.calls import call_dispatcher
from app.services.verification import prove
from app.services.webhooks import settle
from testbed.shop import Shop
from testbed.stack import Stack
from tests.scenarios.copies import send_copies
from tests.support.clients.api import Api
from tests.support.engine import Engine

PROCESSES, COPIES = 4, 100
RACES = 50
HEAD_STARTS = 10


@pytest.fixture(scope="module")
def front(stack: Stack) -> Stack:
    """Provide a web process and a sandbox; threads of the tests do the workers' work."""
    stack.start("web", "sandbox")
    return stack


@pytest.fixture
def runtimes(front: Stack) -> Iterator[list[Runtime]]:
    """Two more runtimes with connections of their own, as two workers have them."""
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(front.databases.open_runtime(SLUICE_PUBLIC_URL=front.web)) for _ in range(2)]


@pytest.fixture(autouse=True)
def the_books_hold(front: Stack) -> Iterator[None]:
    yield
    report = prove(front.runtime.database, "full")
    assert report.is_whole, report.as_json()


def assert_credited_once(engine: Engine, payment: Payment) -> None:
    assert payment.status == "completed"
    assert engine.entries(payment.id) == [("user", 2500), ("clearing", -2500)]
    assert engine.dead_letters(payment.id) == []


def test_a_hundred_copies_from_four_processes(
    front: Stack, engine: Engine, shop: Shop, runtimes: list[Runtime]
) -> None:
    payment = engine.start(shop)
    body = shop.body(payment)
    sent = (f"{front.web}/webhooks/payment-success", body, shop.sign(body), COPIES // PROCESSES)
    done = threading.Event()

    def settle_meanwhile(runtime: Runtime) -> None:
        while not done.is_set():
            settle.settle_due(runtime)

    spawn = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(2) as settlers:
        settling_threads = [settlers.submit(settle_meanwhile, runtime) for runtime in runtimes]
        try:
            with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool:
                senders = [pool.submit(send_copies, *sent) for _ in range(PROCESSES)]
                answers = [answer for sender in senders for answer in sender.result()]
        finally:
            done.set()
        for thread in settling_threads:
            thread.result()
    engine.settle()
    assert sorted(answers) == [(200, False)] + [(200, True)] * (COPIES - 1)
    assert_credited_once(engine, shop.payment(payment.id))
    assert engine.verdicts(payment.id) == [("processed", "applied")]


def race(*acts: Callable[[], object]) -> list[object]:
    """Do all at the same moment, and return what each of them gave."""
    start = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> object:
        start.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as pool:
        return [each.result() for each in [pool.submit(run, act) for act in acts]]


def test_webhook_poll_and_cancel_at_once(
    front: Stack, engine: Engine, shop: Shop, api: Api, runtimes: list[Runtime]
) -> None:
    """In whatever order they finish, the money is credited once; after a cancel it is late."""
    marks = set()
    url = f"{front.web}/webhooks/payment-success"
    for number in range(RACES):
        payment = engine.start(shop, user_id=f"user-{number}")
        front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": []})
        front.sandbox.act(str(payment.provider_reference), "pay")
        body = shop.body(payment)
        engine.make_due(payment.id)

        def take_and_settle(body: bytes = body) -> int:
            status = requests.post(url, data=body, headers=shop.sign(body), timeout=30).status_code
            settle.settle_due(runtimes[0])
            return status

        def cancel(payment: Payment = payment, reads: int = number % HEAD_STARTS) -> int:
            # A cancel is the fastest of all: reads of the payment give the others a head start.
            for _ in range(reads):
                api.get(f"/api/payments/{payment.id}")
            return api.post(f"/api/payments/{payment.id}/cancel").status_code

        taken, _, cancelled = race(take_and_settle, lambda: call_dispatcher.call_due(runtimes[1]), cancel)
        engine.run_until(lambda id=payment.id: shop.payment(id).status == "completed", "the money is credited")  # type: ignore[misc]
        engine.make_webhooks_due()
        engine.settle()
        after = shop.payment(payment.id)
        assert taken == 200
        # 409 where the money was faster; a cancel that was granted makes the money late.
        assert (cancelled, after.exception) in {(200, "late"), (409, None)}
        assert_credited_once(engine, after)
        assert [status for status, _ in engine.verdicts(payment.id)] == ["processed"]
        truth = front.sandbox.truth(payment.id)
        assert [one["captures"] for one in truth["payments"]] == [1]
        marks.add(after.exception)
    # Both orders were seen: a race that always has the same winner shows little.
    assert marks == {None, "late"}
