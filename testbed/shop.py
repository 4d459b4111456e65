"""A tenant for tests, with a key, a provider and a webhook secret, and short methods to use them."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from app.core.money import format_amount, parse_amount
from app.core.payment import Payment
from app.core.signatures import decode_secret, sign_standard
from app.runtime.runtime import Runtime
from app.services.access.callers import Caller, create_client_token
from app.services.payments import deposits, queries
from app.services.payments.deposits import Deposit
from app.services.tenants import providers, tenants
from app.services.tenants.providers import NewProvider
from app.services.tenants.tenants import NewTenant
from app.services.webhooks import receive
from app.services.webhooks.inbox import Receipt
from app.services.webhooks.receive import Delivery

ACTOR = "operator:test"
ORIGIN = "https://shop.example"
# A port that nothing listens on: a provider that is never there.
NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Shop:
    """A tenant that allows ORIGIN, with an admin key and one provider, its default, of the sandbox's kind."""

    runtime: Runtime
    tenant_id: uuid.UUID
    key_id: uuid.UUID
    secret_key: str
    provider_id: uuid.UUID
    webhook_secret: str
    provider_api_key: str = field(repr=False)

    @property
    def sender(self) -> tuple[uuid.UUID, str]:
        """What its provider's webhooks name and are signed with."""
        return self.provider_id, self.webhook_secret

    @property
    def caller(self) -> Caller:
        """The tenant's backend."""
        return Caller(self.tenant_id, self.key_id, "admin", (ORIGIN,))

    def client(self, user_id: str) -> Caller:
        """One user's browser."""
        return Caller(self.tenant_id, self.key_id, "client", (ORIGIN,), user_id=user_id)

    def headers(self, idempotency_key: str | None = None, **more: str) -> dict[str, str]:
        """Return request headers with the secret key and, where given, an idempotency key."""
        headers = {"Authorization": f"Bearer {self.secret_key}", **more}
        return headers if idempotency_key is None else headers | {"Idempotency-Key": idempotency_key}

    def key(self, role: str) -> str:
        """Make another secret key and return it."""
        return tenants.create_key(self.runtime, self.tenant_id, role, "test", ACTOR)[1]

    def token(self, user_id: str) -> str:
        """Make a client token for a user and return it."""
        return create_client_token(self.runtime, self.tenant_id, self.key_id, user_id)[0]

    def deposit(
        self, amount: str = "25.00", currency: str = "USD", user_id: str = "ann", key: str | None = None, **more: Any
    ) -> Payment:
        """Make a payment through the service that the API calls."""
        money = {"amount_minor": parse_amount(amount, currency), "currency": currency}
        return deposits.create_deposit(
            self.runtime, self.caller, new_deposit(key, user_id=user_id, **money, **more)
        ).payment

    def payment(self, payment_id: uuid.UUID) -> Payment:
        """Read a payment as the API does."""
        return queries.get_payment(self.runtime.database, self.caller, payment_id)

    def body(self, payment: Payment, status: str = "success", **changes: Any) -> bytes:
        """Return the body of a webhook about `payment`; a change to None takes the field away."""
        events = {
            "success": "payment.success",
            "failed": "payment.failed",
            "cancelled": "payment.cancelled",
            "processing": "payment.processing",
            "refunded": "payment.refunded",
        }
        fields = {
            "provider_id": str(self.provider_id),
            "event_id": "evt_" + secrets.token_hex(8),
            "event_type": events[status],
            "transaction_id": str(payment.id),
            "provider_reference": payment.provider_reference,
            "status": status,
            "amount": format_amount(payment.amount_minor, payment.currency),
            "currency": payment.currency,
        }
        return json.dumps({name: value for name, value in (fields | changes).items() if value is not None}).encode()

    def sign(
        self, body: bytes, webhook_id: str | None = None, timestamp: int | str | None = None, secret: str | None = None
    ) -> dict[str, str]:
        """Return the headers of a delivery; see sign_webhook."""
        return sign_webhook(secret or self.webhook_secret, body, webhook_id, timestamp)

    def deliver(self, body: bytes, path: str = "payment-callback", webhook_id: str | None = None) -> Receipt:
        """Deliver a signed webhook to the service behind the door; `path` "provider" is the provider's own."""
        provider_id = str(self.provider_id) if path == "provider" else None
        delivery = Delivery(path, provider_id, self.sign(body, webhook_id), body, "127.0.0.1")
        return receive.receive(self.runtime, delivery)

    def deliver_refund(self, payment: Payment, **changes: Any) -> Receipt:
        """Deliver the provider's own webhook that the payment was refunded; `amount` is the total given back."""
        return self.deliver(self.body(payment, "refunded", **changes), "provider")


def new_deposit(key: str | None = None, **changes: Any) -> Deposit:
    """Return a request for 25.00 USD for ann with an idempotency key of its own, changed as given."""
    fields: dict[str, Any] = {
        "user_id": "ann",
        "amount_minor": 2500,
        "currency": "USD",
        "provider_id": None,
        "success_url": None,
        "failure_url": None,
        "metadata": {},
        "idempotency_key": key or secrets.token_hex(16),
        "request_sha256": bytes(32),
    }
    return Deposit(**(fields | changes))


def sign_webhook(
    secret: str, body: bytes, webhook_id: str | None = None, timestamp: int | str | None = None
) -> dict[str, str]:
    """Return the headers of a delivery: signed, with a new id and the present time where none are given."""
    webhook_id = webhook_id or "msg_" + secrets.token_hex(8)
    stamp = str(int(time.time()) if timestamp is None else timestamp)
    return {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": stamp,
        "webhook-signature": sign_standard(decode_secret(secret), webhook_id, stamp, body),
    }


def make_shop(runtime: Runtime, sandbox_url: str = NOWHERE, **tenant: Any) -> Shop:
    """Make a tenant of its own; `tenant` goes into NewTenant. Its provider is the sandbox at `sandbox_url`.

    It has no rate limit unless `tenant` names one: on a fast machine a test would reach a client token's share.
    """
    chosen = {"allowed_origins": (ORIGIN,), "requests_per_second": None} | tenant
    tenant_id = tenants.create_tenant(runtime, NewTenant("shop-" + secrets.token_hex(6), **chosen), ACTOR)
    key_id, secret_key = tenants.create_key(runtime, tenant_id, "admin", "test", ACTOR)
    api_key = "sbk_" + secrets.token_hex(12)
    new = NewProvider(tenant_id, "sandbox", "sandbox", sandbox_url, {"api_key": api_key})
    provider_id, webhook_secret = providers.create_provider(runtime, new, ACTOR)
    return Shop(runtime, tenant_id, key_id, secret_key, provider_id, webhook_secret, api_key)
