"""The shapes of webhooks (CONTRACT section 4), for the OpenAPI document: a delivery itself is read by its provider."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, RootModel

from app.core.provider_values import REFERENCE_LENGTH_MAX
from app.routes.schemas import Time, UuidText


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
    amount: str = Field(examples=["25.00"])
    currency: str = Field(examples=["USD"])
    error_message: str | None = None
    occurred_at: Time | None = None


class ProviderBody(RootModel[dict[str, Any]]):
    """A webhook in the provider's own form."""


class WebhookReceipt(BaseModel):
    """The delivery is stored."""

    received: Literal[True] = True
    webhook_id: UuidText
    duplicate: bool
    conflict: bool | None = Field(None, description="True where the id was used before with other bytes.")
