"""The interface of adapters, and the plain values that they take and return."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from app.core.facts import Fact
from app.core.signatures import Key, Scheme
from app.providers.capabilities import Capabilities
from app.providers.credentials import Credential
from app.providers.events import Delivered, Event, Name
from app.providers.signing import Received


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant's account with a provider."""

    provider_id: uuid.UUID
    api_base_url: str
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Order:
    """A payment to create at a provider, with the URLs for its webhooks and for the user's browser.

    `callback_urls`: `success`, `failed`, `callback`, `provider`, and `poke` where the provider has a URL for pokes.

    `amount_minor`: in minor units of `currency` by ISO 4217, which need not be the provider's. `customer`: what the
    deposit says about the payer, by email, name, phone, country and locale; each may be missing.
    """

    payment_id: uuid.UUID
    amount_minor: int
    currency: str
    callback_urls: Mapping[str, str]
    success_url: str | None
    failure_url: str | None
    created_at: datetime.datetime
    expires_at: datetime.datetime
    metadata: Mapping[str, str]
    customer: Mapping[str, str] = field(default_factory=dict, repr=False)
    description: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Subject:
    """A payment to look up at the provider: by its reference, or by our id while that is not known.

    `approval`: the number of the payer's last approval, from 1; a capture is of one approval.
    """

    payment_id: uuid.UUID
    reference: str | None
    approval: int = 0


@dataclass(frozen=True, slots=True)
class RefundSubject:
    """A refund to make, or to look up by its own `reference`, or by our `refund_id` while that is not known.

    `payment_reference`: the provider reference of the money. `aliases`: the ids of the provider's other objects that
    belong to the payment, the oldest first, as its facts had them. `amount_minor`: in minor units of `currency` by ISO
    4217. `is_known`: the provider has said that it works on it.
    """

    refund_id: uuid.UUID
    payment_id: uuid.UUID
    payment_reference: str
    amount_minor: int
    currency: str
    reference: str | None = None
    reason: str | None = None
    is_known: bool = False
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """A payment in a provider's list.

    `payment_id` is our id as the provider stored it, None where it has none. `asked_minor` of `currency` was requested,
    `refunded_minor` of the received currency given back; `fact` is the present state.
    """

    payment_id: uuid.UUID | None
    reference: str
    asked_minor: int
    currency: str
    refunded_minor: int
    fact: Fact


class Adapter(Protocol):
    """A provider's protocol.

    Calls raise NotSent, OutcomeUnknown or ProviderRefusedUs (app.core.errors); a declined payment is a fact. The
    idempotency key of `create` is our payment id, and `request` the same bytes on every try.
    """

    # What the provider can do and what it takes.
    capabilities: Capabilities

    # What it takes to call the provider: an account has those that are required, and no others than these.
    credentials: ClassVar[tuple[Credential, ...]]

    # The provider's own URL by mode, test and live; without one the operator has to name it.
    base_urls: ClassVar[Mapping[str, str]]

    def read_mode(self, account: Account) -> str | None:
        """Return `test` or `live`, as the account's URL and credentials say; None where they do not."""

    def build_request(self, order: Order) -> bytes:
        """Return the body of the create call."""

    def create(self, account: Account, payment_id: uuid.UUID, request: bytes) -> Fact:
        """Create the payment at the provider; ACCEPTED with reference and redirect URL, or DECLINED."""

    def advance(self, account: Account, subject: Subject) -> Fact:
        """Capture what the payer has approved: the same bytes with the same key on every try for the same approval.

        SUCCEEDED, COMMITTED where it settles later, ATTEMPT_DECLINED where the payer may approve again, DECLINED or
        CANCELLED. Not called where the adapter's capabilities have no `capture_within_seconds`.
        """

    def fetch(self, account: Account, subject: Subject) -> Fact:
        """Ask for the payment's present state; NOT_FOUND where the provider has none."""

    def list_payments(
        self, account: Account, created_after: datetime.datetime, created_before: datetime.datetime
    ) -> Iterator[Listed]:
        """Yield the payments created from `created_after` to before `created_before`, page by page."""

    def cancel(self, account: Account, subject: Subject) -> Fact:
        """Close the payment's session; return the state it then has."""

    def build_refund(self, subject: RefundSubject) -> bytes:
        """Return the body of the call that makes a refund. This and the next: where it `can_refund`."""

    def refund(self, account: Account, subject: RefundSubject, request: bytes) -> Fact:
        """Make a refund: the same bytes with our refund id as the key on every try. REFUND_STATE, also of a refusal."""

    def fetch_refund(self, account: Account, subject: RefundSubject) -> Fact:
        """Return the refund's present state as REFUND_STATE; NOT_FOUND where the provider has none.

        Where it `finds_refunds`, and with the refund's own reference where it `reads_refunds`.
        """

    # The scheme by which its webhooks are signed; None where the provider's row names one.
    scheme: Scheme | None

    def signature_headers(self, configured: Scheme) -> tuple[str, ...]:
        """Return the headers that belong to the signature, in lower case; `configured` is the row's scheme."""

    def read_key(self, configured: Scheme, secret: str) -> Key:
        """Return the key of a stored webhook secret. Raise ValueError for one that cannot verify webhooks."""

    def check_secret(self, configured: Scheme, secret: str) -> None:
        """Raise ValueError unless `secret` can verify webhooks."""

    def verify(self, configured: Scheme, keys: Sequence[Key], received: Received, now_seconds: float) -> str:
        """Return the id of a webhook's delivery once its signature holds. Raise WebhookRejected."""

    # Headers of its webhooks that are credentials, in lower case: kept as a hash only.
    credential_headers: tuple[str, ...]

    # The media types of its notifications that nobody signs (pokes); empty where it sends none.
    poke_types: frozenset[str]

    def read_poke(self, body: bytes) -> Name | None:
        """Return the payment that a poke names, None where it names none. Must not raise: anybody may have sent it."""

    def name_payment(self, path: str, body: Any) -> Name | None:
        """Return the payment that a webhook's parsed body names, None where the body alone names none.

        Called before the webhook is stored: it must be cheap and must not raise. A payment that only `translate` finds
        is added to the webhook when it is settled.
        """

    def translate(self, delivered: Delivered) -> Sequence[Event]:
        """Return what a verified webhook says, in its order. Raise Unusable where it cannot be read."""
