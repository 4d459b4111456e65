"""What deposits, provider calls and webhooks cost PostgreSQL stays as the table in limits.py says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from app.core.payment import Payment
from app.services.access.callers import recognise
from app.services.payments.calls.call_settlement import settle_answers
from app.services.payments.calls.provider_calls import make_call
from app.services.payments.calls.provider_claims import claim_calls
from app.services.payments.deposits import create_deposit
from app.services.queues.dispatcher import UnderWay
from app.services.webhooks.claims import BATCH_ROWS, FIRST_ROWS, WebhookQueue
from app.services.webhooks.settle import settle_batch, settle_due
from bench.filling import fill_webhooks, make_due
from bench.measured_stack import MeasuredStack, open_measured_stack
from testbed.servers import Servers
from testbed.shop import Shop, new_deposit
from tests.integration.costs.limits import LIMITS, check
from tests.integration.costs.meter import Cost, Meter, least, open_meter

# Of one payment a round takes milliseconds, of many a second.
ROUNDS_OF_ONE = 12
ROUNDS_OF_MANY = 5
CALLS = LIMITS["providers called, one set"].payments


@dataclass(frozen=True)
class Measured:
    """A stack with a sandbox, whose work is done on the meter's one session."""

    stack: MeasuredStack
    meter: Meter

    @property
    def shop(self) -> Shop:
        """The stack's tenant, as the meter's runtime serves it."""
        return replace(self.stack.shop, runtime=self.meter.runtime)

    def start(self, payments: int) -> list[Payment]:
        """Make deposits of different users, whose provider calls are due."""
        return [self.shop.deposit(user_id=f"user-{number}") for number in range(payments)]

    def call(self) -> None:
        """Make the calls that are due as one set."""
        runtime = self.meter.runtime
        claims = claim_calls(runtime, CALLS, UnderWay(2 * CALLS))
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda claim: make_call(runtime, claim), claims.calls))
        settle_answers(runtime, [answer for answer in answers if answer])

    def receive(self) -> bytes:
        """Return the body of a webhook about a new payment that its provider has."""
        (payment,) = self.start(1)
        self.call()
        return self.shop.body(self.shop.payment(payment.id))

    def settle(self, rows_max: int = FIRST_ROWS) -> Cost:
        """Settle what is due as one batch, and return its cost."""
        cost = self.meter.measure(lambda: settle_batch(self.meter.runtime, WebhookQueue(rows_max)))
        assert self.stack.databases.rows(
            "select count(*) filter (where verdict is distinct from 'applied') as others from payment_webhooks"
        ) == [{"others": 0}]
        return cost

    def settle_one(self) -> Cost:
        """Receive a webhook, settle it, and return what settling costs."""
        self.shop.deliver(self.receive())
        return self.settle()


@pytest.fixture(scope="module")
def measured(servers: Servers) -> Iterator[Measured]:
    """Provide a stack of the module's own with a sandbox and a meter."""
    with open_measured_stack(servers) as stack:
        stack.start("sandbox")
        stack.shop = stack.make_shop()
        stack.databases.rows("update payment_providers set calls_max = 1000")
        with open_meter(stack.runtime, stack.databases) as meter:
            yield Measured(stack, meter)


def least_of(rounds: int, measure: Callable[[], Cost]) -> Cost:
    return least([measure() for _ in range(rounds)])


def test_a_deposit(measured: Measured) -> None:
    runtime, key = measured.meter.runtime, measured.shop.secret_key

    def accept() -> None:
        caller = recognise(runtime.database, key)
        assert caller is not None
        create_deposit(runtime, caller, new_deposit())

    cost = least_of(ROUNDS_OF_ONE, lambda: measured.meter.measure(accept))
    measured.stack.databases.rows("update payment_work set due_at = 'infinity'")
    check("deposit accepted", cost)


@pytest.mark.parametrize(
    ("operation", "rounds"), [("provider called", ROUNDS_OF_ONE), ("providers called, one set", ROUNDS_OF_MANY)]
)
def test_provider_calls(measured: Measured, operation: str, rounds: int) -> None:
    def call() -> Cost:
        payments = measured.start(LIMITS[operation].payments)
        cost = measured.meter.measure(measured.call)
        assert {str(measured.shop.payment(payment.id).status) for payment in payments} == {"processing"}
        return cost

    check(operation, least_of(rounds, call))


def test_a_webhook_on_its_way_in(measured: Measured) -> None:
    def receive() -> Cost:
        body = measured.receive()
        return measured.meter.measure(lambda: measured.shop.deliver(body))

    check("webhook received", least_of(ROUNDS_OF_ONE, receive))
    settle_due(measured.meter.runtime)


def test_a_webhook_alone(measured: Measured) -> None:
    check("webhook settled", least_of(ROUNDS_OF_ONE, measured.settle_one))


def test_an_index_more_on_the_entries_is_noticed(measured: Measured) -> None:
    measured.stack.databases.rows("create index one_more on wallet_transactions (at)")
    try:
        cost = least_of(ROUNDS_OF_ONE, measured.settle_one)
    finally:
        measured.stack.databases.rows("drop index one_more")
    with pytest.raises(AssertionError, match="records"):
        check("webhook settled", cost)


def test_full_batches(measured: Measured) -> None:
    assert LIMITS["webhooks settled, full batch"].payments == BATCH_ROWS
    settled = []
    for _ in range(ROUNDS_OF_MANY):
        # The same users each time: from the second round on they have their wallets.
        fill_webhooks(measured.stack, BATCH_ROWS, BATCH_ROWS)
        make_due(measured.stack, BATCH_ROWS)
        settled.append(measured.settle(BATCH_ROWS))
    check("webhooks settled, full batch", least(settled))
