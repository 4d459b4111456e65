"""Adapters to external payment apps: plain values in, facts out. One file a provider."""

from app.providers.adapter import Account, Adapter, Listed, Order, RefundSubject, Subject
from app.providers.capabilities import Capabilities
from app.providers.credentials import Credential
from app.providers.events import Asks, Delivered, Event, Ignored, Name, Told
from app.providers.signing import Received

__all__ = [
    "Account",
    "Adapter",
    "Asks",
    "Capabilities",
    "Credential",
    "Delivered",
    "Event",
    "Ignored",
    "Listed",
    "Name",
    "Order",
    "Received",
    "RefundSubject",
    "Subject",
    "Told",
]
