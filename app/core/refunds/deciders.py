"""Deciders about refunds of ours: asked for, completed, failed, failed after they were completed, booked by a person.

Those that a policy makes differ in where their money is: in suspense, in place of a user's wallet.

docs/ARCHITECTURE.md has the walk. Rules: CONTRACT section 10.
"""

from __future__ import annotations

import datetime
import uuid
from dataclasses import replace

from app.core.decision import Case, Decision, Transfer, Verdict, changed, with_conflict
from app.core.errors import InvariantBroken
from app.core.facts import Command, Fact
from app.core.money import format_money, parse_amount
from app.core.payment import Payment
from app.core.refunds import policy_refunds
from app.core.refunds.attribution import find_by_id, unfinished_minor
from app.core.refunds.records import REJECTED, Refund, RefundStatus
from app.core.refunds.shown import present_refund
from app.core.refunds.suspense import read_suspense
from app.core.reversals.credited import read_credited, with_marks

DISPUTED = "a dispute is open"
TOO_MUCH = "more than is left to refund"
NOTHING_LEFT = "nothing is left to refund"
NOT_AVAILABLE = "the wallet has less than that available"
UNKNOWN_REFERENCE = "no money was credited under this provider reference"
NO_REFERENCE = "the provider's reference of its money is not known"
TAKEN_BEFORE = "The money was taken back before the refund was sent."


def ask_refund(payment: Payment, command: Command, now: datetime.datetime) -> Decision:
    """Decide a refund that a tenant asks for: the money is held, and the provider's call is due. Raise AmountError."""
    order = command.refund
    if order is None:
        raise InvariantBroken("a refund is asked for with its order", payment_id=payment.id)
    reference, currency = order.reference or payment.provider_reference, payment.received_currency
    if not payment.is_own_reference(order.reference):
        others = [one for one in payment.other_references if one.reference == reference and one.accepted_minor]
        if not others:
            return Decision(Verdict.IGNORED, UNKNOWN_REFERENCE, payment)
        currency = others[0].currency
    if reference is None or currency is None:
        return Decision(Verdict.IGNORED, NO_REFERENCE, payment)
    if any(one.state == "opened" for one in payment.disputes):
        return Decision(Verdict.IGNORED, DISPUTED, payment)
    left = read_credited(payment, reference, currency).left_minor - unfinished_minor(payment, reference, currency)
    amount_minor = left if order.amount is None else parse_amount(order.amount, currency)
    if left <= 0 or amount_minor > left:
        return Decision(Verdict.IGNORED, NOTHING_LEFT if left <= 0 else TOO_MUCH, payment)
    if order.available_minor is not None and amount_minor > order.available_minor.get(currency, 0):
        return Decision(Verdict.IGNORED, NOT_AVAILABLE, payment)
    money = (order.id, reference, amount_minor, currency)
    refund = Refund(*money, RefundStatus.PENDING, now, now, reason=order.reason, metadata=order.metadata)
    after = replace(payment, refunds=(*payment.refunds, refund))
    return Decision(
        Verdict.APPLIED,
        f"a refund of {format_money(amount_minor, currency)} is asked for",
        changed(after, now, exceptions=with_marks(after)),
    )


def note_refund(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Decide what a provider says of a refund of ours: one effect, whoever reports it and however often."""
    refund = next((one for one in payment.refunds if one.id == fact.refund_id), find_by_id(payment, fact.reversal_id))
    if refund is None:
        return Decision(Verdict.IGNORED, "no refund of ours: the provider is asked", payment, asks=True)
    named = refund.provider_reference or fact.reversal_id
    if fact.refund_state == "processing":
        return _proceed(payment, refund, named, now)
    if fact.refund_state == "completed":
        return _complete(payment, replace(refund, provider_reference=named), refund, now)
    return _fail(payment, replace(refund, provider_reference=named), fact.message, now)


def _proceed(payment: Payment, refund: Refund, named: str | None, now: datetime.datetime) -> Decision:
    if not refund.is_unfinished or (refund.status, refund.provider_reference) == (RefundStatus.PROCESSING, named):
        return Decision(Verdict.DUPLICATE, f"the refund is known as {refund.status}", payment)
    proceeding = replace(refund, status=RefundStatus.PROCESSING, provider_reference=named, updated_at=now)
    return Decision(Verdict.APPLIED, "the provider has the refund", changed(_with(payment, proceeding), now))


def _complete(payment: Payment, refund: Refund, known: Refund, now: datetime.datetime) -> Decision:
    if not refund.is_unfinished:
        if refund.status is RefundStatus.COMPLETED and refund != known:
            after = changed(_with(payment, refund), now)
            return Decision(Verdict.APPLIED, "the provider's id of the refund is known", after)
        if known.is_rejected:
            why = "the refund was ended here: the provider is asked what has gone back"
            return Decision(Verdict.IGNORED, why, payment, asks=True)
        return Decision(Verdict.DUPLICATE, f"the refund is {refund.status} already", payment)
    if refund.amount_minor > _left_minor(payment, refund):
        return _hold(payment, refund, now)
    return _book(payment, refund, now)


def _left_minor(payment: Payment, refund: Refund) -> int:
    """Return what is left of the money that the refund is of: the user's, or what is in suspense."""
    money = read_credited(payment, refund.reference, refund.currency)
    return money.suspense.left_minor if refund.is_of_policy else money.left_minor


def _hold(payment: Payment, refund: Refund, now: datetime.datetime) -> Decision:
    """Keep a refund that the provider made of money which it had taken back before: a person decides."""
    why = "the provider refunded more than is left of what was credited"
    proceeding = replace(refund, status=RefundStatus.PROCESSING)
    is_new = proceeding not in payment.refunds
    detail = f"{why}: {format_money(refund.amount_minor, refund.currency)}"
    return Decision(
        Verdict.DEAD_LETTER,
        why,
        changed(_with(payment, replace(proceeding, updated_at=now)), now) if is_new else payment,
        case=Case("refund", detail, refund.key, refund.reference),
        alert="reversal_held",
    )


def _book(payment: Payment, refund: Refund, now: datetime.datetime) -> Decision:
    done = replace(refund, status=RefundStatus.COMPLETED, updated_at=now, completed_at=now)
    kind = "suspense_refund" if refund.is_of_policy else "refund"
    return _moved(payment, done, now, Transfer(done.key, kind, done.amount_minor, done.currency))


def _fail(payment: Payment, refund: Refund, message: str | None, now: datetime.datetime) -> Decision:
    if refund.status is RefundStatus.FAILED:
        return Decision(Verdict.DUPLICATE, "the refund has failed already", payment)
    reason = message or "refused by the provider"
    failed = replace(refund, status=RefundStatus.FAILED, failure_reason=reason, updated_at=now)
    if refund.is_of_policy:
        return _fail_of_policy(payment, refund, failed, now)
    if refund.is_unfinished:
        return _ended(payment, failed, now, "the refund failed: its money is free again")
    if refund.amount_minor > read_credited(payment, refund.reference, refund.currency).reversed_minor:
        why = "the provider says that a refund failed whose money came again before"
        return Decision(Verdict.CONFLICT, why, with_conflict(payment, now), alert="payment_conflict", asks=True)
    # What a total had attributed to it is still to be found.
    again = Transfer(failed.undone_key, "reinstatement", failed.amount_minor, failed.currency)
    return replace(_moved(payment, failed, now, again), asks=True)


def _fail_of_policy(payment: Payment, refund: Refund, failed: Refund, now: datetime.datetime) -> Decision:
    """Leave the money in suspense, or bring it back there: what is left of it is for a person."""
    if refund.is_unfinished:
        decision = _ended(payment, failed, now, "the refund failed: its money is in suspense")
    else:
        again = Transfer(failed.undone_key, "suspense_reinstatement", failed.amount_minor, failed.currency)
        decision = replace(_moved(payment, failed, now, again), asks=True)
    money = (failed.reference, failed.currency)
    case = policy_refunds.find_case(decision.payment, *money)
    return replace(
        decision,
        case=case,
        # The case has an alarm; where nothing is left to decide, the payer has the money in another way.
        alert=None,
        supersedes=decision.supersedes | policy_refunds.IN_SUSPENSE,
        supersedes_keys=frozenset({failed.key}) | policy_refunds.list_case_keys(decision.payment, *money),
    )


def _moved(payment: Payment, refund: Refund, now: datetime.datetime, transfer: Transfer) -> Decision:
    if refund.is_of_policy:
        words = "the money in suspense went back" if refund.status is RefundStatus.COMPLETED else "it came again"
        return replace(_ended(payment, refund, now, words), suspense=transfer)
    sign = 1 if transfer.type == "refund" else -1
    if refund.currency == payment.received_currency:
        # The payment's sum is in one currency.
        payment = replace(payment, reversed_minor=payment.reversed_minor + sign * refund.amount_minor)
    words = "the refund is completed" if sign > 0 else "the refund failed after it was completed: its money came again"
    return replace(_ended(payment, refund, now, words), transfer=transfer)


def _ended(payment: Payment, refund: Refund, now: datetime.datetime, why: str) -> Decision:
    after = _with(payment, refund)
    return Decision(
        Verdict.APPLIED,
        why,
        changed(after, now, exceptions=with_marks(after)),
        supersedes=_ABOUT_REFUNDS,
        supersedes_keys=frozenset({refund.key}),
        notification=f"refund.{refund.status}",
        about={"refund": present_refund(payment.id, refund)},
        alert="refund_failed" if refund.status is RefundStatus.FAILED else None,
    )


_ABOUT_REFUNDS = frozenset({"refund"})


def book_refund(payment: Payment, refund: Refund, now: datetime.datetime) -> Decision:
    """Book a refund that waits for a person, whatever is left."""
    if not refund.is_unfinished:
        return Decision(Verdict.IGNORED, f"the refund is {refund.status}", payment)
    return _book(payment, refund, now)


def discard_refund(payment: Payment, refund: Refund, now: datetime.datetime) -> Decision:
    """End a refund that waits for a person as failed: its money is free again."""
    if not refund.is_unfinished:
        return Decision(Verdict.IGNORED, f"the refund is {refund.status}", payment)
    return _fail(payment, refund, REJECTED, now)


def list_unsent(before: Payment, after: Payment) -> list[Refund]:
    """Return the refunds that are not sent any more, newest first: their money went back, or is disputed since."""
    is_disputed = any(one.state == "opened" for one in after.disputes)
    if not is_disputed and after.reversed_minor <= before.reversed_minor and after.movements == before.movements:
        return []
    unsent = []
    over: dict[tuple[str | None, str, bool], int] = {}
    for refund in reversed(after.refunds):
        if not refund.is_unfinished or refund.called_at is not None:
            continue
        money = (refund.reference, refund.currency, refund.is_of_policy)
        if money not in over:
            over[money] = _under_way_minor(after, refund) - _left_minor(after, refund)
        if is_disputed or over[money] > 0:
            unsent.append(refund)
            over[money] -= refund.amount_minor
    return unsent


def may_be_sent(payment: Payment, refund_id: uuid.UUID) -> bool:
    """Return whether a refund that the provider does not have may be sent: its money is left, and is not disputed."""
    refund = next((one for one in payment.refunds if one.id == refund_id), None)
    if refund is None or not refund.is_unfinished or any(one.state == "opened" for one in payment.disputes):
        return False
    return _under_way_minor(payment, refund) <= _left_minor(payment, refund)


def _under_way_minor(payment: Payment, refund: Refund) -> int:
    """Return what refunds of the same money are under way for."""
    money = (refund.reference, refund.currency)
    return read_suspense(payment, *money).unfinished_minor if refund.is_of_policy else unfinished_minor(payment, *money)


def _with(payment: Payment, refund: Refund) -> Payment:
    return replace(payment, refunds=tuple(refund if one.id == refund.id else one for one in payment.refunds))
