"""Facts, which providers report, and commands, which users, operators and the clock give."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum


class FactKind(StrEnum):
    """The kinds of reports of a provider about a payment."""

    ACCEPTED = "accepted"
    PENDING = "pending"
    COMMITTED = "committed"
    SUCCEEDED = "succeeded"
    ATTEMPT_DECLINED = "attempt_declined"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    NOT_FOUND = "not_found"


class CommandKind(StrEnum):
    """The kinds of commands of a user, an operator or the clock; LOOK_UP is a provider's hint that it has news."""

    CANCEL = "cancel"
    EXPIRE = "expire"
    ACCEPT = "accept"
    REJECT = "reject"
    LOOK_UP = "look_up"


@dataclass(frozen=True, slots=True)
class Fact:
    """A verified report of a provider.

    COMMITTED: the payer has done their part by a slow method (a bank debit), which settles within
    `settles_within_days`. ATTEMPT_DECLINED: one attempt to pay failed, and the payer may try again; DECLINED: no other
    attempt can succeed. `is_expiry`: a CANCELLED by the provider's clock, not by a person. `message` is for the payer,
    `technical` for operators. `aliases`: ids of the provider's objects that belong to the payment.
    `amount_minor` is the total received so far for SUCCEEDED, the total given back for REFUNDED, in minor units of
    `currency`; both are None for the other kinds. `refunded_minor`: the total given back, where a lookup reports
    SUCCEEDED.
    """

    kind: FactKind
    reference: str | None = None
    redirect_url: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    refunded_minor: int | None = None
    message: str | None = None
    settles_within_days: int | None = None
    is_expiry: bool = False
    technical: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command. ACCEPT and REJECT name the dead letter, the amount it would credit and its provider reference."""

    kind: CommandKind
    case_id: uuid.UUID | None = None
    amount_minor: int | None = None
    currency: str | None = None
    reference: str | None = None


Input = Fact | Command
