"""Money that a provider shows as gone back or come again, with the state of a payment that was paid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from app.core.errors import UnexpectedAnswer
from app.core.facts import Fact, Movement


def list_movements(reversal_id: str, amount_minor: int, currency: str, *, is_undone: bool) -> tuple[Movement, ...]:
    """Return the steps of a refund or dispute: money that went back, and that came again where it `is_undone`."""
    back = Movement("reversed", reversal_id, amount_minor, currency)
    return (back, replace(back, kind="reinstated")) if is_undone else (back,)


def with_movements(fact: Fact, movements: Iterable[Movement]) -> Fact:
    """Return the fact of a paid payment with what was given back of it. Raise UnexpectedAnswer for another currency."""
    total = 0
    for one in movements:
        if one.currency != fact.currency:
            raise UnexpectedAnswer("the provider gave back another currency than it received", "currency")
        total += one.amount_minor if one.kind == "reversed" else -one.amount_minor
    return replace(fact, refunded_minor=total)
