"""What a protocol says of itself; the defaults are the sandbox's own ways."""

from __future__ import annotations

import abc
import base64
import json
import secrets
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from sandbox.protocols.payment import MoneyBack, ProviderPayment

Event = Literal[
    "success",
    "failed",
    "cancelled",
    "expired",
    "approved",
    "processing",
    "attempt_failed",
    "refunded",
    "refund_failed",
    "refund_refused",
    "disputed",
    "dispute_won",
    "dispute_lost",
    "stray",
]

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

_SECRET_BYTES = 32
# 96 random bits: references do not collide.
_REFERENCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that happened to a payment, to be announced by webhook."""

    event: Event
    payment: ProviderPayment
    # Names the event for the receiver, the same on every attempt.
    event_id: str
    # The merchant's own name for this provider, which only the sandbox's form carries.
    provider_id: str
    # The payment's status before.
    was: str
    money_back: MoneyBack | None


@dataclass(frozen=True, slots=True)
class Notice:
    """One webhook before it is signed: the provider's name of the event, and the body."""

    event_type: str
    body: dict[str, Any]
    content_type: str = JSON


@dataclass(frozen=True, slots=True)
class Unsigned:
    """The bytes of one attempt, and what they are signed with; of several secrets the first is the newest."""

    webhook_id: str
    timestamp: int
    body: bytes
    secrets: tuple[str, ...]
    # Where this sandbox is reached.
    own_url: str = ""


class ProviderProtocol(abc.ABC):
    """One provider's spelling. It holds no state: everything is made of the payment."""

    name = "sandbox"
    # What people call the provider.
    title = "Sandbox"
    # The sandbox's own API shows the engine's words as they are.
    is_native = False
    # Whether the payment is over when the payer is declined or leaves the page.
    decline_ends = True
    cancel_ends = True
    # Whether what the payer approves is only paid once the merchant captures it.
    captures = False
    # Whether a chargeback is always of all that came, even where a part was refunded before.
    chargeback_is_whole = False
    # Whether each refund is taken, and one that cannot be made is refused later, by a webhook of its own kind.
    refuses_refunds_later = False
    # Whether what happened is kept to be listed, whether or not a webhook says so.
    keeps_events = False

    def new_reference(self) -> str:
        """Return the reference of a new payment."""
        return "sbx_" + secrets.token_hex(_REFERENCE_BYTES)

    def new_secret(self) -> str:
        """Return a random webhook secret in this protocol's form."""
        return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()

    @abc.abstractmethod
    def check_account(self, api_key: str, secret: str) -> None:
        """Raise Refusal 422 for a credential or a webhook secret that this provider would not give."""

    def default_secret(self, api_key: str) -> str | None:
        """Return the webhook secret where the account's credential is it."""
        return None

    @abc.abstractmethod
    def notices(self, occurrence: Occurrence, *, to_endpoint: bool) -> list[Notice]:
        """Return the honest webhooks of an occurrence, in their order.

        They go to an endpoint of the account, or to the address that the payment itself brought.
        """

    def encode(self, notice: Notice) -> bytes:
        """Return a webhook's bytes."""
        if notice.content_type == FORM:
            return urlencode(notice.body).encode()
        return json.dumps(notice.body, ensure_ascii=False, separators=(",", ":")).encode()

    @abc.abstractmethod
    def sign(self, unsigned: Unsigned) -> dict[str, str]:
        """Return the headers that authenticate one attempt."""

    def seal(self, unsigned: Unsigned) -> bytes:
        """Return the bytes that are sent, with signatures in them where the provider has them there."""
        return unsigned.body

    def join(self, bodies: list[bytes]) -> bytes | None:
        """Return several webhooks as one, None where the provider reports each by itself."""
        return None

    def unsigned_headers(self, unsigned: Unsigned) -> dict[str, str]:
        """Return the headers that stay when a script leaves the signature out."""
        return {}

    def fill_url(self, url: str, payment: ProviderPayment) -> str:
        """Return the merchant's URL with what the provider puts in place of its marks."""
        return url

    def return_query(self, payment: ProviderPayment) -> dict[str, str]:
        """Return what is added to the query of the merchant's URL when the payer is led back."""
        return {"payment_id": payment.merchant_reference, "reference": payment.reference}
