"""The step between a payer's approval and the money: capturing it, at providers where that is a call of ours.

CONTRACT section 9: an ended payment is not captured, and a capture that was sent is asked about until its outcome is
known. Each approval has its own number, so that the capture of a later one is no repeat of the one that was refused.
"""

from __future__ import annotations

import datetime

from app.core.decision import Decision, Verdict, announce_action, changed, filled_in
from app.core.errors import InvariantBroken
from app.core.facts import Fact
from app.core.payment import Payment, Status

CAPTURE_IN_FLIGHT = "its money was asked for, and the outcome is not known yet"


def approve(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Decide an approval of an open payment: the capture is due, unless that is known already."""
    if fact.capture_within_seconds is None:
        raise InvariantBroken("'approved' comes with the seconds within which the money can be captured")
    filled = filled_in(payment, fact)
    if payment.has_open_case:
        return Decision(Verdict.IGNORED, "received money waits for a person: nothing more is captured", payment)
    if payment.approved_until is not None:
        again = changed(payment, now, **filled) if filled else payment
        return Decision(Verdict.DUPLICATE, "the approval is known", again, notification=announce_action(payment, again))
    approved = changed(
        payment,
        now,
        status=Status.PROCESSING,
        approved_until=now + datetime.timedelta(seconds=fact.capture_within_seconds),
        approvals=payment.approvals + 1,
        **filled,
    )
    reason = "the payer has approved: the money is to be captured"
    return Decision(Verdict.APPLIED, reason, approved, notification=announce_action(payment, approved))


def forget_approval(payment: Payment, fact: Fact) -> dict[str, object]:
    """Return the changes of a refused capture: the approval is used up, and the payer may approve again.

    Only the answer to our call is about this approval for certain: a webhook may be an earlier one's.
    """
    if fact.approval is None or fact.approval != payment.approvals or payment.approved_until is None:
        return {}
    return {"approved_until": None, "capture_sent_at": None}


def is_capture_due(payment: Payment, now: datetime.datetime) -> bool:
    """Return whether an open payment's money is to be captured: within the time for it, or to learn what came of it.

    A payer who has committed to a slow method is waited for: the capture was made.
    """
    if payment.approved_until is None or payment.committed_until is not None:
        return False
    return payment.capture_sent_at is not None or now < payment.approved_until
