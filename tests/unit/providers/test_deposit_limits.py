"""What adapters refuse of a deposit by what they declare."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from app.providers.adapters.sandbox import SandboxAdapter
from app.providers.amounts import AmountTable
from app.providers.capabilities import Capabilities
from app.providers.deposit_limits import NEEDED, Wanted, describe_limits, find_refusals

PLAIN = SandboxAdapter.capabilities
# Whole francs, and dinars with a last digit of zero.
ODD = AmountTable(
    {"USD": 2, "CHF": 0, "KWD": 3, "ISK": 2},
    steps={"KWD": 10},
    least={"USD": 50, "CHF": 1},
    most={"USD": 99_999_999, "CHF": 30, "ISK": 999},
)


def limited(**changes: Any) -> Capabilities:
    return dataclasses.replace(PLAIN, **changes)


def refused(capabilities: Capabilities, **changes: Any) -> dict[str, str]:
    values: dict[str, Any] = {"amount_minor": 2500, "currency": "USD", "metadata": {}, "customer": {}}
    wanted = Wanted(**{**values, "description": None, **changes})
    return find_refusals({"odd": capabilities, "sandbox": PLAIN}, wanted).get("odd", {})


def test_an_ordinary_deposit_is_refused_by_nobody() -> None:
    assert refused(limited(amounts=ODD)) == {}
    assert find_refusals({"sandbox": PLAIN}, Wanted(1, "USD", {}, {}, None)) == {}


@pytest.mark.parametrize(
    ("amount_minor", "currency", "fields"),
    [
        (2500, "CHF", {}),
        (2550, "CHF", {"amount": "cannot be paid at this provider: it cannot be told in CHF with 0 decimals"}),
        (1230, "KWD", {}),
        (1234, "KWD", {"amount": "cannot be paid at this provider: it must be a multiple of 10"}),
        (2500, "EUR", {"currency": "is not one that this provider takes"}),
        (49, "USD", {"amount": "cannot be paid at this provider: it must be at least 0.50 USD"}),
        (50, "USD", {}),
        (99_999_999, "USD", {}),
        (100_000_000, "USD", {"amount": "cannot be paid at this provider: it must be at most 999999.99 USD"}),
        (3000, "CHF", {}),
        (3100, "CHF", {"amount": "cannot be paid at this provider: it must be at most 30.00 CHF"}),
        (9, "ISK", {}),
        (10, "ISK", {"amount": "cannot be paid at this provider: it must be at most 9 ISK"}),
    ],
)
def test_amounts_are_those_that_it_can_be_asked_for(amount_minor: int, currency: str, fields: dict[str, str]) -> None:
    found = refused(limited(amounts=ODD), amount_minor=amount_minor, currency=currency)
    assert found.keys() == fields.keys()
    assert all(message.startswith(fields[name]) for name, message in found.items())


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("customer.email", {"customer": {"email": "ann@example.com"}}),
        ("metadata.order", {"metadata": {"order": "7"}}),
        ("description", {"description": "Book"}),
    ],
)
def test_what_it_needs_must_be_there(name: str, given: dict[str, Any]) -> None:
    assert refused(limited(required_fields=(name,))) == {name: NEEDED}
    assert refused(limited(required_fields=(name,)), **given) == {}


def test_a_return_url_may_be_the_tenants() -> None:
    needy = limited(required_fields=("success_url",), shortest_life_seconds=60, longest_life_seconds=3600)
    assert refused(needy) == {}
    assert describe_limits({"odd": needy, "sandbox": PLAIN}) == {
        "odd": {"needs": ["success_url"], "shortest": 60, "longest": 3600},
        "sandbox": {"needs": [], "shortest": None, "longest": None},
    }


def test_metadata_is_what_it_keeps() -> None:
    small = limited(metadata_pairs_max=2, metadata_key_length_max=3, metadata_value_length_max=4)
    assert refused(small, metadata={"abc": "abcd", "b": ""}) == {}
    assert refused(small, metadata={"a": "", "b": "", "c": ""}) == {
        "metadata": "has more than the 2 pairs that this provider keeps"
    }
    assert set(refused(small, metadata={"abcd": "", "b": "abcde"})) == {"metadata.abcd", "metadata.b"}


@pytest.mark.parametrize("name", ["amount", "customer", "customer.", "metadata", "payer.email", ""])
def test_only_fields_of_a_deposit_can_be_needed(name: str) -> None:
    with pytest.raises(ValueError, match="is no field of a deposit"):
        limited(required_fields=(name,))
