"""Dead letters of every reason, each made as it comes to be."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, replace
from typing import Any

from app.core.payment import Payment
from app.services.tenants import policies, providers
from app.services.tenants.providers import NewProvider
from app.services.webhooks import waiting_reversals
from testbed.shop import ACTOR, NOWHERE, Shop
from testbed.stack import Stack
from tests.integration.operators.test_reconciliation import create, run
from tests.support.engine import Engine


@dataclass(frozen=True)
class OperatorScene:
    """A tenant, the workers in this process and the sandbox."""

    front: Stack
    engine: Engine
    shop: Shop

    def start(self, **sections: Any) -> Payment:
        """Start a payment that the provider has; `sections` are a script for it."""
        payment = self.shop.deposit(user_id="user-" + secrets.token_hex(4))
        if sections:
            self.front.sandbox.script(match={"merchant_reference": str(payment.id)}, **sections)
        self.engine.call()
        return self.shop.payment(payment.id)

    def deliver(
        self, payment: Payment, status: str = "success", path: str = "payment-callback", **changes: Any
    ) -> Payment:
        """Deliver a webhook about the payment, and settle it; return the payment."""
        self.shop.deliver(self.shop.body(payment, status, **changes), path)
        self.engine.settle()
        return payment

    def refund(self, payment: Payment, amount: str, **changes: Any) -> Payment:
        """Deliver a webhook about a refund by the provider, and settle it; return the payment."""
        self.shop.deliver_refund(payment, amount=amount, **changes)
        self.engine.settle()
        return payment

    def paid(self, **sections: Any) -> Payment:
        """Return a payment of 25.00 that is completed."""
        return self.deliver(self.start(**sections))

    def exhaust(self) -> None:
        """Let waiting webhooks use up their attempts."""
        waiting = "select count(*) from webhook_work where tenant_id = :id"
        while self.front.databases.value(waiting, id=self.shop.tenant_id):
            self.engine.make_webhooks_due()
            self.engine.settle()

    def work(self) -> None:
        """Do what an action made due."""
        self.front.databases.rows("delete from provider_breakers")
        self.engine.call()
        self.exhaust()
        self.engine.number()


def unusable(scene: OperatorScene) -> Payment:
    return scene.deliver(scene.start(), event_type="payment.failed")


def unknown_payment(scene: OperatorScene) -> Payment:
    payment = scene.start()
    scene.deliver(payment, transaction_id=str(uuid.uuid4()))
    scene.exhaust()
    return payment


def payment_of_another_provider(scene: OperatorScene) -> Payment:
    """Deliver a webhook of the tenant's second provider about a payment of its first; return the payment."""
    payment, shop = scene.start(), scene.shop
    new = NewProvider(shop.tenant_id, "second-" + secrets.token_hex(4), "sandbox", NOWHERE, {"api_key": "key"})
    provider_id, secret = providers.create_provider(shop.runtime, new, ACTOR)
    second = replace(shop, provider_id=provider_id, webhook_secret=secret)
    second.deliver(second.body(payment))
    scene.exhaust()
    return payment


def webhook_attempts_exhausted(scene: OperatorScene) -> Payment:
    payment = scene.start()
    receipt = scene.shop.deliver(scene.shop.body(payment))
    query = "update webhook_work set attempts = 5 where webhook_id = :id"
    scene.front.databases.rows(query, id=receipt.webhook_id)
    scene.engine.settle()
    return payment


def underpaid(scene: OperatorScene) -> Payment:
    return scene.deliver(scene.start(), amount="10.00")


def overpaid(scene: OperatorScene) -> Payment:
    return scene.deliver(scene.start(), amount="30.00")


def currency_mismatch(scene: OperatorScene) -> Payment:
    return scene.deliver(scene.start(), currency="EUR")


def underpaid_by_a_poll(scene: OperatorScene) -> Payment:
    payment = scene.start(webhook={"send": []})
    scene.front.sandbox.act(str(payment.provider_reference), "pay", amount="10.00")
    scene.engine.ask(payment.id)
    return payment


def late(scene: OperatorScene) -> Payment:
    policies.change_policy(scene.shop.runtime, scene.shop.tenant_id, {"late_policy": "hold"}, ACTOR)
    payment = scene.start()
    scene.deliver(payment, "cancelled")
    scene.deliver(payment)
    return payment


def second_payment(scene: OperatorScene) -> Payment:
    return scene.deliver(scene.paid(), provider_reference="other")


def less_than_before(scene: OperatorScene) -> Payment:
    return scene.deliver(scene.paid(), amount="10.00")


def success_of_another_reference(scene: OperatorScene) -> Payment:
    return scene.deliver(scene.start(), provider_reference="other")


def failure_of_another_reference(scene: OperatorScene) -> Payment:
    return scene.deliver(scene.start(), "failed", provider_reference="other")


def refund_of_too_much(scene: OperatorScene) -> Payment:
    return scene.refund(scene.paid(), "25.01")


def refund_of_another_reference(scene: OperatorScene) -> Payment:
    return scene.refund(scene.paid(), "25.00", provider_reference="other")


def refund_of_money_that_never_came(scene: OperatorScene) -> Payment:
    """End the monitoring window of an unpaid payment of which a refund still waits; return the payment."""
    payment = scene.start()
    scene.refund(payment, "25.00")
    scene.deliver(payment, "cancelled")
    rows = scene.front.databases.rows
    rows("update payment_transactions set expires_at = now() - interval '2 days' where id = :id", id=payment.id)
    rows("update waiting_reversals set due_at = now() where payment_id = :id", id=payment.id)
    waiting_reversals.end_waiting(scene.shop.runtime)
    return payment


def create_refused(scene: OperatorScene) -> Payment:
    return scene.start(create={"status": 401, "times": 1})


def poll_refused(scene: OperatorScene) -> Payment:
    payment = scene.start(fetch={"status": 401, "times": 1})
    scene.engine.ask(payment.id)
    return payment


def close_refused(scene: OperatorScene) -> Payment:
    payment = scene.start(cancel={"status": 401, "times": 1})
    scene.engine.expire(payment.id)
    for _ in range(2):
        scene.engine.ask(payment.id)
    return payment


def call_attempts_exhausted(scene: OperatorScene) -> Payment:
    query = "update payment_providers set attempts_max = 1 where id = :id"
    scene.front.databases.rows(query, id=scene.shop.provider_id)
    return scene.start(create={"status": 500, "times": 1})


def call_refused_of_a_payment_that_completed(scene: OperatorScene) -> Payment:
    payment = create_refused(scene)
    case = "update dead_letters set case_key = null where payment_id = :id"
    scene.front.databases.rows(case, id=payment.id)
    scene.deliver(payment)
    return payment


def missing_here(scene: OperatorScene) -> Payment:
    payment = scene.start()
    order: dict[str, Any] = {"amount": "5.00", "currency": "USD", "merchant_reference": str(uuid.uuid4())}
    order |= {"callback_urls": {}, "metadata": {}, "expires_at": None, "success_url": None, "failure_url": None}
    create(scene.front, scene.shop, order)
    run(scene.shop)
    return payment


def missing_there(scene: OperatorScene) -> Payment:
    payment = scene.start(fetch={"status": 404})
    run(scene.shop)
    return payment


def paid_and_missing_there(scene: OperatorScene) -> Payment:
    payment = scene.paid(fetch={"status": 404})
    run(scene.shop)
    return payment


def shown(scene: OperatorScene, **fields: Any) -> Payment:
    """Return a payment that is paid here and that the provider shows differently."""
    payment = scene.paid(fetch={"show": fields})
    run(scene.shop)
    return payment


def less_there(scene: OperatorScene) -> Payment:
    return shown(scene, status="paid", received_amount="24.00", received_currency="USD")


def more_there(scene: OperatorScene) -> Payment:
    return shown(scene, status="paid", received_amount="26.00", received_currency="USD")


def other_currency_there(scene: OperatorScene) -> Payment:
    return shown(scene, status="paid", received_amount="25.00", received_currency="EUR")


def declined_there(scene: OperatorScene) -> Payment:
    return shown(scene, status="declined")


def paid_there(scene: OperatorScene) -> Payment:
    payment = scene.start(webhook={"send": []})
    scene.engine.expire(payment.id)
    for _ in range(2):
        scene.engine.ask(payment.id)
    scene.front.sandbox.act(str(payment.provider_reference), "pay", even_if_ended=True)
    run(scene.shop)
    return payment
