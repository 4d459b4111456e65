"""Bodies of requests and answers about webhook endpoints and deliveries to them."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, field_validator, model_validator

from app.core.deliveries.delivery_rules import EVENT_TYPES
from app.web.cursors import BIGINT_MAX
from app.web.schemas.answers import RowPage
from app.web.schemas.bodies import URL_LENGTH_MAX, Line, StrictBody
from app.web.schemas.parameter_kinds import TIME
from app.web.schemas.values import Time, UuidText

EndpointUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=URL_LENGTH_MAX,
        pattern="^[!-~]+$",
        examples=["https://shop.example/hooks"],
        description="Public and https, without credentials. It is checked again at each attempt.",
    ),
]
EventType = Annotated[str, Field(json_schema_extra={"enum": [*EVENT_TYPES]})]


def _check_types(types: list[str] | None) -> list[str] | None:
    unknown = [each for each in types or () if each not in EVENT_TYPES]
    if unknown:
        raise ValueError(f"must be among {', '.join(EVENT_TYPES)}")
    return None if types is None else list(dict.fromkeys(types))


EventTypes = Annotated[
    list[EventType] | None,
    Field(min_length=1, max_length=len(EVENT_TYPES), examples=[["payment.completed", "payment.failed"]]),
    AfterValidator(_check_types),
]
Description = Annotated[Line | None, Field(max_length=255, examples=["Shop backend"])]


class EndpointAsked(StrictBody):
    """A webhook endpoint that is to be made."""

    url: EndpointUrl
    event_types: EventTypes = Field(None, description="Types that it gets; all where it is missing or null.")
    description: Description = None


def _check_time(text: str) -> str:
    moment: datetime.datetime = TIME.read(text)
    return moment.isoformat()


def _forget_null(schema: dict[str, Any]) -> None:
    """Describe a field that may be missing, but not null."""
    (kept,) = [one for one in schema.pop("anyOf") if one != {"type": "null"}]
    schema.update(kept)


class EndpointChanges(StrictBody):
    """What is to be changed of an endpoint; what is missing stays."""

    url: EndpointUrl | None = Field(
        None,
        json_schema_extra=_forget_null,
        description="Of another origin: the endpoint gets a new secret, which the answer shows this once.",
    )
    event_types: EventTypes = Field(None, description="Null for all.")
    description: Description = None
    status: Literal["enabled", "disabled"] | None = Field(None, json_schema_extra=_forget_null)

    @field_validator("url", "status", mode="before")
    @classmethod
    def _refuse_null(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("must not be null")
        return value


class RotationAsked(StrictBody):
    """How a secret is rotated."""

    overlap_seconds: int | None = Field(
        None,
        ge=0,
        le=604_800,
        examples=[3_600],
        description="For how long deliveries are signed with the present secrets as well; a day where it is missing.",
    )


class RangeAsked(StrictBody):
    """Which of an endpoint's events are delivered once more: those after an event or since a time, or all."""

    after_event_id: int | None = Field(None, ge=0, le=BIGINT_MAX, description="Events with a larger id.")
    since: Annotated[str, AfterValidator(_check_time)] | None = Field(
        None,
        json_schema_extra={"format": "date-time"},
        examples=["2026-01-31T12:00:00Z"],
        description="Or since a time.",
    )
    status: Literal["pending", "delivered", "failed"] | None = Field(
        None,
        examples=["failed"],
        description="In this state only. Where it is missing, events that the endpoint never got are delivered too.",
    )

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.after_event_id is not None and self.since is not None:
            raise ValueError("give after_event_id or since, not both")
        return self


class EndpointBody(BaseModel, title="WebhookEndpoint"):
    """A URL of the tenant to which its notifications are sent."""

    id: UuidText
    url: str
    event_types: list[str] | None = Field(description="Types that it gets; null for all.")
    description: str | None
    status: Literal["enabled", "disabled"]
    disabled_reason: Literal["requested", "gone", "failing"] | None = Field(
        description="Why it is disabled: on request, because it answered 410, or after five days of failures."
    )
    created_at: Time


class EndpointWithSecret(EndpointBody, title="WebhookEndpointWithSecret"):
    """An endpoint with its new secret, which is shown this once."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="])


class EndpointPage(RowPage[EndpointBody]):
    """A page of endpoints, newest first."""


class ChangedEndpoint(EndpointBody, title="ChangedWebhookEndpoint"):
    """An endpoint as it is now."""

    secret: str | None = Field(None, description="Only where the URL's origin has changed; it is shown this once.")


class AttemptBody(BaseModel, title="DeliveryAttempt"):
    """An attempt of a delivery as it ended."""

    number: int
    at: Time
    status_code: int | None = Field(description="Of the answer; null where none came.")
    milliseconds: int
    error: str | None = Field(description="Why it was not delivered.")
    answer: str | None = Field(
        None, description="The first KiB of the answer's body; for keys of role admin only, else left out."
    )


class DeliveryBody(BaseModel, title="WebhookDelivery"):
    """A notification that is sent to an endpoint."""

    id: UuidText
    endpoint_id: UuidText
    webhook_id: UuidText = Field(description="The header `webhook-id`: the same at every try and endpoint.")
    event_id: int | None = Field(description="The notification's id; null for a test.")
    event_type: str
    status: Literal["pending", "delivered", "failed"]
    created_at: Time
    ended_at: Time | None
    next_attempt_at: Time | None = Field(description="Null where none is due, and while one is under way.")
    attempts: list[AttemptBody]


class DeliveryPage(RowPage[DeliveryBody]):
    """A page of deliveries, newest first."""


class RedeliveredBody(BaseModel, title="Redelivered"):
    """What a range came to."""

    deliveries: int = Field(description="How many were made due.")
    next_after_event_id: int | None = Field(
        description="Where one request did not reach the end: `after_event_id` of the next; else null."
    )
