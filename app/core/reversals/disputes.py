"""The decider about disputes: marks, which move no money. What a dispute takes or returns is a movement of its own."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from app.core.decision import Decision, Verdict, changed
from app.core.errors import InvariantBroken
from app.core.facts import DisputeReport, DisputeState, Fact, FactKind, Input
from app.core.payment import Payment, format_time
from app.core.reversals.credited import with_marks
from app.core.reversals.records import Dispute

# A later state in this order is never left for an earlier one, so that facts may come in any order. A dispute that was
# won can be taken up again by the payer's bank, so lost is the last word.
_ORDER: tuple[DisputeState, ...] = ("opened", "won", "lost")
_REASONS: dict[DisputeState, str] = {
    "opened": "the payer disputes the payment",
    "won": "the dispute was won: the money stays",
    "lost": "the dispute was lost: the money goes back",
}


def note_dispute(payment: Payment, fact: Fact, now: datetime.datetime) -> Decision:
    """Decide what a provider says of a dispute: the payment is marked while one is open."""
    if fact.dispute_id is None or fact.dispute_state is None:
        raise InvariantBroken("'dispute' comes with the id and the state of the dispute", payment_id=payment.id)
    known = next((one for one in payment.disputes if one.dispute_id == fact.dispute_id), None)
    dispute = _merge(known, fact, fact.dispute_id, fact.dispute_state, now)
    if dispute == known:
        return Decision(Verdict.DUPLICATE, f"the dispute is known as {known.state}", payment)
    others = tuple(one for one in payment.disputes if one is not known)
    after = replace(payment, disputes=(*others, dispute))
    after = changed(after, now, exceptions=with_marks(after))
    if known is not None and dispute.state == known.state:
        return Decision(Verdict.APPLIED, "more is known of the dispute", after)
    return Decision(
        Verdict.APPLIED,
        _REASONS[dispute.state],
        after,
        notification="payment.disputed",
        about={"dispute": present_dispute(dispute)},
        alert="payment_disputed" if dispute.state == "opened" else None,
    )


def list_due(payment: Payment, given: Input) -> list[Fact]:
    """Return the disputes that a success shows, as far as they change what is known of the payment."""
    return list_news(payment, given.disputes) if isinstance(given, Fact) and given.kind is FactKind.SUCCEEDED else []


def list_news(payment: Payment, shown: Iterable[DisputeReport]) -> list[Fact]:
    """Return as facts those disputes of a provider's answer that are not known here as it shows them."""
    known = {one.dispute_id: one for one in payment.disputes}
    return [fact for one in shown if _is_news(known.get(one.dispute_id), fact := as_fact(one))]


def as_fact(shown: DisputeReport) -> Fact:
    """Return a dispute that a provider shows as a fact of its own."""
    return Fact(
        FactKind.DISPUTE,
        dispute_id=shown.dispute_id,
        dispute_state=shown.state,
        reason=shown.reason,
        evidence_due_at=shown.evidence_due_at,
    )


def _is_news(known: Dispute | None, fact: Fact) -> bool:
    if known is None or fact.dispute_state is None:
        return True
    return _merge(known, fact, known.dispute_id, fact.dispute_state, known.opened_at) != known


def present_dispute(dispute: Dispute) -> dict[str, Any]:
    """Return the dispute as the outside sees it (CONTRACT section 10)."""
    return {
        "id": dispute.dispute_id,
        "status": dispute.state,
        "reason": dispute.reason,
        "evidence_due_at": format_time(dispute.evidence_due_at),
        "opened_at": format_time(dispute.opened_at),
        "closed_at": format_time(dispute.closed_at),
    }


def _merge(known: Dispute | None, fact: Fact, dispute_id: str, state: DisputeState, now: datetime.datetime) -> Dispute:
    closed_at = None if state == "opened" else now
    if known is None:
        return Dispute(dispute_id, state, fact.reason, fact.evidence_due_at, now, closed_at)
    is_later = _ORDER.index(state) > _ORDER.index(known.state)
    # Of an overtaken fact only what is not known yet counts.
    return replace(
        known,
        state=state if is_later else known.state,
        reason=fact.reason if is_later and fact.reason else known.reason or fact.reason,
        evidence_due_at=_latest(known, fact, is_later=is_later or known.state == state == "opened"),
        closed_at=known.closed_at or closed_at,
    )


def _latest(known: Dispute, fact: Fact, *, is_later: bool) -> datetime.datetime | None:
    """Return by when evidence is due: the provider may grant more time."""
    if is_later and fact.evidence_due_at is not None:
        return fact.evidence_due_at
    return known.evidence_due_at or fact.evidence_due_at
