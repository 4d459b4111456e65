"""Bodies of requests and answers about webhook endpoints and deliveries to them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from app.core.deliveries.delivery_rules import EVENT_TYPES
from app.web.schemas.answers import RowPage
from app.web.schemas.bodies import URL_LENGTH_MAX, Line, StrictBody
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
