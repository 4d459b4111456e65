"""The shapes of webhooks (CONTRACT section 4), for the OpenAPI document: a delivery itself is read by its provider."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, RootModel

from app.core.validation.provider_values import REFERENCE_LENGTH_MAX
from app.web.schemas.payments import Time, UuidText


class WebhookBody(BaseModel):
    """What a provider says about a payment; unknown fields are kept and not used. `amount` is the total so far."""

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


class WebhookReceipt(BaseModel):
    """The delivery is stored."""

    received: Literal[True]
    webhook_id: UuidText
    duplicate: bool
    conflict: bool = Field(
        default_factory=bool, description="Only, and true, where the id was used before with other bytes."
    )
