"""Stripe's refunds and disputes as facts and as movements.

Money of a refund goes back when it has succeeded, and comes again when the refund fails afterwards. Of one that fails,
whether it had succeeded or not, both are reported: together they move nothing, and each has its effect once. Money of a
dispute that comes again is reported with its withdrawal too.
Money of a dispute goes back when it is opened and comes again when it is won; an inquiry, whose states begin with
`warning_`, takes none, and neither does one that Stripe has prevented by a refund.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from app.core.facts import DisputeReport, DisputeState, Fact, FactKind, Movement
from app.providers.adapters.stripe.stripe_amounts import read_money
from app.providers.calls.answer_fields import clean_message, keep_ids, read_kept_id
from app.providers.calls.given_back import as_report, list_movements

_REFUNDED = frozenset({"succeeded", "failed", "canceled"})
_PREVENTED = "prevented"
_ENDS: dict[str, DisputeState] = {"won": "won", "lost": "lost", "warning_closed": "won", _PREVENTED: "won"}


def read_refund(shown: Mapping[str, Any]) -> tuple[Movement, ...]:
    """Return the movements of a refund. Raise UnexpectedAnswer."""
    if shown.get("status") not in _REFUNDED:
        return ()
    return _read_cycle(shown, is_undone=shown.get("status") != "succeeded")


def read_dispute(shown: Mapping[str, Any], *, is_closed: bool) -> Fact | None:
    """Return the state of a dispute, None for an end that is none of ours. Raise UnexpectedAnswer."""
    status = str(shown.get("status"))
    state: DisputeState | None = _ENDS.get(status) if is_closed or status == _PREVENTED else "opened"
    if state is None:
        return None
    details = shown.get("evidence_details")
    due_by = details.get("due_by") if isinstance(details, dict) else None
    return Fact(
        FactKind.DISPUTE,
        dispute_id=read_kept_id(shown),
        dispute_state=state,
        reason=clean_message(shown.get("reason")),
        evidence_due_at=datetime.datetime.fromtimestamp(due_by, datetime.UTC) if isinstance(due_by, int) else None,
        aliases=name_charge(shown),
    )


def read_funds(shown: Mapping[str, Any], *, is_reinstated: bool) -> tuple[Movement, ...]:
    """Return the movements of a dispute's money. Raise UnexpectedAnswer."""
    return _read_cycle(shown, is_undone=is_reinstated)


def read_movements(refunds: Iterable[Mapping[str, Any]], disputes: Iterable[Mapping[str, Any]]) -> tuple[Movement, ...]:
    """Return all that went back or came again of a payment. Raise UnexpectedAnswer."""
    moved = [one for refund in refunds for one in read_refund(refund)]
    for dispute in disputes:
        status = str(dispute.get("status"))
        if not status.startswith("warning_") and status != _PREVENTED:
            moved += read_funds(dispute, is_reinstated=status == "won")
    return tuple(moved)


def read_disputes(disputes: Iterable[Mapping[str, Any]]) -> tuple[DisputeReport, ...]:
    """Return the states of a payment's disputes. Raise UnexpectedAnswer."""
    found = (read_dispute(one, is_closed=one.get("status") in _ENDS) for one in disputes)
    return tuple(as_report(fact) for fact in found if fact is not None)


def name_charge(shown: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ids of the payment that a refund or dispute is about."""
    return keep_ids(shown.get("payment_intent"), shown.get("charge"))


def _read_cycle(shown: Mapping[str, Any], *, is_undone: bool) -> tuple[Movement, ...]:
    return list_movements(read_kept_id(shown), *read_money(shown, "amount"), is_undone=is_undone)
