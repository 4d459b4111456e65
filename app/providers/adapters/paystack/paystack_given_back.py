"""What of Paystack's transactions was given back: refunds and lost disputes, each under a name of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.core.facts import Fact, Movement
from app.providers.adapters.paystack import paystack_refunds
from app.providers.adapters.paystack.paystack_events import AMOUNTS, read_dispute
from app.providers.calls.answer_fields import read_units
from app.providers.calls.given_back import as_report, list_movements


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Rows of refunds and lost disputes by their names, and of all disputes, by the reference of the transaction."""

    money: defaultdict[str, dict[str, Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    disputes: defaultdict[str, list[Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(list))


def read_given_back(refunds: Iterable[Mapping[str, Any]], disputes: Iterable[Mapping[str, Any]]) -> GivenBack:
    """Return the rows of both lists."""
    found = GivenBack()
    for row in refunds:
        if row.get("status") in ("processed", "failed"):
            made_by = row.get("dispute")
            name = paystack_refunds.name_refund(row) if made_by is None else _name_dispute(made_by)
            found.money[str(row.get("transaction_reference"))][name] = row
    for row in disputes:
        transaction = row.get("transaction")
        if not isinstance(transaction, dict):
            continue
        reference = str(transaction.get("reference"))
        found.disputes[reference].append(row)
        if row.get("resolution") == "merchant-accepted":
            found.money[reference].setdefault(_name_dispute(row), {**row, "amount": row.get("refund_amount")})
    return found


def with_given_back(fact: Fact, given_back: GivenBack) -> Fact:
    """Return a paid transaction's fact with its refunds and disputes. Raise UnexpectedAnswer."""
    movements: list[Movement] = []
    reference = str(fact.reference)
    for name, row in given_back.money[reference].items():
        money = read_units(AMOUNTS, row, "amount")
        movements += list_movements(name, *money, is_undone=row.get("status") == "failed")
    disputes = tuple(as_report(read_dispute(row)) for row in given_back.disputes[reference])
    return replace(fact, movements=tuple(movements), disputes=disputes)


def _name_dispute(dispute: object) -> str:
    """Return the name of a dispute, or of the dispute with a number."""
    return f"dispute:{dispute.get('id') if isinstance(dispute, Mapping) else dispute}"
