"""A tenant whose every text carries a canary, for tests that search what strangers receive for it."""

from __future__ import annotations

import contextlib
import json
import secrets
import uuid
from dataclasses import dataclass

from app.core.errors import WebhookRejected
from app.core.payment import Payment
from app.services.debits import spending
from app.services.debits.spending import DebitRequest
from app.services.deliveries import redelivery, webhook_endpoints
from app.services.payments import refunds
from app.services.payments.refunds import RefundRequest
from app.services.tenants import provider_routes
from app.services.webhooks import receive
from app.services.webhooks.receive import Delivery
from testbed.shop import ACTOR, Shop
from testbed.stack import Stack
from tests.support.books import settle


@dataclass(frozen=True)
class Victim:
    """A tenant with money, and a user whose name is no secret."""

    shop: Shop
    canary: str
    user_id: str
    paid: Payment
    failed: Payment
    open: Payment
    letter_id: uuid.UUID
    refund_id: uuid.UUID
    debit_id: uuid.UUID
    endpoint_id: uuid.UUID
    delivery_id: uuid.UUID

    @property
    def private(self) -> tuple[str, ...]:
        """Return the texts that nobody else may read, not even another user of the tenant."""
        return (self.canary, *(str(payment.id) for payment in (self.paid, self.failed, self.open)))

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the texts that no other tenant may read."""
        names = (self.shop.tenant_id, self.shop.provider_id, self.shop.key_id)
        names += (self.letter_id, self.refund_id, self.debit_id, self.endpoint_id, self.delivery_id)
        return (*self.private, *(str(name) for name in names))

    def pay(self) -> Payment:
        """Settle a paid deposit with the canary in its metadata and reference, and publish its notifications."""
        payment = self.shop.deposit(user_id=self.user_id, metadata={self.canary: self.canary})
        self.shop.deliver(self.shop.body(payment, provider_reference=f"{self.canary}-{payment.id}"))
        settle(self.shop.runtime)
        return self.shop.payment(payment.id)


def make_victim(web_stack: Stack) -> Victim:
    """Make a tenant with payments in three states, entries, events, a dead letter, and one of all else."""
    shop, canary = web_stack.make_shop(), "canary" + secrets.token_hex(8)
    provider_routes.set_route(shop.runtime, shop.tenant_id, "USD", [shop.provider_id], ACTOR)
    user_id = "ann-" + secrets.token_hex(6)
    url = f"https://shop.example/{canary}"
    made = webhook_endpoints.create_endpoint(shop.runtime, shop.tenant_id, url, None, canary, ACTOR)
    endpoint_id = uuid.UUID(made["id"])
    delivery_id = redelivery.send_test(shop.runtime, shop.tenant_id, endpoint_id, ACTOR)
    fields = {"metadata": {canary: canary}, "success_url": f"https://shop.example/{canary}", "user_id": user_id}
    paid, failed, still_open = (shop.deposit(key=canary + name, **fields) for name in ("", "2", "3"))
    shop.deliver(shop.body(paid, provider_reference=canary), webhook_id=canary)
    shop.deliver(shop.body(paid, amount="9.99", provider_reference=canary), webhook_id=canary)
    shop.deliver(shop.body(failed, "failed", error_message=f"declined: {canary}"))
    shop.deliver(json.dumps({"event": canary}).encode(), path="provider")
    body = shop.body(still_open, provider_reference=canary)
    forged = shop.sign(body, canary) | {"webhook-signature": f"v1,{canary}"}
    with contextlib.suppress(WebhookRejected):
        receive.receive(shop.runtime, Delivery("payment-success", None, forged, body, "127.0.0.1"))
    settle(shop.runtime)
    paid, failed = shop.payment(paid.id), shop.payment(failed.id)
    assert (str(paid.status), failed.failure_reason) == ("completed", f"declined: {canary}")
    letter_id = web_stack.databases.value(
        "select id from dead_letters where tenant_id = :id limit 1", id=shop.tenant_id
    )
    wanted = RefundRequest(paid.id, "1.00", None, canary, canary, canary.encode(), {canary: canary})
    refund_id = uuid.UUID(refunds.ask_refund(shop.runtime, shop.tenant_id, wanted, ACTOR).refund["id"])
    asked = DebitRequest(user_id, "1.00", "USD", canary, canary, canary, canary.encode(), canary)
    debit_id = uuid.UUID(spending.take(shop.runtime, shop.tenant_id, asked, ACTOR).debit["id"])
    still_open = shop.payment(still_open.id)
    return Victim(
        shop, canary, user_id, paid, failed, still_open, letter_id, refund_id, debit_id, endpoint_id, delivery_id
    )
