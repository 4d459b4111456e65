"""Facts, which providers report, and commands, which users, operators and the clock give."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from app.core.refunds.records import WantedRefund

MovementKind = Literal["reversed", "reinstated"]
DisputeState = Literal["opened", "won", "lost"]
RefundState = Literal["processing", "completed", "failed"]


class FactKind(StrEnum):
    """The kinds of reports of a provider about a payment."""

    ACCEPTED = "accepted"
    PENDING = "pending"
    APPROVED = "approved"
    COMMITTED = "committed"
    SUCCEEDED = "succeeded"
    ATTEMPT_DECLINED = "attempt_declined"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    REVERSED = "reversed"
    REINSTATED = "reinstated"
    DISPUTE = "dispute"
    REFUND_STATE = "refund_state"
    NOT_FOUND = "not_found"


class CommandKind(StrEnum):
    """The kinds of commands of a user, an operator or the clock; LOOK_UP is a provider's hint that it has news.

    ACCEPT and REJECT are about money that waits to be credited, BOOK and DISCARD about money that goes back or comes
    again, CORRECT about a credit that the provider shows differently. REROUTE gives a payment that no provider has to
    another one. REFUND is a refund that a tenant asks for, REFUND_AGAIN one of money in suspense whose refund failed.
    """

    CANCEL = "cancel"
    EXPIRE = "expire"
    ACCEPT = "accept"
    REJECT = "reject"
    BOOK = "book"
    DISCARD = "discard"
    CORRECT = "correct"
    LOOK_UP = "look_up"
    REROUTE = "reroute"
    REFUND = "refund"
    REFUND_AGAIN = "refund_again"


@dataclass(frozen=True, slots=True)
class Movement:
    """One step of money that went back, or that came again after it had gone back, in minor units.

    `reversal_id` names one cycle: a second time that the same money goes back has another one.
    """

    kind: MovementKind
    reversal_id: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class DisputeReport:
    """A payer's dispute as an answer of the provider shows it, next to the state of its payment."""

    dispute_id: str
    state: DisputeState
    reason: str | None = None
    evidence_due_at: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """A verified report of a provider.

    APPROVED: the payer has approved, and no money comes unless we capture it within `capture_within_seconds`.
    COMMITTED: the payer has done their part by a slow method (a bank debit), which settles within
    `settles_within_days`. ATTEMPT_DECLINED: one attempt to pay failed, and the payer may try again; DECLINED: no other
    attempt can succeed. `is_expiry`: a CANCELLED by the provider's clock, not by a person. `message` is for the payer,
    `technical` for operators. `aliases`: ids of the provider's objects that belong to the payment.
    `amount_minor` is the total received so far for SUCCEEDED, the total given back for REFUNDED, the single movement
    `reversal_id` for REVERSED and REINSTATED, in minor units of `currency`; both are None for the other kinds.
    Where a lookup reports SUCCEEDED: `refunded_minor` is the total given back, `movements` all that the provider shows
    as gone back or come again, `disputes` those that it shows.
    `asked_version`: the payment's version when our own lookup began, None for what the
    provider reports unasked.
    DISPUTE: the payer disputes the payment; `dispute_state`, `reason` and `evidence_due_at` are of `dispute_id`.
    REFUND_STATE: what became of a refund of ours, `refund_state`; `refund_id` names it, or `reversal_id`, its id at the
    provider. A movement may name one by `refund_id` too.
    `prompt`: what the payer reads where the provider asks on a device, not on a page.
    `approval`: the number of the approval whose capture the fact is the answer to.
    """

    kind: FactKind
    reference: str | None = None
    redirect_url: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    refunded_minor: int | None = None
    message: str | None = None
    settles_within_days: int | None = None
    capture_within_seconds: int | None = None
    approval: int | None = None
    is_expiry: bool = False
    technical: str | None = None
    aliases: tuple[str, ...] = ()
    reversal_id: str | None = None
    movements: tuple[Movement, ...] = ()
    disputes: tuple[DisputeReport, ...] = ()
    dispute_id: str | None = None
    dispute_state: DisputeState | None = None
    reason: str | None = None
    evidence_due_at: datetime.datetime | None = None
    asked_version: int | None = None
    prompt: str | None = None
    refund_id: uuid.UUID | None = None
    refund_state: RefundState | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A command. ACCEPT and REJECT name the dead letter, the amount it would credit and its provider reference.

    CORRECT and REFUND_AGAIN do so too; the amount of CORRECT is less than nothing where money is to be taken back. All
    have its `case_key`, by which BOOK and DISCARD name it. REROUTE names the `provider_id` of the next provider.
    `refund`: what REFUND asks for.
    """

    kind: CommandKind
    case_id: uuid.UUID | None = None
    amount_minor: int | None = None
    currency: str | None = None
    reference: str | None = None
    case_key: str | None = None
    provider_id: uuid.UUID | None = None
    refund: WantedRefund | None = None


Input = Fact | Command
