"""The payment as the state machine reads it, and the tenant's policy for money that is not as asked."""

from __future__ import annotations

import datetime
import functools
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from app.core.money import format_amount, format_money
from app.core.refunds.records import Refund
from app.core.reversals.records import Dispute, KnownMovement, WaitingReversal


class Status(StrEnum):
    """The five states of a payment (CONTRACT section 3, "States")."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = frozenset({Status.PENDING, Status.PROCESSING})

# The states that may follow each state. CONTRACT section 3, "States": `sluice verify` reports every other step.
_FOLLOWING = {
    Status.PENDING: (Status.PROCESSING, Status.COMPLETED, Status.FAILED, Status.CANCELLED),
    Status.PROCESSING: (Status.COMPLETED, Status.FAILED, Status.CANCELLED),
    Status.FAILED: (Status.COMPLETED,),
    Status.CANCELLED: (Status.COMPLETED,),
}
EDGES = frozenset((before, after) for before, following in _FOLLOWING.items() for after in following)

# The strongest first: a payment can have several exceptions, clients see the strongest.
EXCEPTIONS = ("currency_mismatch", "underpaid", "overpaid", "conflict", "disputed", "reversed", "late")
# Exceptions that are not shown to clients: the payment has rows in other tables, which settling reads for it alone.
REVERSAL_WAITING = "reversal_waiting"
HAS_MOVEMENTS = "has_movements"
HAS_DISPUTES = "has_disputes"
HAS_REFUNDS = "has_refunds"


@dataclass(frozen=True, slots=True)
class Policy:
    """A tenant's policy. `late` and `over` are credit, hold, reject or refund; `negative` is allow or hold."""

    tolerance_percent: Decimal = Decimal(0)
    late: str = "credit"
    over: str = "hold"
    negative: str = "allow"
    monitoring_seconds: int = 86_400


@dataclass(frozen=True, slots=True)
class OtherReference:
    """Money of one provider reference in one currency in the dead letters of a payment, in minor units.

    `accepted_minor`: credited by a person. `waiting_minor`: on top of it, waiting for a person. `reversed_minor`: given
    back and booked.
    """

    reference: str | None
    currency: str
    accepted_minor: int = 0
    waiting_minor: int = 0
    reversed_minor: int = 0


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment's row with the other values that a decision reads.

    `pending_reason`: why a pending payment does not proceed, where that was read too. `committed_until`: the payer
    has committed to a method that settles by then. `last_attempt_error`: why the last attempt to pay failed.
    `approved_until`: the payer has approved, and the money can be captured until then; `approvals` counts how often.
    `capture_sent_at`: when the capture was first on its way; None where the provider refused it since.
    `has_open_case`: a person has still to accept or reject money of it. `has_waiting_webhooks`: deliveries for it
    are in the inbox and not settled yet. `other_references`: money of its dead letters by provider reference and
    currency, if it has the exception `conflict`. `reversals_waiting`: those that came before their money. `movements`:
    all with an id that were reported. `disputes`: all, open or closed.
    `refunds`: all that were asked for, oldest first.
    """

    id: uuid.UUID
    tenant_id: uuid.UUID
    version: int
    user_id: str
    amount_minor: int
    currency: str
    status: Status
    provider_id: uuid.UUID
    created_at: datetime.datetime
    updated_at: datetime.datetime
    expires_at: datetime.datetime
    exceptions: frozenset[str] = frozenset()
    provider_reference: str | None = None
    redirect_url: str | None = None
    prompt: str | None = None
    failure_reason: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    completed_at: datetime.datetime | None = None
    committed_until: datetime.datetime | None = None
    last_attempt_error: str | None = None
    approved_until: datetime.datetime | None = None
    approvals: int = 0
    capture_sent_at: datetime.datetime | None = None
    received_minor: int | None = None
    received_currency: str | None = None
    reversed_minor: int = 0
    session_closed: bool = False
    was_sent: bool = False
    has_open_case: bool = False
    has_waiting_webhooks: bool = False
    other_references: tuple[OtherReference, ...] = ()
    reversals_waiting: tuple[WaitingReversal, ...] = ()
    movements: tuple[KnownMovement, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    refunds: tuple[Refund, ...] = ()
    policy: Policy = Policy()
    pending_reason: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the payment has not ended yet."""
        return self.status in OPEN

    @property
    def next_action(self) -> dict[str, str] | None:
        """What the payer has to do next: follow a redirect, or act on a device as the prompt says."""
        if not self.is_open or self.committed_until is not None:
            return None
        if self.redirect_url is not None:
            return {"type": "redirect", "url": self.redirect_url}
        return None if self.prompt is None else {"type": "prompt", "message": self.prompt}

    @property
    def awaited_until(self) -> datetime.datetime:
        """When the time to pay is up: `expires_at`, or later where the payer has committed or approved."""
        if self.committed_until is None and self.approved_until is None:
            return self.expires_at
        return max(self.expires_at, self.committed_until or self.expires_at, self.approved_until or self.expires_at)

    @property
    def monitored_until(self) -> datetime.datetime:
        """The end of the monitoring window: until then late money and reversals are expected."""
        return self.awaited_until + datetime.timedelta(seconds=self.policy.monitoring_seconds)

    def is_own_reference(self, reference: str | None) -> bool:
        """Return whether `reference` is the payment's own; none is, and so is the first that is reported."""
        return not reference or self.provider_reference in (None, reference)

    def other_reference(self, reference: str | None, currency: str) -> OtherReference:
        """Return the money of a provider reference in `currency`; without one, of the payment's own reference."""
        none = OtherReference(reference or self.provider_reference, currency)
        wanted = (none.reference, none.currency)
        return next((one for one in self.other_references if (one.reference, one.currency) == wanted), none)

    @property
    def exception(self) -> str | None:
        """The strongest exception, or None."""
        return next((one for one in EXCEPTIONS if one in self.exceptions), None)


def format_received(payment: Payment) -> str:
    """Return the amount received with its currency, or "nothing"."""
    if payment.received_minor is None or payment.received_currency is None:
        return "nothing"
    return format_money(payment.received_minor, payment.received_currency)


# The times of a settled batch are the same for all its payments.
@functools.lru_cache(maxsize=1_024)
def format_time(moment: datetime.datetime | None) -> str | None:
    """Return an RFC 3339 time in UTC with six fraction digits and Z."""
    if moment is None:
        return None
    return moment.astimezone(datetime.UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def present_payment(payment: Payment) -> dict[str, Any]:
    """Return the payment as the outside sees it (CONTRACT section 3, "Payment")."""
    received = payment.received_minor
    return {
        "id": str(payment.id),
        "version": payment.version,
        "user_id": payment.user_id,
        "amount": format_amount(payment.amount_minor, payment.currency),
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
        "status": str(payment.status),
        "exception": payment.exception,
        "provider_id": str(payment.provider_id),
        "provider_reference": payment.provider_reference,
        "redirect_url": payment.redirect_url,
        "next_action": payment.next_action,
        "failure_reason": payment.failure_reason,
        "pending_reason": payment.pending_reason,
        "metadata": payment.metadata,
        "created_at": format_time(payment.created_at),
        "updated_at": format_time(payment.updated_at),
        "expires_at": format_time(payment.expires_at),
        "completed_at": format_time(payment.completed_at),
        "committed_until": None if payment.status is Status.COMPLETED else format_time(payment.committed_until),
        "last_attempt_error": None if payment.status is Status.COMPLETED else payment.last_attempt_error,
        "received_amount": None
        if received is None or payment.received_currency is None
        else format_amount(received, payment.received_currency),
        "received_currency": payment.received_currency,
        "reversed_amount_minor": payment.reversed_minor,
    }
