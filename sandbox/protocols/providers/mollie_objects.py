"""Mollie's amounts, times, links and lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.values import amounts
from sandbox.values import fields as read
from sandbox.values.refusal import Refusal

API = "https://api.mollie.com/v2"
HAL = "application/hal+json"
PAGES = "text/html"


def read_amount(fields: Mapping[str, Any]) -> tuple[int, str]:
    """Return minor units and currency of `{"currency", "value"}`, whose value has exactly the currency's digits."""
    amount = read.table(fields, "amount")
    try:
        currency = amounts.parse_currency(amount.get("currency"))
        minor = amounts.parse(amount.get("value"), currency)
    except Refusal as refusal:
        raise read.refuse("amount", refusal.message) from None
    if amounts.render(minor, currency) != amount.get("value"):
        raise read.refuse("amount.value", f"The amount must have the digits of {currency}")
    return minor, currency


def render_amount(minor: int, currency: str) -> dict[str, str]:
    """Return an amount as Mollie shows it."""
    return {"currency": currency, "value": amounts.render(minor, currency)}


def render_time(stored: str) -> str:
    """Return a stored time, in whole seconds."""
    return stored.partition(".")[0] + "+00:00"


def make_links(targets: Mapping[str, str], content_type: str = HAL) -> dict[str, Any]:
    """Return the links of an object, by their names."""
    links = {name: {"href": href, "type": content_type} for name, href in targets.items()}
    return links | {"documentation": {"href": "https://docs.mollie.com", "type": PAGES}}


def make_list(name: str, rows: list[dict[str, Any]], following: str | None) -> dict[str, Any]:
    """Return a page of a list; `following` is the URL of the next one."""
    ends = {"previous": None, "next": None if following is None else {"href": following, "type": HAL}}
    return {"count": len(rows), "_embedded": {name: rows}, "_links": make_links({"self": f"{API}/{name}"}) | ends}
