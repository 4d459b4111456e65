"""Dead letters about money that went back or came again, and of webhooks that raise, each made as it comes to be."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest

from app.core.facts import Fact, FactKind
from app.core.payment import Payment
from app.providers.adapters.sandbox import SandboxAdapter
from app.services.operators import reconciliation
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from app.services.webhooks import waiting_reversals
from testbed.shop import ACTOR
from tests.integration.operators.dead_letter_cases import OperatorScene
from tests.integration.operators.test_reconciliation import HOUR
from tests.integration.refunds.policy_cases import give_back
from tests.integration.refunds.refund_requests import ask
from tests.support.mollie_provider import make_mollie


def raised(scene: OperatorScene) -> Payment:
    """Return a payment whose webhook no attempt could read, for a fault that is gone by now."""

    def fail(*_: Any) -> None:
        raise RuntimeError("a fault in an adapter")

    payment = scene.start()
    scene.shop.deliver(scene.shop.body(payment))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SandboxAdapter, "translate", fail)
        scene.exhaust()
    return payment


def report(scene: OperatorScene, payment: Payment, fact: Fact) -> None:
    """Settle a fact as if the payment's provider had answered it."""
    with settlement.open(scene.shop.runtime, "clerk", scene.shop.tenant_id) as batch:
        provider_id = payment.provider_id
        batch.settle([Item(payment.tenant_id, payment.id, fact, f"provider:{provider_id}", provider_id)])


def money_again_without_its_reversal(scene: OperatorScene) -> Payment:
    payment = scene.paid()
    again = Fact(FactKind.REINSTATED, None, amount_minor=500, currency="USD", reversal_id="re_unknown")
    report(scene, payment, again)
    rows = scene.front.databases.rows
    rows("update payment_movements set due_at = now() where payment_id = :id", id=payment.id)
    waiting_reversals.end_waiting(scene.shop.runtime)
    return payment


def refund_calls_exhausted(scene: OperatorScene) -> Payment:
    payment = scene.paid(refund={"status": 500, "times": 1})
    query = "update payment_providers set attempts_max = 1 where id = :id"
    scene.front.databases.rows(query, id=scene.shop.provider_id)
    scene.front.sandbox.act(str(payment.provider_reference), "pay")
    ask(scene.shop, scene.shop.payment(payment.id), "10.00")
    scene.engine.call()
    return payment


def refund_that_the_adapter_cannot_make(scene: OperatorScene) -> Payment:
    """Return a payment whose late money was to go back, while its adapter makes no refunds."""
    give_back(scene.shop)
    payment = scene.start()
    scene.deliver(payment, "cancelled")
    scene.front.sandbox.act(str(payment.provider_reference), "pay", even_if_ended=True)
    scene.deliver(payment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SandboxAdapter, "capabilities", replace(SandboxAdapter.capabilities, can_refund=False))
        scene.engine.call()
    return payment


def reversed_only_here(scene: OperatorScene) -> Payment:
    mollie = make_mollie(scene.front, scene.shop)
    payment = mollie.deposit(user_id="user-" + mollie.id.hex[:8])
    scene.front.sandbox.script(match={"merchant_reference": str(payment.id)}, webhook={"send": []})
    scene.engine.call()
    scene.front.sandbox.happen(payment.id, "pay")
    scene.engine.ask(payment.id)
    report(scene, payment, Fact(FactKind.REVERSED, amount_minor=700, currency="EUR", reversal_id="re_not_there"))
    now = datetime.datetime.now(datetime.UTC)
    reconciliation.reconcile(scene.shop.runtime, mollie.id, now - HOUR, now + HOUR, ACTOR)
    return payment
