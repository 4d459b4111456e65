"""A worker that dies at any commit of a refund's call leaves one refund in the end."""

from __future__ import annotations

import dataclasses

import pytest

from testbed.shop import Shop
from testbed.stack import Stack
from tests.integration.refunds.refund_requests import ask, check_books, pay, read, user_entries
from tests.scenarios.crashing import Crashed, CrashingDatabase, When, die_in_call
from tests.support.engine import Engine


# The call has two commits: the claim, and the settlement of the answer.
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_worker_dies_at_a_commit_of_the_call(front: Stack, engine: Engine, shop: Shop, nth: int, when: When) -> None:
    payment = pay(front, engine, shop, silent=True)
    made = ask(shop, payment, "10.00")
    die_in_call(shop.runtime, engine.databases.database_url, nth, when)
    # The next worker: the lease of the dead one is over.
    if engine.action(payment.id) is not None:
        engine.ask(payment.id)
    assert read(shop, made)["status"] == "completed"
    assert front.sandbox.truth(payment.id)["payments"][0]["refunds"] == 1
    assert user_entries(engine, payment) == [2500, -1000]
    check_books(engine, shop)


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_request_for_a_refund_is_one_commit(front: Stack, engine: Engine, shop: Shop, when: When) -> None:
    payment = pay(front, engine, shop, silent=True)
    database = CrashingDatabase(engine.databases.database_url, 4)
    dying = dataclasses.replace(shop, runtime=dataclasses.replace(shop.runtime, database=database))
    try:
        database.arm(1, when)
        with pytest.raises(Crashed):
            ask(dying, payment, "10.00", key=f"dying-{payment.id}")
    finally:
        database.engine.dispose()
    count = "select count(*) from refunds r join wallet_temp_logs l on l.refund_id = r.id where r.payment_id = :id"
    assert engine.databases.value(count, id=payment.id) == (1 if when == "after" else 0)
    assert ask(shop, payment, "10.00", key=f"dying-{payment.id}").is_replayed == (when == "after")
    engine.call()
    assert user_entries(engine, payment) == [2500, -1000]
    check_books(engine, shop)
