"""The shapes of requests and answers: checked on the way in, and the source of the OpenAPI document."""

from __future__ import annotations

import re
import urllib.parse
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from app.core.money import CURRENCY_DIGITS, currency_digits, parse_amount
from app.core.validation.provider_values import REDIRECT_URL_LENGTH_MAX, REFERENCE_LENGTH_MAX

USER_ID_PATTERN = r"^[A-Za-z0-9_.:@-]{1,128}$"
UUID_PATTERN = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
URL_LENGTH_MAX = 2_048
# Printable ASCII without blank: what a URL consists of once it is encoded.
_URL_CHARACTERS = re.compile(r"[!-~]+", re.ASCII)

UserId = Annotated[str, Field(pattern=USER_ID_PATTERN, examples=["user_42"])]
UuidText = Annotated[str, Field(pattern=UUID_PATTERN, examples=["01890a5d-ac96-774b-bcce-b302099a8057"])]
MetadataKey = Annotated[str, Field(min_length=1, max_length=40)]
MetadataValue = Annotated[str, Field(max_length=500)]
Time = Annotated[str, Field(examples=["2026-01-31T12:00:00.000000Z"], json_schema_extra={"format": "date-time"})]
Status = Literal["pending", "processing", "completed", "failed", "cancelled"]
Mark = Literal["currency_mismatch", "underpaid", "overpaid", "conflict", "reversed", "late"]
PendingReason = Literal["provider_configuration", "provider_unavailable"]


class Strict(BaseModel):
    """A request body: no unknown fields, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True)


class DepositRequest(Strict):
    """A deposit that is asked for. `amount` is a decimal string in units of `currency`."""

    user_id: UserId | None = Field(
        None, description="Required with a secret key; a client token has its own user.", examples=["user_42"]
    )
    currency: str = Field(
        examples=["USD"], description="Upper-case ISO 4217.", json_schema_extra={"enum": [*sorted(CURRENCY_DIGITS)]}
    )
    amount: str = Field(examples=["25.00"], pattern=r"^(0|[1-9][0-9]{0,18})(\.[0-9]{1,4})?$")
    provider_id: UuidText | None = Field(None, description="Default: the tenant's default provider.")
    success_url: str | None = Field(None, max_length=URL_LENGTH_MAX, description="Of one of the tenant's origins.")
    failure_url: str | None = Field(None, max_length=URL_LENGTH_MAX, description="Of one of the tenant's origins.")
    metadata: dict[MetadataKey, MetadataValue] = Field(
        default_factory=dict,
        max_length=50,
        description="Kept and sent to the provider as it is. A payment card number, here or in any other field, is a"
        " field error, unless the tenant's policy names the field as an id.",
    )

    @field_validator("currency")
    @classmethod
    def _check_currency(cls, currency: str) -> str:
        currency_digits(currency)
        return currency

    @field_validator("amount", mode="before")
    @classmethod
    def _check_amount(cls, amount: Any, info: ValidationInfo) -> Any:
        # Without a usable currency its own error says enough.
        if "currency" in info.data:
            parse_amount(amount, info.data["currency"])
        return amount

    @field_validator("success_url", "failure_url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urllib.parse.urlsplit(url)
            # Reading the port raises for one that is no number.
            has_host = bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            has_host = False
        if not has_host or parts.scheme not in ("http", "https") or "@" in parts.netloc or "\\" in url:
            raise ValueError("must be an absolute http or https URL without credentials")
        if not _URL_CHARACTERS.fullmatch(url):
            raise ValueError("must be percent-encoded")
        return url


class ClientTokenRequest(Strict):
    """Whose browser the token is for."""

    user_id: UserId


class ClientToken(BaseModel):
    """A client token of fifteen minutes."""

    token: str
    expires_at: Time
    sockets_url: str = Field(description="Base URL of /ws and /api/stream.")


class Ticket(BaseModel):
    """A single-use pass for one stream, thirty seconds long."""

    ticket: str
    expires_at: Time
    sockets_url: str


class Payment(BaseModel):
    """A payment."""

    id: UuidText
    version: int
    user_id: str
    amount: str
    amount_minor: int
    currency: str
    status: Status
    exception: Mark | None
    provider_id: UuidText
    provider_reference: str | None = Field(max_length=REFERENCE_LENGTH_MAX)
    redirect_url: str | None = Field(
        max_length=REDIRECT_URL_LENGTH_MAX, description="Where the user pays: an absolute http or https URL."
    )
    failure_reason: str | None
    metadata: dict[str, str]
    created_at: Time
    updated_at: Time
    expires_at: Time
    completed_at: Time | None
    pending_reason: PendingReason | None = Field(
        description="Set where a pending payment does not proceed before an operator acts. `provider_configuration`:"
        " the provider refuses the tenant's own configuration there, such as its API key. `provider_unavailable`: its"
        " create call was tried as often as it may be. The payment then continues, or expires.",
    )
    committed_until: Time | None = Field(
        description="Set where the payer has committed to a method that settles days later: the payment does not"
        " expire before.",
    )
    received_amount: str | None
    received_currency: str | None
    reversed_amount_minor: int


class PaymentList(BaseModel):
    """A page of payments, newest first."""

    data: list[Payment]
    next_cursor: str | None


class TimelineEvent(BaseModel):
    """One thing that happened to a payment."""

    at: Time
    kind: str
    actor: str
    detail: dict[str, Any]


class Timeline(BaseModel):
    """All that happened to a payment, in order."""

    data: list[TimelineEvent]


class Wallet(BaseModel):
    """A user's balance in one currency; `pending` is the sum of open payments."""

    currency: str
    balance: str
    balance_minor: int
    pending: str
    pending_minor: int
    version: int


class WalletList(BaseModel):
    """A user's wallets."""

    data: list[Wallet]


class Entry(BaseModel):
    """One change of a wallet; `amount` is negative where money went out of it."""

    id: UuidText
    currency: str
    amount: str
    amount_minor: int
    balance_before: str
    balance_before_minor: int
    balance_after: str
    balance_after_minor: int
    type: Literal["deposit", "reversal"]
    reference_id: UuidText
    description: str
    at: Time


class EntryList(BaseModel):
    """A page of entries, newest first."""

    data: list[Entry]
    next_cursor: str | None


class Event(BaseModel):
    """A notification."""

    id: int
    type: Literal[
        "payment.redirect_ready",
        "payment.completed",
        "payment.failed",
        "payment.cancelled",
        "payment.review",
        "payment.reversed",
    ]
    payment: Payment
    at: Time


class EventList(BaseModel):
    """Notifications, oldest first; `next_cursor` goes on where `limit` cut them off."""

    data: list[Event]
    next_cursor: str | None


class DeadLetter(BaseModel):
    """Work that a person must look at; `amount` is what accepting it would credit."""

    id: UuidText
    tenant_id: UuidText
    kind: Literal["webhook", "provider_call", "reconciliation"]
    reason: str
    detail: str
    state: Literal["open", "redriven", "accepted", "rejected", "superseded"]
    amount: str | None
    amount_minor: int | None
    currency: str | None
    payment_id: UuidText | None
    provider_id: UuidText | None
    webhook_id: UuidText | None
    attempts: int
    created_at: Time
    closed_at: Time | None
    closed_by: str | None


class DeadLetterList(BaseModel):
    """A page of dead letters, newest first."""

    data: list[DeadLetter]
    next_cursor: str | None


class DeadLetterDetail(DeadLetter):
    """A dead letter with its raw bytes and headers, and what operators did with it; `effect` says what was done now."""

    provider_reference: str | None = Field(max_length=REFERENCE_LENGTH_MAX)
    headers: dict[str, Any] | None
    body_base64: str | None
    history: list[dict[str, Any]]
    effect: str | None = None


class Redrive(BaseModel):
    """What became of one dead letter."""

    id: UuidText
    redriven: bool
    effect: str


class RedriveList(BaseModel):
    """What became of those that fit; `count` is how many fit before."""

    count: int
    dry_run: bool
    data: list[Redrive]


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = Field(default_factory=list, description="Only where fields are wrong.")


class Health(BaseModel):
    """How this process or the work is doing; `failing` names the parts that are not."""

    status: Literal["ok", "degraded", "failing"]
    failing: list[str]
    detail: dict[str, Any]
