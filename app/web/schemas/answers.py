"""Bodies of answers, for the OpenAPI document.

A title names the schema in the document where another class of the product has the name.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from app.core.problem_codes import PROBLEM_CODES
from app.core.validation.provider_values import REDIRECT_URL_LENGTH_MAX, REFERENCE_LENGTH_MAX
from app.web.schemas.values import Time, UuidText

Row = TypeVar("Row")
Status = Literal["pending", "processing", "completed", "failed", "cancelled"]
Mark = Literal["currency_mismatch", "underpaid", "overpaid", "conflict", "disputed", "reversed", "late"]
PendingReason = Literal["provider_configuration", "provider_unavailable"]


class RowList(BaseModel, Generic[Row]):
    """A list in `data`."""

    data: list[Row]


class RowPage(RowList[Row], Generic[Row]):
    """A page of a list; `next_cursor` is null on the last."""

    next_cursor: str | None


class RedirectAction(BaseModel):
    """The payer pays on the provider's page."""

    type: Literal["redirect"]
    url: str = Field(max_length=REDIRECT_URL_LENGTH_MAX)


class PromptAction(BaseModel):
    """The provider asks the payer on a device; `message` says how."""

    type: Literal["prompt"]
    message: str


class PaymentBody(BaseModel, title="Payment"):
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
    next_action: RedirectAction | PromptAction | None = Field(
        description="What the payer has to do next; null where there is nothing to do, or not yet."
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
        " create call was tried as often as it may be. The payment then continues, or expires."
    )
    committed_until: Time | None = Field(
        description="Set where the payer has committed to a method that settles days later: the payment does not"
        " expire before."
    )
    last_attempt_error: str | None = Field(
        description="Why the last attempt to pay was declined, for the payer, who may try again; null once it is paid."
    )
    received_amount: str | None
    received_currency: str | None
    reversed_amount_minor: int


class PaymentList(RowPage[PaymentBody]):
    """A page of payments, newest first."""


class TimelineEvent(BaseModel):
    """One thing that happened to a payment."""

    at: Time
    kind: str
    actor: str
    detail: dict[str, Any]


class Timeline(RowList[TimelineEvent]):
    """All that happened to a payment, in order."""


class DisputeBody(BaseModel, title="Dispute"):
    """A payer's dispute at the provider; `reason` is in the provider's words."""

    id: str
    status: Literal["opened", "won", "lost"]
    reason: str | None
    evidence_due_at: Time | None = Field(description="By when the provider wants evidence.")
    opened_at: Time
    closed_at: Time | None


class RefundBody(BaseModel, title="Refund"):
    """A refund; `metadata` and `reason` are the caller's, of a refund by a policy the reason is late or overpaid."""

    id: UuidText
    payment_id: UuidText
    amount: str
    amount_minor: int
    currency: str
    status: Literal["pending", "processing", "completed", "failed"]
    provider_reference: str | None = Field(max_length=REFERENCE_LENGTH_MAX, description="The provider's id of it.")
    reason: str | None
    failure_reason: str | None
    metadata: dict[str, str]
    created_at: Time
    updated_at: Time


class RefundList(RowList[RefundBody]):
    """The refunds of a payment, oldest first."""


class Event(BaseModel):
    """A notification; `dispute` accompanies `payment.disputed` alone, `refund` the two about refunds."""

    id: int
    type: Literal[
        "payment.redirect_ready",
        "payment.completed",
        "payment.failed",
        "payment.cancelled",
        "payment.review",
        "payment.reversed",
        "payment.reinstated",
        "payment.disputed",
        "refund.completed",
        "refund.failed",
    ]
    payment: PaymentBody
    at: Time
    dispute: DisputeBody | None = None
    refund: RefundBody | None = None


class EventList(RowPage[Event]):
    """Notifications, oldest first; `next_cursor` continues where `limit` cut them off."""


class DeadLetterBody(BaseModel, title="DeadLetter"):
    """Work that an operator must decide about.

    `amount` is what accepting it would credit, negative where accepting takes back what the provider does not show.
    """

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


class DeadLetterList(RowPage[DeadLetterBody]):
    """A page of dead letters, newest first."""


class DeadLetterDetail(DeadLetterBody, title="DeadLetterDetail"):
    """A dead letter with its raw bytes and headers, and what operators did with it; `effect` says what was done now."""

    provider_reference: str | None = Field(max_length=REFERENCE_LENGTH_MAX)
    headers: dict[str, Any] | None
    body_base64: str | None
    history: list[dict[str, Any]]
    effect: str | None = None


class Redrive(BaseModel):
    """The outcome for one dead letter."""

    id: UuidText
    redriven: bool
    effect: str


class RedriveList(BaseModel):
    """The outcome for each that fits; `count` is how many fitted before."""

    count: int
    dry_run: bool
    data: list[Redrive]


class WebhookReceipt(BaseModel):
    """The delivery is stored."""

    received: Literal[True]
    webhook_id: UuidText
    duplicate: bool
    conflict: bool = Field(
        default_factory=bool, description="Only, and true, where the id was used before with other bytes."
    )


class Health(BaseModel):
    """How this process or the work is doing; `failing` names the parts that are not."""

    status: Literal["ok", "degraded", "failing"]
    failing: list[str]
    detail: dict[str, Any]


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
    code: str = Field(
        description="A stable word for the kind of problem; more may be added.\n\n"
        + "\n".join(f"- `{code}`: {meaning}" for code, (_, meaning) in PROBLEM_CODES.items()),
        json_schema_extra={"x-extensible-enum": list(PROBLEM_CODES)},
    )
    request_id: str = Field(description="The `X-Request-Id` of the request, or one made here; the answer has it too.")
    errors: list[FieldError] = Field(default_factory=list, description="Only where fields are wrong.")
