"""Deciders about refunds that a tenant's policy makes: of late money, and of what exceeds the amount asked for.

Such money is booked from the provider's clearing wallet into its suspense wallet and never reaches a user's. A refund
that the provider completes takes it out again; one that fails leaves it there, and a person credits it to the user, has
it refunded again, or leaves it where it is. Of one provider reference and currency one case is open, about all of that.
docs/ARCHITECTURE.md has the walk. Rules: CONTRACT section 10.
"""

from __future__ import annotations

import datetime
import uuid
from dataclasses import replace

from app.core.decision import Case, Decision, Reason, Transfer, Verdict, changed, filled_in, money_of
from app.core.facts import Command, Fact
from app.core.money import format_money
from app.core.payment import Payment, Status
from app.core.refunds.records import Refund, RefundStatus
from app.core.refunds.suspense import has_suspense, list_policy_refunds, list_undecided, read_suspense
from app.core.reversals.credited import CORRECTIONS, CreditedMoney, read_credited, with_marks
from app.core.reversals.records import KnownMovement

LATE, OVERPAID = "late", "overpaid"
# The reason of cases about money whose refund by a policy has failed; a redrive refunds it again.
SUSPENSE: Reason = "suspense"
IN_SUSPENSE = frozenset({SUSPENSE})
_UNDER_DISPUTE = "a dispute is open"
_NOTHING_WAITS = "no money of it waits in suspense any more"


def can_refund(payment: Payment, fact: Fact) -> bool:
    """Return whether the money of a success can be named to its provider; without a reference it is held instead."""
    return bool(fact.reference or payment.provider_reference)


def suspend(payment: Payment, reason: str, amount_minor: int, currency: str) -> tuple[Payment, Transfer]:
    """Return `payment`, which has a new version already, with the refund of its own money, and what suspense gets.

    The refund's id follows from the version that makes it: a decision that is made again makes the same one.
    """
    refund = _new(payment, reason, amount_minor, currency, suspended_minor=amount_minor)
    after = replace(payment, refunds=(*payment.refunds, refund))
    after = replace(after, exceptions=with_marks(after))
    return after, Transfer(refund.suspense_key, "suspense", amount_minor, currency)


def _new(payment: Payment, reason: str, amount_minor: int, currency: str, suspended_minor: int) -> Refund:
    money = (payment.provider_reference, amount_minor, currency)
    times = (payment.updated_at, payment.updated_at)
    refund_id = uuid.uuid5(payment.id, f"refund:{payment.version}")
    return Refund(refund_id, *money, RefundStatus.PENDING, *times, reason=reason, suspended_minor=suspended_minor)


def refund_late(
    payment: Payment, fact: Fact, now: datetime.datetime, supersedes: frozenset[str], known_minor: int = 0
) -> Decision:
    """Give back money that came after the payment had ended, of which `known_minor` goes back already.

    The payment keeps its state, and its session is over: it was paid.
    """
    amount_minor, currency = money_of(fact)
    exceptions = payment.exceptions - {"underpaid", "overpaid", "currency_mismatch"} | {LATE}
    after = changed(
        payment,
        now,
        received_minor=amount_minor,
        received_currency=currency,
        exceptions=exceptions,
        has_open_case=False,
        session_closed=True,
        **filled_in(payment, fact),
    )
    after, suspended = suspend(after, LATE, amount_minor - known_minor, currency)
    return Decision(
        Verdict.APPLIED,
        f"the money came after the payment had ended: {_words(suspended)} goes back to the payer, as the policy says",
        after,
        suspense=suspended,
        supersedes=supersedes,
        notification="payment.review",
    )


def _words(transfer: Transfer) -> str:
    return format_money(transfer.amount_minor, transfer.currency)


def find_case(payment: Payment, reference: str | None, currency: str) -> Case | None:
    """Return the case about the money that refunds by a policy have left in suspense, None where nothing is to decide.

    It is the newest such refund's, and about the money of all.
    """
    undecided = list_undecided(payment, reference, currency)
    wanted_minor = sum(one.amount_minor for one in undecided)
    amount_minor = min(wanted_minor, read_suspense(payment, reference, currency).idle_minor)
    if not undecided or amount_minor <= 0:
        return None
    newest = undecided[-1]
    why = f"{format_money(amount_minor, currency)} is in suspense: {newest.failure_reason}"
    return Case(SUSPENSE, why, newest.suspense_key, newest.reference, amount_minor, currency)


def list_case_keys(payment: Payment, reference: str | None, currency: str) -> frozenset[str]:
    """Return the keys of cases about money in suspense that a new one, or none, takes the place of."""
    return frozenset(one.suspense_key for one in list_undecided(payment, reference, currency))


def take_part(payment: Payment, movement: KnownMovement) -> KnownMovement:
    """Return a movement to be booked with the part of it that is of money in suspense.

    What goes back is taken from there first, but for what refunds that were sent will take, and what comes again is the
    user's first: so both end with the same money in whatever order reports come. Of a payment that is not completed
    nothing is the user's. A correction is of the user's money alone.
    """
    if not has_suspense(payment) or movement.reversal_id.startswith(CORRECTIONS):
        return movement
    money = read_credited(payment, movement.reference, movement.currency)
    if movement.kind == "reversed":
        return replace(movement, suspense_minor=find_part(payment, money, movement.amount_minor))
    of_user = max(money.reversed_minor - money.refunded_minor, 0)
    of_suspense = min(max(movement.amount_minor - of_user, 0), max(money.suspense.gone_minor, 0))
    return replace(movement, suspense_minor=of_suspense)


def find_part(payment: Payment, money: CreditedMoney, amount_minor: int) -> int:
    """Return how much of `amount_minor` that goes back is taken out of suspense."""
    return min(amount_minor, money.suspense.free_minor) if payment.status is Status.COMPLETED else amount_minor


def with_suspense(decision: Decision, movement: KnownMovement) -> Decision:
    """Return the decision that books `movement` with what its part of money in suspense does."""
    if movement.suspense_minor == 0:
        return decision
    name = "suspense_reversal" if movement.kind == "reversed" else "suspense_reinstatement"
    money = (movement.reference, movement.currency)
    moved = Transfer(f"suspense_{movement.key}", name, movement.suspense_minor, movement.currency)
    return replace(
        decision,
        suspense=moved,
        case=find_case(decision.payment, *money),
        supersedes=decision.supersedes | IN_SUSPENSE,
        supersedes_keys=(decision.supersedes_keys or frozenset()) | list_case_keys(decision.payment, *money),
    )


def accept_suspended(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    """Credit money in suspense for a person; of a payment that is not completed the caller does that as well."""
    amount_minor, currency = money_of(command)
    decided = _decide(payment, command, amount_minor)
    if decided is None:
        return Decision(Verdict.IGNORED, _NOTHING_WAITS, payment)
    return Decision(
        Verdict.APPLIED,
        "credited from suspense by a person",
        changed(decided, now),
        transfer=Transfer(f"case:{command.case_id}", "deposit", amount_minor, currency, is_from_suspense=True),
        notification="payment.completed",
    )


def reject_suspended(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    """Leave money in suspense for a person: until the provider shows that it went back, it stays there."""
    # Also where less than the case says is left by now: it has to end.
    decided = _decide(payment, replace(command, amount_minor=0), 0)
    if decided is None:
        return Decision(Verdict.IGNORED, _NOTHING_WAITS, payment)
    return Decision(Verdict.APPLIED, "rejected by a person: the money stays in suspense", changed(decided, now))


def refund_again(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    """Give money in suspense back once more, as a new refund: the provider would repeat its answer to the old one."""
    amount_minor, currency = money_of(command)
    failed = _find(payment, command)
    decided = _decide(payment, command, 0)
    if failed is None or decided is None:
        return Decision(Verdict.IGNORED, _NOTHING_WAITS, payment)
    if any(one.state == "opened" for one in payment.disputes):
        return Decision(Verdict.IGNORED, _UNDER_DISPUTE, payment)
    after = changed(decided, now)
    again = replace(
        _new(after, failed.reason or LATE, amount_minor, currency, suspended_minor=0), reference=failed.reference
    )
    after = replace(after, refunds=(*after.refunds, again))
    return Decision(Verdict.APPLIED, f"{format_money(amount_minor, currency)} goes back to the payer", after)


def _find(payment: Payment, command: Command) -> Refund | None:
    return next((one for one in payment.refunds if one.suspense_key == command.case_key), None)


def _decide(payment: Payment, command: Command, credited_minor: int) -> Payment | None:
    """Return the payment with a decision about all the money of a case; None where that is not in suspense any more."""
    refund = _find(payment, command)
    if refund is None or not refund.is_of_policy:
        return None
    money = (refund.reference, refund.currency)
    undecided = list_undecided(payment, *money)
    if refund not in undecided or (command.amount_minor or 0) > read_suspense(payment, *money).idle_minor:
        return None
    decided = {one.id: replace(one, credited_minor=0) for one in undecided}
    decided[refund.id] = replace(refund, credited_minor=credited_minor)
    return replace(payment, refunds=tuple(decided.get(one.id, one) for one in payment.refunds))


def is_case(command: Command) -> bool:
    """Return whether a command is about money in suspense."""
    return command.case_key is not None and command.case_key.startswith("suspense:")


def known_minor(payment: Payment, reference: str | None, currency: str) -> int:
    """Return the total under a reference that was put into suspense, whatever became of it."""
    return sum(one.suspended_minor or 0 for one in list_policy_refunds(payment, reference, currency))
