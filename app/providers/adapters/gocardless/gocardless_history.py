"""What became of the money of a GoCardless payment: its refunds, and its chargebacks and late failures by its events.

A payment is charged back, or fails late, in full. The event that says so names the cycle: the chargeback may be
cancelled and the payment collected again, and then the same may happen once more. A chargeback is a dispute too: open
until it is cancelled, or settled, which GoCardless only reports where it had paid the money out before.
A refund's money has left once it is paid; one that failed or bounced, or whose funds were returned, is back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.core.errors import UnexpectedAnswer
from app.core.facts import DisputeReport, DisputeState, Fact, FactKind, Movement
from app.core.redaction import redact
from app.providers.adapters.gocardless.gocardless_events import AMOUNTS, CHARGED_BACK
from app.providers.calls.answer_fields import clean_message, read_kept_id, read_units
from app.providers.calls.given_back import list_movements

# By status of a refund, whether its money came again; None while it has not left.
REFUNDS: dict[str, bool | None] = {
    **dict.fromkeys(("created", "pending_submission", "submitted", "cancelled"), None),
    "paid": False,
    **dict.fromkeys(("failed", "bounced", "funds_returned"), True),
}

_CAME = frozenset({"confirmed", "chargeback_cancelled"})
_ENDS: dict[str, DisputeState] = {"chargeback_cancelled": "won", "chargeback_settled": "lost"}


def read_refund(row: Mapping[str, Any]) -> tuple[Movement, ...]:
    """Return the movements of a refund. Raise UnexpectedAnswer."""
    status = row.get("status")
    if not isinstance(status, str) or status not in REFUNDS:
        raise UnexpectedAnswer(f"the provider's refund has an unknown status: {redact(str(status)[:40])!r}", "status")
    is_undone = REFUNDS[status]
    if is_undone is None:
        return ()
    return list_movements(read_kept_id(row), *read_units(AMOUNTS, row, "amount"), is_undone=is_undone)


def with_history(fact: Fact, payment: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> Fact:
    """Return the fact of a payment's status with what its events say: one that was ever confirmed has succeeded.

    Raise UnexpectedAnswer where the events do not lead to the status: they are older than it, or not kept any more.
    """
    status = payment.get("status")
    history = _read_history(events)
    if not history.was_confirmed and fact.kind is not FactKind.SUCCEEDED:
        return fact
    is_held = fact.kind is FactKind.SUCCEEDED and status != CHARGED_BACK
    if is_held is history.is_gone:
        raise UnexpectedAnswer("the provider's events do not lead to its payment's status", "events")
    money = read_units(AMOUNTS, payment, "amount")
    cycles = history.cycles.items()
    return replace(
        fact,
        kind=FactKind.SUCCEEDED,
        amount_minor=money[0],
        currency=money[1],
        settles_within_days=None,
        movements=tuple(one for name, again in cycles for one in list_movements(name, *money, is_undone=again)),
        disputes=tuple(history.disputes.values()),
    )


@dataclass(slots=True)
class _History:
    """Cycles by the id of the event that began them, with whether the money came again, and disputes by the same."""

    was_confirmed: bool = False
    cycles: dict[str, bool] = field(default_factory=dict)
    disputes: dict[str, DisputeReport] = field(default_factory=dict)

    @property
    def is_gone(self) -> bool:
        """Whether the money of the last cycle has not come again."""
        return bool(self.cycles) and not self.cycles[next(reversed(self.cycles))]

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the next event of the payment."""
        action = event.get("action")
        if action in _CAME:
            self.was_confirmed = True
            if self.is_gone:
                self.cycles[next(reversed(self.cycles))] = True
        elif action == CHARGED_BACK or (action == "failed" and self.was_confirmed):
            self.was_confirmed = True
            if not self.is_gone:
                self.cycles[read_kept_id(event)] = False
        if action == CHARGED_BACK:
            self.disputes[read_kept_id(event)] = DisputeReport(read_kept_id(event), "opened", _read_cause(event))
        elif action in _ENDS:
            self._end_dispute(_ENDS[str(action)])

    def _end_dispute(self, state: DisputeState) -> None:
        if not self.disputes:
            raise UnexpectedAnswer("the provider's events lack the chargeback that has ended", "events")
        last = next(reversed(self.disputes))
        self.disputes[last] = replace(self.disputes[last], state=state)


def _read_history(events: Iterable[Mapping[str, Any]]) -> _History:
    """Return what a payment's events say, which are listed with the newest first."""
    rows = [event for event in events if event.get("resource_type") == "payments"][::-1]
    history = _History()
    for event in sorted(rows, key=lambda event: str(event.get("created_at"))):
        history.take(event)
    return history


def _read_cause(event: Mapping[str, Any]) -> str | None:
    details = event.get("details")
    return clean_message(details.get("cause")) if isinstance(details, dict) else None
