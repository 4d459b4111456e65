"""Bodies of requests: validated as declared here, and described from the same declaration."""

from __future__ import annotations

import re
import urllib.parse
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, RootModel, ValidationInfo, field_validator
from pydantic.config import JsonDict

from app.core.money import CURRENCY_DIGITS, currency_digits, parse_amount
from app.core.validation.provider_values import REFERENCE_LENGTH_MAX
from app.core.validation.reason import REASON_LENGTH_MAX, check_reason
from app.web.schemas.values import Time, UserId, UuidText

URL_LENGTH_MAX = 2_048
# Printable ASCII without blank: the characters of a percent-encoded URL.
_URL_CHARACTERS = re.compile(r"[!-~]+", re.ASCII)

# What JSON can express and PostgreSQL cannot store is refused while the body is read (strict_json); the document has it
# with each text, in addition to the field's own rules.
_STORABLE: JsonDict = {"pattern": "^[^\\u0000]*$"}
StorableText = Annotated[str, Field(json_schema_extra=_STORABLE)]
METADATA_KEY_LENGTH_MAX = 40
MetadataKey = Annotated[str, Field(min_length=1, max_length=METADATA_KEY_LENGTH_MAX)]
MetadataValue = Annotated[StorableText, Field(max_length=500)]
# Names are described as a whole: a pattern of the key's own would let other names have any value.
_METADATA_NAMES: JsonDict = {"minLength": 1, "maxLength": METADATA_KEY_LENGTH_MAX, **_STORABLE}
Metadata = Annotated[
    dict[MetadataKey, MetadataValue], Field(max_length=50, json_schema_extra={"propertyNames": _METADATA_NAMES})
]
Reason = Annotated[
    StorableText, Field(min_length=1, max_length=REASON_LENGTH_MAX, examples=["agreed with the customer"])
]


class StrictBody(BaseModel, extra="forbid", strict=True):
    """A body without unknown fields and without conversions of values."""


# Neither control characters nor line breaks, which would end a line of whatever the provider makes of it.
_TEXT = re.compile(r"[^\x00-\x1f\x7f\u2028\u2029]+")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+")


def _check_line(text: str) -> str:
    if not _TEXT.fullmatch(text):
        raise ValueError("must be one line of text, without control characters")
    return text


def _check_email(address: str) -> str:
    if not _EMAIL.fullmatch(address):
        raise ValueError("must be an e-mail address")
    return address


# Checked here, so that the error is a sentence; the document has the pattern.
Line = Annotated[
    str, Field(min_length=1, json_schema_extra={"pattern": f"^{_TEXT.pattern}$"}), AfterValidator(_check_line)
]
Email = Annotated[StorableText, Field(min_length=3, max_length=254), AfterValidator(_check_email)]


AMOUNT_PATTERN = r"^(0|[1-9][0-9]{0,18})(\.[0-9]{1,4})?$"
Currency = Annotated[
    str,
    Field(examples=["USD"], description="Upper-case ISO 4217.", json_schema_extra={"enum": [*sorted(CURRENCY_DIGITS)]}),
]


class Customer(StrictBody):
    """The payer, as far as the provider is to know; kept encrypted, and shown to nobody."""

    email: Email | None = Field(None, examples=["ann@example.com"])
    name: Line | None = Field(None, max_length=200)
    phone: str | None = Field(None, pattern=r"^\+[1-9][0-9]{6,14}$", description="E.164.", examples=["+41441234567"])
    country: str | None = Field(None, pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2.", examples=["CH"])
    locale: str | None = Field(
        None, pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$", description="BCP 47.", examples=["de-CH"]
    )


class _Priced(StrictBody):
    """A body with an amount and a currency, which are declared in this order: currency, amount."""

    @field_validator("currency", check_fields=False)
    @classmethod
    def _check_currency(cls, currency: str) -> str:
        currency_digits(currency)
        return currency

    @field_validator("amount", mode="before", check_fields=False)
    @classmethod
    def _check_amount(cls, amount: Any, info: ValidationInfo) -> Any:
        # Without a usable currency its own error says enough.
        if "currency" in info.data:
            parse_amount(amount, info.data["currency"])
        return amount


class DepositRequest(_Priced):
    """A deposit that is asked for. `amount` is a decimal string in units of `currency`."""

    user_id: UserId | None = Field(
        None, description="Required with a secret key; a client token has its own user.", examples=["user_42"]
    )
    currency: Currency
    amount: str = Field(examples=["25.00"], pattern=AMOUNT_PATTERN)
    provider_id: UuidText | None = Field(None, description="Default: the tenant's default provider.")
    success_url: str | None = Field(None, max_length=URL_LENGTH_MAX, description="Of one of the tenant's origins.")
    failure_url: str | None = Field(None, max_length=URL_LENGTH_MAX, description="Of one of the tenant's origins.")
    metadata: Metadata = Field(
        default_factory=dict,
        description="Kept and sent to the provider as it is. A payment card number, here or in any other field, is a"
        " field error, unless the tenant's policy names the field as an id.",
    )
    customer: Customer | None = Field(None, description="Which fields are required depends on the provider.")
    description: Line | None = Field(
        None, max_length=255, description="What the payer reads at the provider.", examples=["Order 42"]
    )

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


class RefundAsked(StrictBody):
    """A refund that is asked for. `amount` is a decimal string in units of the received currency."""

    amount: str | None = Field(
        None,
        examples=["10.00"],
        pattern=AMOUNT_PATTERN,
        description="All that is left where it is missing.",
    )
    provider_reference: StorableText | None = Field(
        None,
        min_length=1,
        max_length=REFERENCE_LENGTH_MAX,
        description="Of an accepted second payment, whose money is to go back; else the payment's own.",
    )
    reason: Line | None = Field(None, max_length=255, description="Kept with the refund.")
    metadata: Metadata = Field(default_factory=dict)


class DebitAsked(_Priced):
    """What is to be taken out of a user's wallet. `amount` is a decimal string in units of `currency`."""

    currency: Currency
    amount: str = Field(examples=["1.00"], pattern=AMOUNT_PATTERN)
    reference: Line = Field(
        max_length=255,
        examples=["order-42"],
        description="The tenant's own name for it, such as an order; shown with the entry. Several may have the same.",
    )
    description: Line | None = Field(None, max_length=255, description="What the user reads with the entry.")


class ReversalAsked(StrictBody):
    """Why a debit is reversed; kept with it and in the audit."""

    reason: Line | None = Field(None, max_length=255, examples=["order cancelled"])


class ClientTokenRequest(StrictBody):
    """The user whose browser gets the token."""

    user_id: UserId


class ReasonRequest(StrictBody):
    """Why an operator acts; kept in the audit and in the dead letter's history."""

    reason: Reason | None = None

    @field_validator("reason")
    @classmethod
    def _check_reason(cls, reason: str | None) -> str | None:
        return reason if reason is None else check_reason(reason)


class WebhookBody(BaseModel):
    """What a provider says about a payment; unknown fields are kept and not used. `amount` is the total so far."""

    # For the document only: a delivery is parsed by its provider's adapter.

    provider_id: UuidText
    event_id: str | None = None
    event_type: Literal["payment.success", "payment.failed", "payment.cancelled", "payment.processing"]
    transaction_id: UuidText = Field(description="The payment.")
    provider_reference: str | None = Field(None, max_length=REFERENCE_LENGTH_MAX)
    status: Literal["success", "failed", "cancelled", "processing"] = Field(
        description="`processing`: the payer has committed to a method that settles days later; on payment-callback."
    )
    # Ignored in a failure, where they may be left out.
    amount: str | None = Field(None, examples=["25.00"], description="Required of a success.")
    currency: str | None = Field(None, examples=["USD"], description="Required of a success.")
    error_message: str | None = None
    occurred_at: Time | None = None


class ProviderBody(RootModel[dict[str, Any]]):
    """A webhook in the provider's own form."""
