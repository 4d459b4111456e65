"""An account at an emulator that is called through its provider's adapter."""

from __future__ import annotations

import datetime
import json
import time
import urllib.parse
import uuid
from collections.abc import Callable, Mapping

from app.core.facts import Fact
from app.core.signatures import Scheme
from app.providers import Account, Adapter, Delivered, Event, Ignored, Listed, Order, Received, Subject
from tests.integration.emulators.emulated_shop import EmulatedShop
from tests.support.webhook_receiver import Received as Delivery

HOUR = datetime.timedelta(hours=1)


class Merchant:
    """A shop and the adapter that speaks for it; payments are of 25.00 in `currency`."""

    def __init__(
        self,
        shop: EmulatedShop,
        make_adapter: Callable[[frozenset[str]], Adapter],
        currency: str = "USD",
        customer: Mapping[str, str] | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> None:
        self.shop, self.currency, self.customer = shop, currency, customer or {}
        self.adapter = make_adapter(frozenset({urllib.parse.urlsplit(shop.url).netloc}))
        self.account = Account(uuid.uuid4(), shop.url, credentials or {"api_key": shop.key})

    def order(self, payment_id: uuid.UUID, minor: int = 2500, currency: str | None = None) -> bytes:
        """Return the body of a create call."""
        now = datetime.datetime.now(datetime.UTC)
        urls = ("https://shop.example/ok?payment_id=1", "https://shop.example/no")
        asked = currency or self.currency
        made = Order(payment_id, minor, asked, {}, *urls, now, now + HOUR, {"order": "7"}, customer=self.customer)
        return self.adapter.build_request(made)

    def create(self, payment_id: uuid.UUID, minor: int = 2500, currency: str | None = None) -> Fact:
        """Create a payment."""
        return self.adapter.create(self.account, payment_id, self.order(payment_id, minor, currency))

    def fetch(self, payment_id: uuid.UUID, reference: str | None = None) -> Fact:
        """Fetch a payment."""
        return self.adapter.fetch(self.account, Subject(payment_id, reference))

    def cancel(self, payment_id: uuid.UUID, reference: str | None) -> Fact:
        """Close a payment's session."""
        return self.adapter.cancel(self.account, Subject(payment_id, reference))

    def list(self) -> list[Listed]:
        """Return what the account's list has of the hours around now."""
        now = datetime.datetime.now(datetime.UTC)
        return list(self.adapter.list_payments(self.account, now - HOUR, now + HOUR))

    def verify(self, webhook: Delivery, secret: str | None = None) -> str:
        """Return the id of a webhook whose signature holds."""
        keys = [self.adapter.read_key(Scheme(), secret or self.shop.secret)]
        received = Received(webhook.headers, webhook.body, json.loads(webhook.body))
        return self.adapter.verify(Scheme(), keys, received, time.time())

    def translate(self, webhook: Delivery) -> list[Event]:
        """Return what a webhook says."""
        return list(self.adapter.translate(Delivered("provider", webhook.body, webhook.headers)))

    def events(self, count: int) -> list[Event]:
        """Return what the verified webhooks say, once there are `count`, without what is ignored."""
        said: list[Event] = []
        for webhook in self.shop.wait(count):
            assert self.verify(webhook)
            said += [event for event in self.translate(webhook) if not isinstance(event, Ignored)]
        return said
