"""Every action of an operator on every reason for a dead letter leaves the books whole, and one of them ends it.

Each row of the table makes a dead letter of one reason and says what the user's wallet holds once an action was taken.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from app.core.errors import RequestRejected
from app.core.payment import Payment
from app.services.audit_chain import seals
from app.services.operators import redrive, resolve
from app.services.tenants import policies, providers
from app.services.tenants.providers import NewProvider
from app.services.verification import prove
from app.services.webhooks import waiting_reversals
from testbed.shop import ACTOR, NOWHERE, Shop
from testbed.stack import Stack
from tests.integration.operators.test_reconciliation import create, run
from tests.support.engine import Engine


@dataclass(frozen=True)
class Scene:
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
    ) -> None:
        """Deliver a webhook about the payment, and settle it."""
        self.shop.deliver(self.shop.body(payment, status, **changes), path)
        self.engine.settle()

    def refund(self, payment: Payment, amount: str, **changes: Any) -> None:
        """Deliver a webhook about a refund by the provider, and settle it."""
        fields = json.loads(self.shop.body(payment, amount=amount, event_type="payment.refunded", **changes))
        self.shop.deliver(json.dumps(fields | {"status": "refunded"}).encode(), "provider")
        self.engine.settle()

    def paid(self, **sections: Any) -> Payment:
        """Return a payment of 25.00 that is completed."""
        payment = self.start(**sections)
        self.deliver(payment)
        return payment

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


def unusable(scene: Scene) -> Payment:
    payment = scene.start()
    scene.deliver(payment, event_type="payment.failed")
    return payment


def unknown_payment(scene: Scene) -> Payment:
    payment = scene.start()
    scene.deliver(payment, transaction_id=str(uuid.uuid4()))
    scene.exhaust()
    return payment


def payment_of_another_provider(scene: Scene) -> Payment:
    """Deliver a webhook of the tenant's second provider about a payment of its first; return the payment."""
    payment, shop = scene.start(), scene.shop
    new = NewProvider(shop.tenant_id, "second-" + secrets.token_hex(4), "sandbox", NOWHERE, "key")
    provider_id, secret = providers.create_provider(shop.runtime, new, ACTOR)
    second = replace(shop, provider_id=provider_id, webhook_secret=secret)
    second.deliver(second.body(payment))
    scene.exhaust()
    return payment


def webhook_attempts_exhausted(scene: Scene) -> Payment:
    payment = scene.start()
    receipt = scene.shop.deliver(scene.shop.body(payment))
    query = "update webhook_work set attempts = 5 where webhook_id = :id"
    scene.front.databases.rows(query, id=receipt.webhook_id)
    scene.engine.settle()
    return payment


def underpaid(scene: Scene) -> Payment:
    payment = scene.start()
    scene.deliver(payment, amount="10.00")
    return payment


def overpaid(scene: Scene) -> Payment:
    payment = scene.start()
    scene.deliver(payment, amount="30.00")
    return payment


def currency_mismatch(scene: Scene) -> Payment:
    payment = scene.start()
    scene.deliver(payment, currency="EUR")
    return payment


def underpaid_by_a_poll(scene: Scene) -> Payment:
    payment = scene.start(webhook={"send": []})
    scene.front.sandbox.act(str(payment.provider_reference), "pay", amount="10.00")
    scene.engine.ask(payment.id)
    return payment


def late(scene: Scene) -> Payment:
    policies.change_policy(scene.shop.runtime, scene.shop.tenant_id, {"late_policy": "hold"}, ACTOR)
    payment = scene.start()
    scene.deliver(payment, "cancelled")
    scene.deliver(payment)
    return payment


def second_payment(scene: Scene) -> Payment:
    payment = scene.paid()
    scene.deliver(payment, provider_reference="other")
    return payment


def less_than_before(scene: Scene) -> Payment:
    payment = scene.paid()
    scene.deliver(payment, amount="10.00")
    return payment


def success_of_another_reference(scene: Scene) -> Payment:
    payment = scene.start()
    scene.deliver(payment, provider_reference="other")
    return payment


def failure_of_another_reference(scene: Scene) -> Payment:
    payment = scene.start()
    scene.deliver(payment, "failed", provider_reference="other")
    return payment


def refund_of_too_much(scene: Scene) -> Payment:
    payment = scene.paid()
    scene.refund(payment, "25.01")
    return payment


def refund_of_another_reference(scene: Scene) -> Payment:
    payment = scene.paid()
    scene.refund(payment, "25.00", provider_reference="other")
    return payment


def refund_of_money_that_never_came(scene: Scene) -> Payment:
    """End the monitoring window of an unpaid payment of which a refund still waits; return the payment."""
    payment = scene.start()
    scene.refund(payment, "25.00")
    scene.deliver(payment, "cancelled")
    rows = scene.front.databases.rows
    rows("update payment_transactions set expires_at = now() - interval '2 days' where id = :id", id=payment.id)
    rows("update waiting_reversals set due_at = now() where payment_id = :id", id=payment.id)
    waiting_reversals.end_waiting(scene.shop.runtime)
    return payment


def create_refused(scene: Scene) -> Payment:
    return scene.start(create={"status": 401, "times": 1})


def poll_refused(scene: Scene) -> Payment:
    payment = scene.start(fetch={"status": 401, "times": 1})
    scene.engine.ask(payment.id)
    return payment


def close_refused(scene: Scene) -> Payment:
    payment = scene.start(cancel={"status": 401, "times": 1})
    scene.engine.expire(payment.id)
    for _ in range(2):
        scene.engine.ask(payment.id)
    return payment


def call_attempts_exhausted(scene: Scene) -> Payment:
    query = "update payment_providers set attempts_max = 1 where id = :id"
    scene.front.databases.rows(query, id=scene.shop.provider_id)
    return scene.start(create={"status": 500, "times": 1})


def call_refused_of_a_payment_that_completed(scene: Scene) -> Payment:
    payment = create_refused(scene)
    case = "update dead_letters set case_key = null where payment_id = :id"
    scene.front.databases.rows(case, id=payment.id)
    scene.deliver(payment)
    return payment


def missing_here(scene: Scene) -> Payment:
    payment = scene.start()
    order: dict[str, Any] = {"amount": "5.00", "currency": "USD", "merchant_reference": str(uuid.uuid4())}
    order |= {"callback_urls": {}, "metadata": {}, "expires_at": None, "success_url": None, "failure_url": None}
    create(scene.front, scene.shop, order)
    run(scene.shop)
    return payment


def missing_there(scene: Scene) -> Payment:
    payment = scene.start(fetch={"status": 404})
    run(scene.shop)
    return payment


def shown(scene: Scene, **fields: Any) -> Payment:
    """Return a payment that is paid here and that the provider shows differently."""
    payment = scene.paid(fetch={"show": fields})
    run(scene.shop)
    return payment


def less_there(scene: Scene) -> Payment:
    return shown(scene, status="paid", received_amount="24.00", received_currency="USD")


def more_there(scene: Scene) -> Payment:
    return shown(scene, status="paid", received_amount="26.00", received_currency="USD")


def other_currency_there(scene: Scene) -> Payment:
    return shown(scene, status="paid", received_amount="25.00", received_currency="EUR")


def declined_there(scene: Scene) -> Payment:
    return shown(scene, status="declined")


def paid_there(scene: Scene) -> Payment:
    payment = scene.start(webhook={"send": []})
    scene.engine.expire(payment.id)
    for _ in range(2):
        scene.engine.ask(payment.id)
    scene.front.sandbox.act(str(payment.provider_reference), "pay", even_if_ended=True)
    run(scene.shop)
    return payment


@dataclass(frozen=True)
class Row:
    """How a dead letter comes to be, and what the wallet holds after each action; 0 where nothing is said."""

    make: Callable[[Scene], Payment]
    reason: str
    balances: dict[str, int] = field(default_factory=dict)


PAID = dict.fromkeys(("accept", "reject", "redrive", "replay"), 2500)
TABLE = (
    Row(unusable, "unusable"),
    Row(unknown_payment, "unknown_payment"),
    Row(payment_of_another_provider, "unknown_payment"),
    Row(webhook_attempts_exhausted, "attempts_exhausted", {"redrive": 2500, "replay": 2500}),
    Row(underpaid, "underpaid", {"accept": 1000}),
    Row(overpaid, "overpaid", {"accept": 3000}),
    Row(currency_mismatch, "currency_mismatch", {"accept": 2500}),
    Row(underpaid_by_a_poll, "underpaid", {"accept": 1000}),
    Row(late, "late", {"accept": 2500}),
    Row(second_payment, "second_payment", PAID | {"accept": 5000}),
    Row(less_than_before, "second_payment", PAID),
    Row(success_of_another_reference, "reference_mismatch", {"accept": 2500}),
    Row(failure_of_another_reference, "reference_mismatch"),
    Row(refund_of_too_much, "reversal", PAID),
    Row(refund_of_another_reference, "reversal", PAID),
    Row(refund_of_money_that_never_came, "reversal"),
    Row(create_refused, "provider_refused_us"),
    Row(poll_refused, "provider_refused_us"),
    Row(close_refused, "provider_refused_us"),
    Row(call_attempts_exhausted, "attempts_exhausted"),
    Row(call_refused_of_a_payment_that_completed, "provider_refused_us", PAID),
    Row(missing_here, "missing_here"),
    Row(missing_there, "missing_there"),
    Row(less_there, "amount", PAID),
    Row(more_there, "amount", PAID),
    Row(other_currency_there, "currency", PAID),
    Row(declined_there, "state", PAID),
    Row(paid_there, "state", {"redrive": 2500}),
)


def act(scene: Scene, action: str, letter: dict[str, Any]) -> None:
    """Do it by the service that the API and the command line call; what cannot be done is refused with 409."""
    runtime, tenant_id = scene.shop.runtime, scene.shop.tenant_id
    try:
        if action == "replay":
            redrive.replay_webhook(runtime, tenant_id, letter["webhook_id"], ACTOR)
        elif action == "redrive":
            redrive.redrive(runtime, tenant_id, letter["id"], ACTOR)
        else:
            decide = resolve.accept if action == "accept" else resolve.reject
            decide(runtime, tenant_id, letter["id"], ACTOR)
    except RequestRejected as rejection:
        if rejection.status != 409:
            raise


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.make.__name__)
def test_every_action_leaves_the_books_whole_and_one_ends_it(front: Stack, row: Row) -> None:
    engine, ended = Engine(front.runtime, front.databases), set()
    for action in ("redrive", "replay", "accept", "reject"):
        scene = Scene(front, engine, front.make_shop())
        payment = row.make(scene)
        letters = front.databases.rows("select * from dead_letters where tenant_id = :id", id=scene.shop.tenant_id)
        assert {(letter["reason"], letter["state"]) for letter in letters} == {(row.reason, "open")}
        if action == "replay" and letters[0]["webhook_id"] is None:
            continue
        act(scene, action, letters[0])
        scene.work()
        seals.seal_due(front.runtime)
        report = prove(front.runtime.database, "full", scene.shop.tenant_id)
        assert report.is_whole, (action, report.as_json())
        assert balance(scene, payment) == row.balances.get(action, 0), action
        state = front.databases.value("select state from dead_letters where id = :id", id=letters[0]["id"])
        if state != "open":
            ended.add(action)
    assert ended, "no action ends it"


def balance(scene: Scene, payment: Payment) -> int:
    """Minor units in all of the user's wallets."""
    query = "select coalesce(sum(balance_minor), 0)::bigint from wallets where tenant_id = :tenant and user_id = :user"
    return int(scene.front.databases.value(query, tenant=scene.shop.tenant_id, user=payment.user_id))


def test_rows_that_earlier_redrives_wrote_pass(front: Stack, engine: Engine, shop: Shop) -> None:
    """Audit rows cannot be mended: a null for the webhook, and a webhook that another provider sent."""
    scene = Scene(front, engine, shop)
    payment = payment_of_another_provider(scene)
    (letter,) = front.databases.rows("select * from dead_letters where tenant_id = :id", id=shop.tenant_id)
    for webhook_id in (None, str(letter["webhook_id"])):
        front.databases.rows(
            "insert into audit_logs (tenant_id, actor, kind, payment_id, detail) values"
            " (:tenant, 'operator:test', 'dead_letter_redriven', :payment, cast(:detail as jsonb))",
            tenant=shop.tenant_id,
            payment=payment.id,
            detail=json.dumps({"reason": letter["reason"], "webhook_id": webhook_id}),
        )
    engine.number()
    seals.seal_due(front.runtime)
    report = prove(front.runtime.database, "full", shop.tenant_id)
    assert report.is_whole, report.as_json()


def test_a_payment_keeps_clear_of_another_providers_webhook(front: Stack, engine: Engine, shop: Shop) -> None:
    payment = payment_of_another_provider(Scene(front, engine, shop))
    assert engine.dead_letters(payment.id) == []
    assert engine.verdicts(payment.id) == []
    (letter,) = front.databases.rows("select * from dead_letters where tenant_id = :id", id=shop.tenant_id)
    assert (letter["payment_id"], letter["webhook_id"] is None) == (None, False)
