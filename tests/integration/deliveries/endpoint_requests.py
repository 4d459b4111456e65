"""A tenant with webhook endpoints on this machine, and the work of the workers that deliver."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

from app.runtime.runtime import Runtime
from app.services.deliveries import webhook_endpoints
from app.services.deliveries.sending import DeliveryDispatcher
from app.services.records import notifications
from app.services.webhooks import settle
from testbed.servers import Databases
from testbed.shop import ACTOR, Shop, make_shop
from tests.support.webhook_receiver import Received, WebhookReceiver

# Everything about endpoints; tests of a module share their databases.
TABLES = "webhook_endpoints, endpoint_secrets, endpoint_deliveries, delivery_work, delivery_attempts, endpoint_breakers"


@dataclass
class Backend:
    """A tenant whose backend gets webhooks; nothing else works on `databases`."""

    databases: Databases
    runtime: Runtime
    shop: Shop
    secrets: dict[str, str] = field(default_factory=dict)

    def endpoint(self, url: str, event_types: list[str] | None = None) -> uuid.UUID:
        """Make an endpoint, whose secret is kept; return its id."""
        made = webhook_endpoints.create_endpoint(self.runtime, self.shop.tenant_id, url, event_types, None, ACTOR)
        self.secrets[made["id"]] = made["secret"]
        return uuid.UUID(made["id"])

    def complete(self, count: int = 1) -> None:
        """Complete new payments, each of which makes one notification, in one batch."""
        for _ in range(count):
            self.shop.deliver(self.shop.body(self.shop.deposit()))
        settle.settle_due(self.runtime)

    def number(self) -> None:
        """Assign numbers to notifications that wait."""
        notifications.number_due(self.runtime)

    def deliver(self, at_once: int = 32) -> None:
        """Make the attempts that are due."""
        DeliveryDispatcher(at_once).run(self.runtime)

    def make_due(self) -> None:
        """Let every delivery be due, and every pause be over."""
        self.databases.rows("update delivery_work set due_at = now() - interval '1 second', claim_id = null")
        self.databases.rows(
            "update endpoint_breakers set paused_until = now() - interval '1 second', probe_until = null"
        )

    def deliveries(self, columns: str = "status, attempts") -> list[dict[str, Any]]:
        """Return columns of all deliveries in the order of their events."""
        return self.databases.rows(f"select {columns} from endpoint_deliveries order by event_id, id")

    def attempts(self, columns: str = "number, status_code") -> list[dict[str, Any]]:
        """Return columns of all attempts."""
        return self.databases.rows(f"select {columns} from delivery_attempts order by delivery_id, number")

    def waits(self) -> list[float]:
        """Return for how many seconds each pending delivery still waits, by the order of its event."""
        rows = self.databases.rows(
            "select extract(epoch from w.due_at - now())::float as seconds from delivery_work w"
            " join endpoint_deliveries d on d.id = w.delivery_id order by d.event_id, d.id"
        )
        return [row["seconds"] for row in rows]

    def alarms(self) -> list[str]:
        """Return the kinds of the alarms about endpoints."""
        return [
            row["kind"] for row in self.databases.rows("select kind from alerts where kind ~ 'endpoint' order by at")
        ]

    def endpoint_state(self) -> dict[str, Any]:
        """Return whether the only endpoint is disabled, and why."""
        (row,) = self.databases.rows("select disabled_at is not null as is_off, disabled_reason from webhook_endpoints")
        return row

    def verify(self, received: Received, endpoint_id: uuid.UUID) -> dict[str, Any]:
        """Return the message of a delivery that the official library verifies with the endpoint's secret."""
        message: dict[str, Any] = Webhook(self.secrets[str(endpoint_id)]).verify(received.body, received.headers)
        return message


@contextmanager
def open_backend(databases: Databases) -> Iterator[Backend]:
    """Open a backend on databases without endpoints."""
    databases.rows(f"truncate {TABLES}, alerts cascade")
    with databases.open_runtime() as runtime:
        yield Backend(databases, runtime, make_shop(runtime))


@contextmanager
def open_receivers(count: int) -> Iterator[list[WebhookReceiver]]:
    """Open servers that receive webhooks."""
    running = [WebhookReceiver() for _ in range(count)]
    try:
        yield running
    finally:
        for each in running:
            each.close()
