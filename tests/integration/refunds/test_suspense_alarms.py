"""Money in suspense that is for a person is one open alarm, whatever left it there, until that person has decided."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from app.core.facts import Fact, FactKind
from app.core.payment import Payment
from app.providers.adapters.sandbox import SandboxAdapter
from app.services.operators import redrive, resolve
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.integration.records.test_alerts_resolved import alarms, settle
from tests.integration.refunds.policy_cases import find_case, give_back, in_suspense, pay_late
from tests.integration.refunds.refund_requests import check_books
from tests.support.engine import Engine


@pytest.fixture(autouse=True)
def policies(shop: Shop) -> None:
    """Let the tenant's policies give late and excess money back."""
    give_back(shop)


def move(shop: Shop, payment: Payment, kind: FactKind, amount_minor: int) -> None:
    """Let the provider report that it took money back, or that it came again."""
    money = {"amount_minor": amount_minor, "currency": "USD"}
    settle(shop, payment, Fact(kind, payment.provider_reference, reversal_id="cb_1", **money))


@pytest.mark.parametrize(
    ("act", "state"), [(resolve.accept, "accepted"), (resolve.reject, "rejected"), (redrive.redrive, "redriven")]
)
def test_a_refund_that_cannot_be_made_is_an_alarm_until_a_person_has_decided(
    front: Stack, engine: Engine, shop: Shop, monkeypatch: pytest.MonkeyPatch, act: Any, state: str
) -> None:
    capabilities = dataclasses.replace(SandboxAdapter.capabilities, can_refund=False)
    monkeypatch.setattr(SandboxAdapter, "capabilities", capabilities)
    payment = pay_late(front, engine, shop)
    assert alarms(engine, shop, "suspense_held") == []
    engine.call()
    assert alarms(engine, shop, "suspense_held") == [(True, 1, None)]
    # Its money is in no wallet, as that alarm would say.
    assert alarms(engine, shop, "refund_failed") == []
    act(shop.runtime, shop.tenant_id, find_case(engine, payment), ACTOR)
    ended = (False, 1, f"{state} by {ACTOR}")
    assert alarms(engine, shop, "suspense_held") == [ended]
    if act is redrive.redrive:
        # The new refund fails as well: that is another case.
        engine.call()
        assert alarms(engine, shop, "suspense_held") == [ended, (True, 1, None)]


def test_what_a_provider_leaves_of_it_is_an_alarm_until_it_took_that_as_well(
    front: Stack, engine: Engine, shop: Shop
) -> None:
    payment = pay_late(front, engine, shop)
    for total in ("10.00", "15.00"):
        shop.deliver_refund(payment, amount=total)
        engine.settle()
    (held,) = alarms(engine, shop, "suspense_held")
    assert (held[0], in_suspense(engine, shop)) == (True, 1000)
    shop.deliver_refund(payment, amount="25.00")
    engine.settle()
    (held,) = alarms(engine, shop, "suspense_held")
    assert (held[0], held[2]) == (False, "superseded by system")
    # What went back has happened and does not last.
    query = "select distinct subject from alerts where tenant_id = :id and kind = 'payment_reversed'"
    assert engine.databases.rows(query, id=shop.tenant_id) == [{"subject": None}]
    check_books(engine, shop)


def test_money_that_comes_again_into_suspense_is_an_alarm(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = pay_late(front, engine, shop)
    move(shop, payment, FactKind.REVERSED, 2500)
    assert alarms(engine, shop, "suspense_held") == []
    move(shop, payment, FactKind.REINSTATED, 2500)
    assert alarms(engine, shop, "suspense_held") == [(True, 1, None)]
    resolve.accept(shop.runtime, shop.tenant_id, find_case(engine, payment), ACTOR)
    assert alarms(engine, shop, "suspense_held") == [(False, 1, f"accepted by {ACTOR}")]
    check_books(engine, shop)
