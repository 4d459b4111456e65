"""What an adapter may offer beyond payments: to show that our credentials work, and to register our address."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from app.providers.adapter import Account
from app.providers.calls.outgoing import ProviderAnswer


@dataclass(frozen=True, slots=True)
class Registration:
    """An address that was registered: the secret that the provider signs with, and what is left to do by hand."""

    secret: str | None = field(repr=False)
    remaining: str


@runtime_checkable
class Checkable(Protocol):
    """An adapter with a cheap call that only our credentials open."""

    def check_account(self, account: Account) -> ProviderAnswer | None:
        """Make the call and return its answer, None where the provider has none. Raise NotSent and OutcomeUnknown."""


@runtime_checkable
class Connectable(Protocol):
    """An adapter whose provider registers addresses for webhooks by its API."""

    def register_webhooks(self, account: Account, webhook_url: str) -> Registration:
        """Register `webhook_url` for the events that the adapter reads. Raise ProviderCallFailed.

        A repeated call makes no second registration where the provider knows repeated calls.
        """
