"""A decision: a frozen value with everything that one transaction writes."""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Literal

from app.core.errors import InvariantBroken
from app.core.facts import Command, Fact
from app.core.payment import Payment, Status
from app.core.reversals.records import WaitingReversal
from app.core.validation.provider_values import PROMPT_LENGTH_MAX, is_redirect_url


class Verdict(StrEnum):
    """The result of a fact or command."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    CONFLICT = "conflict"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money to be posted between the provider's clearing wallet and the user's; `key` is unique per payment.

    `is_from_suspense`: a deposit of money that was in suspense, not in the clearing wallet.
    """

    key: str
    type: str
    amount_minor: int
    currency: str
    is_from_suspense: bool = False


# Why work needs a person. docs/OPERATIONS.md says for each what accepting, redriving and rejecting it does.
Reason = Literal[
    "amount",
    "attempts_exhausted",
    "currency",
    "currency_mismatch",
    "late",
    "missing_here",
    "missing_there",
    "movement",
    "overpaid",
    "provider_refused_us",
    "raised",
    "reference_mismatch",
    "refund",
    "reinstatement",
    "reversal",
    "second_payment",
    "state",
    "suspense",
    "underpaid",
    "unknown_payment",
    "unusable",
]


@dataclass(frozen=True, slots=True)
class Case:
    """A dead letter to be opened. `key` makes the same case one row; `amount_minor` is credited if it is accepted.

    `is_rejected`: the tenant's policy has rejected it already; it is kept for the record.
    """

    reason: Reason
    detail: str
    key: str
    reference: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    is_rejected: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The rows that one transaction writes: the payment's next version and everything that belongs to it.

    `supersedes`: open cases of the same provider reference and with one of these reasons are settled by this; where
    `supersedes_currency` is given, those in this currency alone, where `supersedes_keys` is, those with one of these
    keys. `suspense`: what is posted between the provider's clearing wallet and its suspense wallet, in addition to the
    user's `transfer`. `waits`: a reversal that is kept with the payment until it can be booked. `about`: what the
    notification is about in addition to the payment, by its name. `alert` names an alarm to raise. `asks`: the provider
    is to be asked for its state at once.
    """

    verdict: Verdict
    reason: str
    payment: Payment
    transfer: Transfer | None = None
    suspense: Transfer | None = None
    case: Case | None = None
    supersedes: frozenset[str] = frozenset()
    supersedes_currency: str | None = None
    supersedes_keys: frozenset[str] | None = None
    waits: WaitingReversal | None = None
    notification: str | None = None
    about: Mapping[str, Any] | None = None
    alert: str | None = None
    asks: bool = False


FactDecider = Callable[[Payment, Fact, datetime.datetime], Decision]
CommandDecider = Callable[[Payment, Command, datetime.datetime], Decision]


def changed(payment: Payment, now: datetime.datetime, **changes: object) -> Payment:
    """Return the payment's next version with `changes`."""
    values = dict(zip(_FIELDS, _read_fields(payment), strict=True))
    values.update(changes, version=payment.version + 1, updated_at=now)
    return Payment(**values)


# Like dataclasses.replace in half of the time; called for each payment of a batch.
_FIELDS = tuple(field.name for field in fields(Payment))
_read_fields = operator.attrgetter(*_FIELDS)


def with_conflict(payment: Payment, now: datetime.datetime) -> Payment:
    """Return the payment with the exception `conflict`; unchanged where it has it already."""
    if "conflict" in payment.exceptions:
        return payment
    return changed(payment, now, exceptions=payment.exceptions | {"conflict"})


def filled_in(payment: Payment, fact: Fact) -> dict[str, object]:
    """Return the fields that a fact may set but not change."""
    filled: dict[str, object] = {}
    if payment.provider_reference is None and fact.reference:
        filled["provider_reference"] = fact.reference
    # Adapters check it too; only through here does it reach a row and a browser.
    if payment.redirect_url is None and is_redirect_url(fact.redirect_url):
        filled["redirect_url"] = fact.redirect_url
    if payment.prompt is None and fact.prompt:
        filled["prompt"] = fact.prompt[:PROMPT_LENGTH_MAX]
    return filled


def announce_action(before: Payment, after: Payment) -> str | None:
    """Return the notification for a page or prompt that a change has made known to the payer, or None."""
    known, shown = (before.redirect_url, before.prompt), (after.redirect_url, after.prompt)
    is_new = before.status is Status.PENDING or known != shown
    return "payment.redirect_ready" if is_new and after.is_open and shown != (None, None) else None


def is_other_reference(payment: Payment, fact: Fact) -> bool:
    """Return whether the fact names another provider reference than the payment has."""
    return not payment.is_own_reference(fact.reference)


def case_key(reason: str, reference: str | None, amount_minor: int, currency: str) -> str:
    """Return the key of a case about money of one provider reference."""
    return f"{reason}:{reference}:{amount_minor}:{currency}"


def money_of(given: Fact | Command) -> tuple[int, str]:
    """Return (minor units, currency) of a fact or command that is about money. Raise InvariantBroken."""
    if given.amount_minor is None or given.currency is None:
        raise InvariantBroken(f"'{given.kind}' comes with an amount and a currency")
    return given.amount_minor, given.currency
