"""A settlement publishes whenever it commits, after the commit, and never where it is rolled back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from sqlalchemy.exc import DBAPIError

from app.core.facts import Command, CommandKind
from app.core.payment import Payment
from app.runtime.hints import CHANGED_CHANNEL, NOTIFICATIONS_CHANNEL
from app.runtime.runtime import Runtime
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from testbed.servers import Databases
from testbed.shop import Shop

# Returns the channels of the hints published, and the queues rung, since the last call.
Published = Callable[[], tuple[list[str], set[str]]]


@pytest.fixture
def payment(runtime: Runtime, tenant: Shop) -> Payment:
    """Provide a pending payment, without the ring of its deposit."""
    payment = tenant.deposit()
    runtime.redis.flushdb()
    return payment


@pytest.fixture
def published(runtime: Runtime, payment: Payment) -> Iterator[Published]:
    with runtime.redis.pubsub() as subscription:
        subscription.subscribe(CHANGED_CHANNEL, NOTIFICATIONS_CHANNEL)

        def collect() -> tuple[list[str], set[str]]:
            runtime.redis.publish(CHANGED_CHANNEL, b"end")
            channels = []
            for message in subscription.listen():
                if message["data"] == b"end":
                    break
                if message["type"] == "message":
                    channels.append(message["channel"].decode())
            rung = {name.decode().removeprefix("bell:") for name in runtime.redis.keys("bell:*")}
            runtime.redis.flushdb()
            return channels, rung

        yield collect


def cancel(tenant: Shop, payment: Payment) -> list[Item]:
    """Return the command that cancels `payment`, from the tenant's backend."""
    return [Item(payment.tenant_id, payment.id, Command(CommandKind.CANCEL), tenant.caller.actor)]


@pytest.mark.parametrize("role", ["worker", "web", "clerk"])
def test_what_is_committed_is_published(
    runtime: Runtime, tenant: Shop, payment: Payment, published: Published, role: Literal["worker", "web", "clerk"]
) -> None:
    with settlement.open(runtime, role, tenant.tenant_id) as batch:
        batch.settle(cancel(tenant, payment))
        # The connection has no commit of its own: what is settled becomes visible by leaving the block only.
        batch.connection.commit()
        assert tenant.payment(payment.id).status == "pending"
        assert published() == ([], set())
    assert tenant.payment(payment.id).status == "cancelled"
    # A worker numbers; the others ring for one.
    numbered = ([CHANGED_CHANNEL, NOTIFICATIONS_CHANNEL], {"provider"})
    assert published() == (numbered if role == "worker" else ([CHANGED_CHANNEL], {"provider", "notify"}))


def test_a_function_that_returns_out_of_the_block_publishes(
    runtime: Runtime, tenant: Shop, payment: Payment, published: Published
) -> None:
    def settle_and_return() -> str:
        with settlement.open(runtime, "worker") as batch:
            return str(batch.settle(cancel(tenant, payment))[0].decision)

    assert settle_and_return()
    assert published() == ([CHANGED_CHANNEL, NOTIFICATIONS_CHANNEL], {"provider"})


@pytest.mark.parametrize("role", ["worker", "web", "clerk"])
def test_an_exception_rolls_back_and_publishes_nothing(
    runtime: Runtime, tenant: Shop, payment: Payment, published: Published, role: Literal["worker", "web", "clerk"]
) -> None:
    with contextlib.suppress(LookupError), settlement.open(runtime, role, tenant.tenant_id) as batch:
        assert batch.settle(cancel(tenant, payment))[0].decision
        raise LookupError
    assert tenant.payment(payment.id) == payment
    assert published() == ([], set())


def test_a_commit_that_fails_publishes_nothing(
    databases: Databases, runtime: Runtime, tenant: Shop, payment: Payment, published: Published
) -> None:
    failing = settlement.open(runtime, "web", tenant.tenant_id, by_keys="many")
    with contextlib.suppress(DBAPIError), failing as batch:
        batch.settle(cancel(tenant, payment))
        # What is written last is not prepared, so it travels with the commit.
        backend = batch.connection.exec_driver_sql("select pg_backend_pid()").scalar_one()
        databases.rows("select pg_terminate_backend(:backend)", backend=backend)
    assert tenant.payment(payment.id) == payment
    assert published() == ([], set())


def test_a_batch_settles_once_and_inside_its_block(
    runtime: Runtime, tenant: Shop, payment: Payment, published: Published
) -> None:
    with settlement.open(runtime, "worker") as batch:
        batch.settle([])
        with pytest.raises(RuntimeError, match="the batch is settled"):
            batch.settle(cancel(tenant, payment))
    with settlement.open(runtime, "worker") as batch:
        kept = batch
    with pytest.raises(RuntimeError, match="the batch is left"):
        kept.settle(cancel(tenant, payment))
    assert tenant.payment(payment.id) == payment
    assert published() == ([], set())


def test_a_settlement_that_failed_is_not_committed_though_its_error_is_hidden(
    runtime: Runtime, tenant: Shop, payment: Payment, published: Published
) -> None:
    def settle_and_hide() -> None:
        with settlement.open(runtime, "worker", is_single=True) as batch, contextlib.suppress(DBAPIError):
            batch.settle(cancel(tenant, payment))

    with settlement.open(runtime, "worker") as holder:
        holder.settle(cancel(tenant, payment))
        with pytest.raises(RuntimeError, match="not settled to its end"):
            settle_and_hide()
        assert published() == ([], set())
