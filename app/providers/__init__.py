"""Adapters to external payment apps: plain values in, facts out. One file a provider."""

from collections.abc import Callable

from app.providers.adapter import Account, Adapter, Listed, Order, Subject
from app.providers.adapters.paystack import PaystackAdapter
from app.providers.adapters.sandbox import SandboxAdapter
from app.providers.capabilities import Capabilities
from app.providers.events import Asks, Delivered, Event, Ignored, Name, Told
from app.providers.signing import Received

# The adapters that a provider can be configured with, by name.
ADAPTERS: dict[str, Callable[[frozenset[str]], Adapter]] = {"paystack": PaystackAdapter, "sandbox": SandboxAdapter}

__all__ = [
    "ADAPTERS",
    "Account",
    "Adapter",
    "Asks",
    "Capabilities",
    "Delivered",
    "Event",
    "Ignored",
    "Listed",
    "Name",
    "Order",
    "Received",
    "Subject",
    "Told",
    "build_adapters",
]


def build_adapters(private_hosts: frozenset[str]) -> dict[str, Adapter]:
    """Return one adapter of each kind; `private_hosts` may be called although they are not public."""
    return {name: adapter(private_hosts) for name, adapter in ADAPTERS.items()}
