"""Requests of strangers about a tenant's webhook endpoints and deliveries."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from tests.security.tenancy.attempts import Attempt
from tests.security.tenancy.victims import Victim

ENDPOINTS, DELIVERIES = "/api/webhook-endpoints", "/api/webhook-deliveries"
Case = Callable[[Victim], Iterator[Attempt]]


def about_endpoint(rule: str, body: dict[str, Any] | None = None) -> Case:
    """Attempt on the victim's endpoint through a route with an id in its path."""

    def attempts(victim: Victim) -> Iterator[Attempt]:
        path, twin = rule.replace("{id}", str(victim.endpoint_id)), rule.replace("{id}", str(uuid.uuid4()))
        yield Attempt(path, twin, body, body)

    return attempts


def about_delivery(rule: str) -> Case:
    """Attempt on a delivery to the victim's endpoint."""

    def attempts(victim: Victim) -> Iterator[Attempt]:
        yield Attempt(rule.replace("{id}", str(victim.delivery_id)), rule.replace("{id}", str(uuid.uuid4())))

    return attempts


def list_endpoints(_: Victim) -> Iterator[Attempt]:
    """List endpoints, of which the stranger has none."""
    yield Attempt(ENDPOINTS, ENDPOINTS)


def nothing_foreign(_: Victim) -> Iterator[Attempt]:
    """Yield nothing: the route takes no name of another tenant's row."""
    return iter(())


ENDPOINT_CASES: dict[tuple[str, str], Case] = {
    ("POST", ENDPOINTS): nothing_foreign,
    ("GET", ENDPOINTS): list_endpoints,
    ("GET", f"{ENDPOINTS}/{{id}}"): about_endpoint(f"{ENDPOINTS}/{{id}}"),
    ("PATCH", f"{ENDPOINTS}/{{id}}"): about_endpoint(f"{ENDPOINTS}/{{id}}", {"url": "https://thief.example/"}),
    ("DELETE", f"{ENDPOINTS}/{{id}}"): about_endpoint(f"{ENDPOINTS}/{{id}}"),
    ("POST", f"{ENDPOINTS}/{{id}}/rotate-secret"): about_endpoint(f"{ENDPOINTS}/{{id}}/rotate-secret"),
    ("POST", f"{ENDPOINTS}/{{id}}/test"): about_endpoint(f"{ENDPOINTS}/{{id}}/test"),
    ("GET", f"{ENDPOINTS}/{{id}}/deliveries"): about_endpoint(f"{ENDPOINTS}/{{id}}/deliveries"),
    ("POST", f"{ENDPOINTS}/{{id}}/redeliver"): about_endpoint(f"{ENDPOINTS}/{{id}}/redeliver", {"after_event_id": 0}),
    ("GET", f"{DELIVERIES}/{{id}}"): about_delivery(f"{DELIVERIES}/{{id}}"),
    ("POST", f"{DELIVERIES}/{{id}}/redeliver"): about_delivery(f"{DELIVERIES}/{{id}}/redeliver"),
}
