"""What of Paystack's transactions was given back: refunds and lost disputes, each under a name of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.core.facts import Fact, Movement
from app.providers.adapters.paystack.paystack_events import AMOUNTS
from app.providers.calls.answer_fields import read_units
from app.providers.calls.given_back import list_movements

# Refunds and lost disputes, by the reference of their transaction and by their names.
GivenBack = dict[str, dict[str, Mapping[str, Any]]]


def name_dispute(dispute: object) -> str:
    """Return the name of a dispute, or of the dispute with a number."""
    return f"dispute:{dispute.get('id') if isinstance(dispute, Mapping) else dispute}"


def with_given_back(fact: Fact, given_back: GivenBack) -> Fact:
    """Return a paid transaction's fact with the refunds and lost disputes of it. Raise UnexpectedAnswer."""
    movements: list[Movement] = []
    for name, row in given_back.get(str(fact.reference), {}).items():
        money = read_units(AMOUNTS, row, "amount")
        movements += list_movements(name, *money, is_undone=row.get("status") == "failed")
    return replace(fact, movements=tuple(movements))
