"""How a provider spells the webhook addresses of an account; without another word it has no calls for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sandbox.values.refusal import Refusal

# Shown once, when the address is registered.
_SECRET_FIELDS = frozenset({"secret", "webhookSecret"})


@dataclass(frozen=True, slots=True)
class EndpointOrder:
    """A read request to register a webhook address; `events` are names divided by blanks, `*` for all."""

    url: str
    events: str


def without(what: str) -> Refusal:
    """Return the answer of a provider that has no such call."""
    return Refusal(404, "not_found", f"this provider has no {what}")


class EndpointSpelling:
    """The half of a protocol that is about webhook addresses."""

    def read_endpoint(self, fields: dict[str, Any]) -> EndpointOrder:
        """Read a call that registers a webhook address."""
        raise without("webhook addresses to register")

    def render_endpoint(self, endpoint_id: str, order: EndpointOrder, secret: str) -> dict[str, Any]:
        """Return a registered webhook address with its secret."""
        raise without("webhook addresses to register")

    def show_endpoint(self, endpoint_id: str, order: EndpointOrder, secret: str) -> dict[str, Any]:
        """Return a webhook address as it is shown later."""
        made = self.render_endpoint(endpoint_id, order, secret)
        return {name: value for name, value in made.items() if name not in _SECRET_FIELDS}

    def endpoint_token(self, shown_id: str) -> str:
        """Return the token of the webhook address that an id names."""
        return shown_id.rpartition("_")[2]

    def render_endpoints(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return all webhook addresses."""
        raise without("lists of webhook addresses")

    def render_new_secret(self, secret: str) -> dict[str, Any]:
        """Return the secret that replaces an address's."""
        raise without("secrets to replace")
