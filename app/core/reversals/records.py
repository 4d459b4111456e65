"""What a payment keeps of money that goes back: totals that wait, movements by their ids, disputes."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass, field
from enum import StrEnum

from app.core.facts import DisputeState, MovementKind


class MovementState(StrEnum):
    """What became of a movement that a provider reported."""

    WAITING = "waiting"
    BOOKED = "booked"
    REJECTED = "rejected"
    # The provider's report of a refund of ours, which has the effect.
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class WaitingReversal:
    """A verified reversal that is not booked: the total given back under a reference, in minor units.

    `webhook_id`: the webhook that reported it, None for a lookup.
    """

    reference: str | None
    amount_minor: int
    currency: str
    webhook_id: uuid.UUID | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class KnownMovement:
    """A single step of money that went back or came again, as the provider first reported it, in minor units.

    `reference`: the provider reference that it was reported under. `waits_until`: when a waiting one becomes a dead
    letter, None once a person has to decide. `webhook_id`: the webhook that reported it, None for a lookup.
    `suspense_minor`: the part of a booked one that is of money in suspense, not of the user's.
    """

    kind: MovementKind
    reversal_id: str
    reference: str | None
    amount_minor: int
    currency: str
    state: MovementState
    waits_until: datetime.datetime | None = None
    webhook_id: uuid.UUID | None = field(default=None, compare=False)
    suspense_minor: int = 0

    @property
    def key(self) -> str:
        """What makes its effect happen once: the key of its transfer and of its case."""
        return f"{self.kind}:{self.reversal_id}"

    @property
    def moved_minor(self) -> int:
        """By how much it raises what is reversed: less than nothing for money that came again, 0 unless booked."""
        return self._sign * (self.amount_minor - self.suspense_minor)

    @property
    def left_suspense_minor(self) -> int:
        """By how much it makes less what is in suspense."""
        return self._sign * self.suspense_minor

    @property
    def _sign(self) -> int:
        if self.state is not MovementState.BOOKED:
            return 0
        return 1 if self.kind == "reversed" else -1


@dataclass(frozen=True, slots=True)
class Dispute:
    """A payer's dispute at the provider; it moves no money by itself."""

    dispute_id: str
    state: DisputeState
    reason: str | None
    evidence_due_at: datetime.datetime | None
    opened_at: datetime.datetime
    closed_at: datetime.datetime | None = None
