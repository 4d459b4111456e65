"""A worker that dies at any commit of a refund by a policy leaves its money in one place, and one refund in the end."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

import pytest

from app.runtime.runtime import Runtime
from app.services.operators import redrive, resolve
from app.services.webhooks import settle as settling
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.integration.refunds.policy_cases import (
    LATE_IN,
    LATE_OUT,
    OVER_IN,
    OVER_OUT,
    find_case,
    give_back,
    in_suspense,
    list_refunds,
    pay_late,
    pay_too_much,
)
from tests.integration.refunds.refund_requests import check_books
from tests.integration.refunds.test_refund_limits import refunds_of
from tests.scenarios.crashing import Crashed, CrashingDatabase, When
from tests.support.engine import Engine, call_and_settle, claim_call


def die(shop: Shop, engine: Engine, nth: int, when: When, work: Callable[[Runtime], object]) -> None:
    """Let a process die at its `nth` commit of the work."""
    database = CrashingDatabase(engine.databases.database_url, 4)
    try:
        database.arm(nth, when)
        with contextlib.suppress(Crashed):
            work(dataclasses.replace(shop.runtime, database=database))
        assert database.has_crashed
    finally:
        database.engine.dispose()


# The claim of the webhook, and its settlement, which puts the excess into suspense and makes its refund due.
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2])
def test_at_a_commit_of_the_success(front: Stack, engine: Engine, shop: Shop, nth: int, when: When) -> None:
    give_back(shop)
    payment = engine.start(shop)
    front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": []})
    front.sandbox.act(str(payment.provider_reference), "pay", amount="30.00")
    shop.deliver(shop.body(payment, amount="30.00"))
    die(shop, engine, nth, when, settling.settle_due)
    is_settled = (nth, when) == (2, "after")
    assert in_suspense(engine, shop) == (500 if is_settled else 0)
    engine.make_webhooks_due()
    engine.settle()
    engine.call()
    assert sorted(engine.entries(payment.id)) == sorted(OVER_IN + OVER_OUT)
    assert [one["status"] for one in list_refunds(shop, payment)] == ["completed"]
    assert refunds_of(front, payment) == 1
    check_books(engine, shop)


# The claim of the call, and the settlement of its answer.
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2])
def test_at_a_commit_of_the_call(front: Stack, engine: Engine, shop: Shop, nth: int, when: When) -> None:
    give_back(shop)
    payment = pay_late(front, engine, shop)

    def call(worker: Runtime) -> None:
        claim = claim_call(worker)
        assert claim is not None
        call_and_settle(worker, claim)

    die(shop, engine, nth, when, call)
    # The next worker: the lease of the dead one is over.
    engine.ask(payment.id)
    assert [one["status"] for one in list_refunds(shop, payment)] == ["completed"]
    assert (engine.entries(payment.id), refunds_of(front, payment)) == (LATE_IN + LATE_OUT, 1)
    check_books(engine, shop)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("action", ["accept", "redrive"])
def test_a_persons_decision_is_one_commit(front: Stack, engine: Engine, shop: Shop, action: str, when: When) -> None:
    give_back(shop)
    payment = pay_too_much(front, engine, shop)
    # The provider has given all of it back, and refuses.
    front.sandbox.act(str(payment.provider_reference), "refund")
    engine.call()
    case, decide = find_case(engine, payment), {"accept": resolve.accept, "redrive": redrive.redrive}[action]
    die(shop, engine, 1, when, lambda dying: decide(dying, shop.tenant_id, case, ACTOR))
    assert len(list_refunds(shop, payment)) == (2 if (action, when) == ("redrive", "after") else 1)
    assert in_suspense(engine, shop) == (0 if (action, when) == ("accept", "after") else 500)
    check_books(engine, shop)
