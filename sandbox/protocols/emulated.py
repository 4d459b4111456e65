"""What an emulator of a real provider says of the provider's calls."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from sandbox.protocols.endpoints import EndpointSpelling, without
from sandbox.protocols.orders import PaymentOrder
from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.protocols.protocol import JSON, ProviderProtocol
from sandbox.values import amounts, json_input
from sandbox.values.refusal import Refusal

_BEARER = "bearer "


class Call(StrEnum):
    """What a call does, whatever the provider calls it."""

    CREATE = "create"
    CAPTURE = "capture"
    FETCH = "fetch"
    LIST = "list"
    CANCEL = "cancel"
    # Where the payer's page and the money have objects of their own.
    FLOW = "flow"
    FETCH_MONEY = "fetch_money"
    REFUND = "refund"
    FETCH_REFUND = "fetch_refund"
    LIST_REFUNDS = "list_refunds"
    LIST_DISPUTES = "list_disputes"
    LIST_EVENTS = "list_events"
    CONNECT = "connect"
    FETCH_ENDPOINT = "fetch_endpoint"
    LIST_ENDPOINTS = "list_endpoints"
    RENEW_SECRET = "renew_secret"  # noqa: S105 - a call
    CHECK = "check"
    # Where a credential is exchanged for a token, and webhooks are signed with a certificate.
    AUTHORIZE = "authorize"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True)
class EmulatedCall:
    """One endpoint: its method, its path below the emulator's, and what it does."""

    method: str
    path: str
    call: Call


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which payments a list call wants."""

    limit: int
    # The payment after which the page begins, or at which it does; the newest is first.
    start: str | None = None
    start_included: bool = False
    after: str | None = None
    before: str | None = None
    merchant_reference: str | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """One page of payments as the provider shows them; `following` is the reference of the next page's first."""

    rows: list[dict[str, Any]]
    following: str | None
    url: str


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """A read request for a refund; the amount is in the provider's form, None for all that is left."""

    payment: str
    amount: Any
    request: dict[str, Any] = field(default_factory=dict)
    # What is refunded in all, where the provider wants it confirmed.
    total: int | None = None


@dataclass(frozen=True, slots=True)
class FlowOrder:
    """A read request for the payer's page of a payment that exists."""

    payment: str
    success_url: str | None
    failure_url: str | None


class EmulatedProtocol(EndpointSpelling, ProviderProtocol):
    """One real provider's spelling of calls.

    What not every provider has (lists, disputes, pages of their own) is refused unless the emulator says how.
    """

    calls: ClassVar[tuple[EmulatedCall, ...]] = ()
    content_type = JSON
    created_status = 200
    refunded_status = 200
    cancelled_status = 200
    # Headers that are added to a stored answer.
    replay_headers: ClassVar[Mapping[str, str]] = {}
    # Digits of the provider's minor units where they are not those of ISO 4217.
    exponents: ClassVar[Mapping[str, int]] = {}
    # Whether the provider itself refuses the merchant's reference of an earlier payment.
    is_reference_unique = False
    # Whether a payment shows its refunds and disputes.
    shows_money_back = False
    # Whether the answer to a refund is that it is done; else a webhook says so later.
    refunds_at_once = True
    # The provider's codes of refused refunds, by the sandbox's, where they are others than those of other calls.
    refund_codes: ClassVar[Mapping[str, str]] = {}
    # The prefix of a test credential: no live one may ever be given to a sandbox.
    key_prefixes: tuple[str, ...] = ()

    def check_account(self, api_key: str, secret: str) -> None:
        if not api_key.startswith(self.key_prefixes):
            raise Refusal(422, "invalid_field", f"api_key must begin with {' or '.join(self.key_prefixes)}")

    def return_query(self, payment: ProviderPayment) -> dict[str, str]:
        return {}

    def read_key(self, headers: Mapping[str, str]) -> str | None:
        """Return the credential of a request, None without one."""
        authorization = headers.get("Authorization", "")
        if authorization[: len(_BEARER)].lower() == _BEARER:
            return authorization[len(_BEARER) :].strip()
        return None

    def idempotency_key(self, headers: Mapping[str, str]) -> str | None:
        """Return the key under which the first answer is kept, None without one."""
        return headers.get("Idempotency-Key") or None

    def read_body(self, raw: bytes, content_type: str) -> dict[str, Any]:
        """Read the fields of a request. Raise Refusal 400."""
        return json_input.read_object(raw)

    @abc.abstractmethod
    def read_order(self, fields: dict[str, Any]) -> PaymentOrder:
        """Read a create call. Raise Refusal in the provider's codes."""

    @abc.abstractmethod
    def render(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        """Return a payment as the provider shows it."""

    def embeds(self, query: Mapping[str, str]) -> tuple[str, ...]:
        """Return the kinds of money that went back, `refund` and `dispute`, which a fetch asks to see as well."""
        return ()

    def embed(self, payment: dict[str, Any], rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
        """Return a payment as it is shown with money that went back, by its kind."""
        return payment

    def created(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        """Return the answer to a create call."""
        return self.render(payment, redirect_url)

    def read_flow(self, fields: dict[str, Any]) -> FlowOrder:
        """Read a call for the payer's page."""
        raise without("payer's pages of their own")

    def render_flow(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        """Return the payer's page."""
        raise without("payer's pages of their own")

    def render_money(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        """Return the money of a payment, where it is an object of its own."""
        raise without("money of its own")

    def cancelled(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        """Return the answer to a cancel call."""
        return self.render(payment, redirect_url)

    def name_payment(self, text: str) -> tuple[str, str]:
        """Return the column by which a text of a path or body names a payment, and its value there."""
        return "reference", text

    def read_query(self, query: Mapping[str, str]) -> PageQuery:
        """Read a list call."""
        raise without("lists of payments")

    def render_listed(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        """Return a payment as a list shows it."""
        return self.render(payment, redirect_url)

    def render_list(self, query: PageQuery, page: Page) -> dict[str, Any]:
        """Return a page of payments."""
        raise without("lists of payments")

    @abc.abstractmethod
    def read_refund(self, fields: dict[str, Any], payment: str | None) -> RefundOrder:
        """Read a refund call; `payment` is what the path names."""

    def read_amount(self, value: Any, currency: str) -> int:
        """Return the amount of a refund call in minor units. Raise Refusal."""
        return self.to_minor(value, currency)

    @abc.abstractmethod
    def render_refund(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        """Return a refund as the provider shows it."""

    def answer_refund(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        """Return the answer to a call that makes or reads one refund."""
        return self.render_refund(payment, back)

    def refund_token(self, refund_id: str) -> str:
        """Return the token of the refund that an id names."""
        return refund_id.rpartition("_")[2]

    def refunds_of(self, query: Mapping[str, str]) -> str | None:
        """Return what a query for refunds names the payment by, None where it asks for those of all."""
        return None

    def render_refunds(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a page of refunds."""
        raise without("lists of refunds")

    def render_dispute(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        """Return a dispute as the provider shows it."""
        raise without("disputes to be read")

    def render_disputes(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a page of disputes."""
        raise without("disputes to be read")

    def render_events(self, bodies: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
        """Return those events of webhooks, given by their bodies, that a query asks for."""
        raise without("events to be read")

    @abc.abstractmethod
    def check(self, merchant: str) -> dict[str, Any]:
        """Return the answer to a call that only checks the credential."""

    def captured(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        """Return the answer to a capture."""
        return self.render(payment, redirect_url)

    def read_client(self, headers: Mapping[str, str]) -> str | None:
        """Return the credential that is exchanged for a token, None without one."""
        raise without("tokens")

    def render_token(self, api_key: str) -> dict[str, Any]:
        """Return a token for a credential that is known."""
        raise without("tokens")

    def read_certificate(self, certificate_id: str) -> bytes:
        """Return a certificate with its authority's, in PEM. Raise Refusal 404."""
        raise without("certificates")

    def replayed(self, answer: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """Return what a used key is answered with in place of the first answer, None for that answer itself."""
        return None

    @abc.abstractmethod
    def error(self, refusal: Refusal) -> tuple[int, dict[str, Any]]:
        """Return status and body of an error; the codes of the engine are spelled in the provider's."""

    def to_minor(self, value: int, currency: str) -> int:
        """Return the provider's minor units in the currency's own. Raise Refusal 422 where they have no such form."""
        minor = amounts.rescale(value, self._digits(currency), amounts.digits(currency))
        if minor is None or not 0 < minor <= amounts.MAX_MINOR:
            raise Refusal(422, "invalid_amount", "the amount is not one of this currency")
        return minor

    def of_minor(self, minor: int, currency: str) -> int:
        """Return the currency's minor units in the provider's, cut to whole ones."""
        return int(minor * 10 ** self._digits(currency) // 10 ** amounts.digits(currency))

    def _digits(self, currency: str) -> int:
        return self.exponents.get(currency, amounts.digits(currency))
