"""What a payment keeps of each refund: those that its tenant asked for, and those that a policy makes."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RefundStatus(StrEnum):
    """The states of a refund (CONTRACT section 10)."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


# The failure reasons of refunds that were ended here, although the provider had been asked for them.
REJECTED = "rejected by a person"
NOT_MADE = "The provider did not make it, and it may not be sent again: the money was taken back or is disputed."
# That of a policy's refund whose adapter makes none.
NOT_SUPPORTED = "The payment's provider cannot refund through here."
UNFINISHED = frozenset({RefundStatus.PENDING, RefundStatus.PROCESSING})


@dataclass(frozen=True, slots=True)
class WantedRefund:
    """A refund that is asked for. `amount`: as a caller writes it, None for all that is left.

    `reference`: the provider reference of an accepted second payment, None for the payment's own money.
    `available_minor`: what the wallet has beyond its holds, by currency, None where the tenant lets it go below zero.
    """

    id: uuid.UUID
    amount: str | None
    reference: str | None = None
    reason: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    available_minor: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund of money under `reference`, in minor units.

    `provider_reference`: the provider's id of the refund. `called_at`: when the provider was last called for it, None
    before the first call: until then the provider cannot have it. `completed_at` stays where it failed later.
    `suspended_minor`: None for a tenant's; for a policy's what was booked into suspense for it: its amount, or 0 where
    it is another try with money that was there already. `credited_minor`: what a person credited from suspense once it
    had failed, 0 where that was rejected or is tried again, None while nothing is decided.
    """

    id: uuid.UUID
    reference: str | None
    amount_minor: int
    currency: str
    status: RefundStatus
    created_at: datetime.datetime
    updated_at: datetime.datetime
    provider_reference: str | None = None
    reason: str | None = None
    failure_reason: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    called_at: datetime.datetime | None = None
    completed_at: datetime.datetime | None = None
    suspended_minor: int | None = None
    credited_minor: int | None = None

    @property
    def is_of_policy(self) -> bool:
        """Whether a policy makes it, of money that is in suspense: no wallet of a user has it."""
        return self.suspended_minor is not None

    @property
    def is_unfinished(self) -> bool:
        """Whether its outcome is not known yet; the wallet's money is held meanwhile."""
        return self.status in UNFINISHED

    @property
    def is_rejected(self) -> bool:
        """Whether it was ended here, by a person or since the provider showed none."""
        return self.status is RefundStatus.FAILED and self.failure_reason in (REJECTED, NOT_MADE)

    @property
    def moved_minor(self) -> int:
        """By how much it raises what is reversed of users' money."""
        return self.amount_minor if self.status is RefundStatus.COMPLETED and not self.is_of_policy else 0

    @property
    def key(self) -> str:
        """The key of its transfer, and of a case about it."""
        return f"refund:{self.id}"

    @property
    def undone_key(self) -> str:
        """The key of the transfer that brings its money back where it failed later."""
        return f"refund_failed:{self.id}"

    @property
    def suspense_key(self) -> str:
        """The key of the transfer that puts its money into suspense, and of the case about it once it has failed."""
        return f"suspense:{self.id}"

    def names(self, reversal_id: str | None) -> bool:
        """Return whether a provider's id of money that went back is this refund's, or our own id of it."""
        return reversal_id is not None and reversal_id in (self.provider_reference, str(self.id))
