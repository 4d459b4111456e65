"""What an adapter may offer beyond payments: to show that our credentials work, and to register our address."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from app.providers.adapter import Account
from app.providers.calls.outgoing import ProviderAnswer


@dataclass(frozen=True, slots=True)
class Registration:
    """An address that is registered: its id there, the secret it signs with, and what is left to do by hand.

    Without a secret the one that belongs to the id is known already.
    """

    id: str
    secret: str | None = field(repr=False)
    remaining: str


def keep_registration(registration_id: str, present: object, wanted: Iterable[str] = ()) -> Registration:
    """Return an address that is registered already, for the events `present`; `wanted` are those that it needs."""
    names = set(map(str, present)) if isinstance(present, list | set) else set()
    missing = [] if "*" in names else sorted(set(wanted) - names)
    remaining = f"tick there: {', '.join(missing)}" if missing else "nothing: it is registered already"
    return Registration(registration_id, None, remaining)


@runtime_checkable
class Checkable(Protocol):
    """An adapter with a cheap call that only our credentials open."""

    def check_account(self, account: Account) -> ProviderAnswer | None:
        """Make the call and return its answer, None where the provider has none. Raise NotSent and OutcomeUnknown."""


@runtime_checkable
class Connectable(Protocol):
    """An adapter whose provider registers addresses for webhooks by its API."""

    def register_webhooks(self, account: Account, webhook_url: str, known_id: str | None) -> Registration:
        """Register `webhook_url` for the events that the adapter reads. Raise ProviderCallFailed.

        `known_id`: what an earlier call registered, whose secret is kept. While it is there nothing is made.
        """


@runtime_checkable
class SignsWithCredential(Protocol):
    """An adapter whose provider signs webhooks with one of our credentials; there is no secret of their own."""

    secret_credential: str
