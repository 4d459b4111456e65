"""How webhooks of a provider are verified, where they are signed by one of the schemes of `app.core.signatures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.core import signatures
from app.core.signatures import Key, Scheme
from app.providers import ed25519
from app.providers.events import Name


@dataclass(frozen=True, slots=True)
class Received:
    """A webhook that is not verified yet: its headers by lower-case names, its raw bytes, and these as JSON if any."""

    headers: Mapping[str, str]
    body: bytes
    parsed: Any


class SchemeSigned:
    """The half of an adapter that verifies webhooks: by `scheme`, or where that is None by the provider's row's.

    Without another word it takes no pokes, and its webhooks have no credentials.
    """

    scheme: Scheme | None = None
    credential_headers: tuple[str, ...] = ()
    poke_types: frozenset[str] = frozenset()

    def read_poke(self, body: bytes) -> Name | None:
        """Return the payment that a poke names."""
        return None

    def signature_headers(self, configured: Scheme) -> tuple[str, ...]:
        """Return the headers that belong to the signature, in lower case."""
        return (self.scheme or configured).headers

    def read_key(self, configured: Scheme, secret: str) -> Key:
        """Return the key of a stored webhook secret. Raise ValueError for one that cannot verify webhooks."""
        return ed25519.read_key((self.scheme or configured).name, secret)

    def check_secret(self, configured: Scheme, secret: str) -> None:
        """Raise ValueError unless `secret` can verify webhooks."""
        signatures.check_secret((self.scheme or configured).name, secret)

    def verify(self, configured: Scheme, keys: Sequence[Key], received: Received, now_seconds: float) -> str:
        """Return the delivery's id once its signature holds. Raise WebhookRejected."""
        scheme = self.scheme or configured
        return signatures.verify(scheme, keys, received.headers, received.body, received.parsed, now_seconds)
