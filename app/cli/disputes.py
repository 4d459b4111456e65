"""Describe the disputes of a payment in sentences: what happened, where its money is, and what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.money import format_amount

_NEXT = {
    ("opened", False): "Next: answer it at the provider{until}; it reports whether the dispute is won or lost",
    ("opened", True): "Next: answer it at the provider{until}; won, the money comes again, lost, it stays away",
    ("won", False): "Nothing is left to do",
    ("won", True): "Next: the provider reports what it gives back, which is booked as a reinstatement; "
    "sluice reconcile asks for it",
    ("lost", False): "Next: the provider reports what it takes back, which is booked as a reversal; "
    "sluice reconcile asks for it",
    ("lost", True): "This is final",
}
_ENDS = {
    "won": "and was won on {closed}: the provider decided for you",
    "lost": "and was lost on {closed}: the provider decided for the payer",
}


def describe_dispute(payment: Mapping[str, Any], dispute: Mapping[str, Any]) -> str:
    """Return the sentences about one dispute of a payment as the API shows the two."""
    state, is_away = dispute["status"], payment["reversed_amount_minor"] > 0
    reason = f" ({dispute['reason']})" if dispute["reason"] else ""
    end = _ENDS[state].format(closed=_day(dispute["closed_at"])) if state in _ENDS else "and is open"
    until = f" until {_day(dispute['evidence_due_at'])}" if dispute["evidence_due_at"] else ""
    happened = (
        f"Dispute {dispute['id']}{reason}: the payer disputed the payment on {_day(dispute['opened_at'])}, {end}."
    )
    return f"{happened} {_where(payment)} {_NEXT[state, is_away].format(until=until)}."


def _where(payment: Mapping[str, Any]) -> str:
    currency = payment["received_currency"] or payment["currency"]
    if payment["received_amount"] is None:
        return "None of its money was credited."
    credited, gone = f"{payment['received_amount']} {currency}", payment["reversed_amount_minor"]
    if gone == 0:
        return (
            f"The money: all of it, {credited}, is credited to the user's wallet; none of it is with the provider now."
        )
    taken = f"{format_amount(gone, currency)} {currency}"
    return f"The money: of the {credited} that were credited to the user's wallet, {taken} have gone back."


def _day(time: str) -> str:
    return f"{time[:10]} {time[11:16]} UTC"
