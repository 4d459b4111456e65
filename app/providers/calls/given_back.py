"""Money that a provider shows as gone back or come again, with the state of a payment that was paid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from app.core.errors import InvariantBroken
from app.core.facts import DisputeReport, Fact, FactKind, Movement


def list_movements(reversal_id: str, amount_minor: int, currency: str, *, is_undone: bool) -> tuple[Movement, ...]:
    """Return the steps of a refund or dispute: money that went back, and that came again where it `is_undone`."""
    back = Movement("reversed", reversal_id, amount_minor, currency)
    return (back, replace(back, kind="reinstated")) if is_undone else (back,)


def as_facts(movements: Iterable[Movement], aliases: tuple[str, ...] = ()) -> list[Fact]:
    """Return the movements of an event as facts: first money that came again, which makes room for what went back."""
    kinds = {"reversed": FactKind.REVERSED, "reinstated": FactKind.REINSTATED}
    return [
        Fact(
            kinds[one.kind],
            amount_minor=one.amount_minor,
            currency=one.currency,
            reversal_id=one.reversal_id,
            aliases=aliases,
        )
        for one in sorted(movements, key=lambda one: one.kind == "reversed")
    ]


def as_report(dispute: Fact) -> DisputeReport:
    """Return a fact about a dispute as an answer shows it, next to the state of its payment."""
    if dispute.dispute_id is None or dispute.dispute_state is None:
        raise InvariantBroken("'dispute' comes with the id and the state of the dispute")
    return DisputeReport(dispute.dispute_id, dispute.dispute_state, dispute.reason, dispute.evidence_due_at)


def sum_movements(fact: Fact) -> int:
    """Return what of a payment is given back now, in minor units of the received currency."""
    signs = {"reversed": 1, "reinstated": -1}
    return sum(signs[one.kind] * one.amount_minor for one in fact.movements if one.currency == fact.currency)
