"""Query and header parameters of each route: validated as declared here, and described from the same declaration.

A request with several errors is answered with the first one, in the order of the fields.
"""

from __future__ import annotations

import datetime
import re
import uuid
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.json_schema import SkipJsonSchema

from app.core.deliveries.delivery_rules import EVENT_TYPES, TEST_EVENT, DeliveryStatus
from app.core.payment import Status
from app.core.signatures import SIGNATURE_HEADER_BYTES_MAX, TIMESTAMP, WEBHOOK_ID
from app.services.records.dead_letters import KINDS, STATES
from app.web.cursors import BIGINT_MAX
from app.web.schemas.parameter_kinds import (
    CURSOR,
    FLAG,
    NUMBER_CURSOR,
    TIME,
    UUID,
    VERSIONS_CURSOR,
    Kind,
    choice,
    matching,
    whole,
)
from app.web.schemas.values import USER_ID_PATTERN

PAGE_ROWS_DEFAULT = 20
PAGE_ROWS_MAX = 100
# Longer waits are shortened, not refused; this is the upper bound of a valid number of seconds.
WAIT_PARAMETER_MAX = 3_600
VERSION_MAX = 2**31 - 1
AGE_SECONDS_MAX = 10 * 365 * 86_400

# The number of seconds has fewer digits than int() refuses.
_PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,100})\"?\s*(?:$|[,;])", re.ASCII | re.IGNORECASE)

Cursor = Annotated[
    tuple[datetime.datetime, uuid.UUID] | None, CURSOR, Field(description="The `next_cursor` of the page before.")
]


class Parameters(BaseModel):
    """Query parameters or headers by their names. A field's type is that of its value; its metadata reads the text."""

    model_config = ConfigDict(frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _take_single(cls, texts: list[str]) -> str:
        """Refuse a repeated parameter: which one counts would be a guess."""
        if len(texts) > 1:
            raise ValueError("is given twice")
        return texts[0]


class NoQuery(Parameters):
    """The query of a route that takes no parameter and refuses all."""


class _PageQuery(Parameters):
    limit: Annotated[int, whole(1, PAGE_ROWS_MAX)] = Field(PAGE_ROWS_DEFAULT, description="Rows per page.")


class PaymentQuery(Parameters):
    """How long to wait for a change of a payment, and for which."""

    wait: Annotated[int, whole(0, WAIT_PARAMETER_MAX)] = Field(
        0, description="Wait up to this many seconds for a change; more than 10 counts as 10."
    )
    version: Annotated[int | None, whole(1, VERSION_MAX)] = Field(
        None, description="Answer when the version differs from this one; default: when no longer `pending`."
    )
    until: Annotated[str | None, choice("ended")] = Field(
        None, description="`ended`: answer when the payment has ended."
    )


class PaymentsQuery(_PageQuery):
    """A page of payments, and which."""

    user_id: Annotated[str | None, matching(USER_ID_PATTERN, "must be 1-128 of [A-Za-z0-9_.:@-]")] = Field(
        None, description="Of this user only."
    )
    status: Annotated[str | None, choice(*Status)] = Field(None, description="In this state only.")
    created_after: Annotated[datetime.datetime | None, TIME] = Field(None, description="Created after this time.")
    created_before: Annotated[datetime.datetime | None, TIME] = Field(None, description="Created before this time.")
    cursor: Cursor = None


class EntriesQuery(_PageQuery):
    """A page of a user's wallet entries."""

    currency: Annotated[str | None, matching("^[A-Z]{3}$", "must be an upper-case ISO 4217 code")] = Field(
        None, description="In this currency only."
    )
    cursor: Annotated[dict[str, int] | None, VERSIONS_CURSOR] = Field(
        None, description="The `next_cursor` of the page before."
    )


class DebitsQuery(_PageQuery):
    """A page of debits, and which."""

    user_id: Annotated[str | None, matching(USER_ID_PATTERN, "must be 1-128 of [A-Za-z0-9_.:@-]")] = Field(
        None, description="Of this user only."
    )
    currency: Annotated[str | None, matching("^[A-Z]{3}$", "must be an upper-case ISO 4217 code")] = Field(
        None, description="In this currency only."
    )
    reference: Annotated[
        str | None,
        matching(r"^[^\x00-\x1f\x7f\u2028\u2029]+$", "must be one line of 1 to 255 characters", length_max=255),
    ] = Field(None, description="With this reference only.")
    created_after: Annotated[datetime.datetime | None, TIME] = Field(None, description="Created after this time.")
    created_before: Annotated[datetime.datetime | None, TIME] = Field(None, description="Created before this time.")
    cursor: Cursor = None


class EndpointsQuery(_PageQuery):
    """A page of webhook endpoints."""

    cursor: Cursor = None


class DeliveriesQuery(_PageQuery):
    """A page of an endpoint's deliveries, and which."""

    status: Annotated[str | None, choice(*DeliveryStatus)] = Field(None, description="In this state only.")
    event_type: Annotated[str | None, choice(*EVENT_TYPES, TEST_EVENT)] = Field(None, description="Of this type only.")
    after: Annotated[int | None, whole(0, BIGINT_MAX)] = Field(None, description="Of events with a larger id only.")
    cursor: Cursor = None


class EventsQuery(_PageQuery):
    """A page of notifications."""

    after: Annotated[int, whole(0, BIGINT_MAX)] = Field(0, description="The last id that was seen; 0 is the start.")
    wait: Annotated[int, whole(0, WAIT_PARAMETER_MAX)] = Field(
        0, description="Wait up to this many seconds until there is one; more than 30 counts as 30."
    )
    cursor: Annotated[int | None, NUMBER_CURSOR] = Field(None, description="The `next_cursor` of the page before.")


class _DeadLetterFilters(Parameters):
    reason: Annotated[str | None, matching("^[a-z_]{1,64}$", "must be a reason such as underpaid")] = Field(
        None, description="With this reason only."
    )
    kind: Annotated[str | None, choice(*KINDS)] = Field(None, description="Of this kind only.")
    provider_id: Annotated[uuid.UUID | None, UUID] = Field(None, description="Of this provider only.")
    payment_id: Annotated[uuid.UUID | None, UUID] = Field(None, description="Of this payment only.")
    older_than_seconds: Annotated[int | None, whole(0, AGE_SECONDS_MAX)] = Field(
        None, description="At least this old only."
    )


class _InState(Parameters):
    state: Annotated[str, choice(*STATES)] = Field("open", description="In this state.")


class DecisionQuery(Parameters):
    """How to act on a dead letter."""

    dry_run: Annotated[bool, FLAG] = Field(False, description="`true`: only say what it would do at this moment.")


class DeadLettersQuery(_DeadLetterFilters, _InState, _PageQuery):
    """A page of dead letters, and which."""

    cursor: Cursor = None


class RedriveQuery(_DeadLetterFilters, DecisionQuery, _PageQuery):
    """Which open dead letters to redrive, `limit` of them at most."""


def _read_prefer(text: str) -> int | None:
    match = _PREFER_WAIT.search(text)
    return int(match.group(1)) if match else None


IdempotencyKey = Annotated[
    str, matching("^[ -~]+$", "is required: 1 to 255 printable ASCII characters", length_max=255)
]


class RefundHeaders(Parameters):
    """The headers of a refund."""

    idempotency_key: IdempotencyKey = Field(
        alias="Idempotency-Key",
        description="Makes the request repeatable: the same key and body return the same refund, with no time limit.",
    )


class DebitHeaders(Parameters):
    """The headers of a debit."""

    idempotency_key: IdempotencyKey = Field(
        alias="Idempotency-Key",
        description="Makes the request repeatable: the same key and body return the same debit, with no time limit.",
    )


class DepositHeaders(Parameters):
    """The headers of a deposit; a `Prefer` that holds no `wait=N` is ignored (RFC 7240)."""

    idempotency_key: IdempotencyKey = Field(
        alias="Idempotency-Key",
        description="Makes the request repeatable: the same key and body return the same payment, with no time limit.",
    )
    wait_seconds: Annotated[
        int | None, Kind(_read_prefer, {"type": "string", "pattern": "^wait=[0-9]{1,3}$", "examples": ["wait=10"]})
    ] = Field(
        None,
        alias="Prefer",
        description="`wait=N`: answer as soon as the redirect URL is there or the payment ended, within N seconds.",
    )


class WebhookHeaders(Parameters):
    """The headers of scheme `standard`, for the document: a delivery is verified by its provider's scheme instead."""

    webhook_id: Annotated[str, Field(pattern=f"^{WEBHOOK_ID.pattern}$")] | SkipJsonSchema[None] = Field(
        None, alias="webhook-id", description="Unique per event."
    )
    webhook_timestamp: Annotated[str, Field(pattern=f"^{TIMESTAMP.pattern}$")] | SkipJsonSchema[None] = Field(
        None, alias="webhook-timestamp", description="Unix seconds."
    )
    webhook_signature: str | SkipJsonSchema[None] = Field(
        None,
        alias="webhook-signature",
        max_length=SIGNATURE_HEADER_BYTES_MAX,
        description="Standard Webhooks, `v1,...`; these three are required where the provider's scheme is `standard`.",
    )
