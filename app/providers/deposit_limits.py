"""What adapters refuse of a deposit, by their declared capabilities alone: before it is stored, without a call."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from app.core.money import AmountError, CurrencyError
from app.providers.capabilities import RETURN_URLS, Capabilities

NEEDED = "is needed by this provider"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a deposit asks for, as far as a provider may refuse it."""

    amount_minor: int
    currency: str
    metadata: Mapping[str, str]
    customer: Mapping[str, str] = field(repr=False)
    description: str | None = field(repr=False)


def find_refusals(capabilities: Mapping[str, Capabilities], wanted: Wanted) -> dict[str, dict[str, str]]:
    """Return why adapters refuse a deposit, by adapter and by field. Those that take it are not in the result."""
    found = {name: _refuse(one, wanted) for name, one in capabilities.items()}
    return {name: refused for name, refused in found.items() if refused}


def takes(capabilities: Capabilities, wanted: Wanted, return_urls: Set[str], life_seconds: int) -> bool:
    """Return whether an adapter takes a deposit that has `return_urls` and so long to be paid."""
    needed = {url for url in RETURN_URLS if url in capabilities.required_fields}
    shortest, longest = capabilities.shortest_life_seconds or 0, capabilities.longest_life_seconds or life_seconds
    return needed <= return_urls and shortest <= life_seconds <= longest and not _refuse(capabilities, wanted)


def _refuse(capabilities: Capabilities, wanted: Wanted) -> dict[str, str]:
    refused = {name: NEEDED for name in capabilities.required_fields if not _has(wanted, name)}
    try:
        capabilities.amounts.to_asked_units(wanted.amount_minor, wanted.currency)
    except CurrencyError:
        refused["currency"] = "is not one that this provider takes"
    except AmountError as error:
        refused["amount"] = f"cannot be paid at this provider: it {error}"
    if wanted.metadata:
        refused |= _refuse_metadata(capabilities, wanted.metadata)
    return refused


def _has(wanted: Wanted, name: str) -> bool:
    group, _, part = name.partition(".")
    if group == "customer":
        return bool(wanted.customer.get(part))
    if group == "metadata":
        return bool(wanted.metadata.get(part))
    return name in RETURN_URLS or bool(wanted.description)


def _refuse_metadata(capabilities: Capabilities, metadata: Mapping[str, str]) -> dict[str, str]:
    refused = {}
    if len(metadata) > capabilities.metadata_pairs_max:
        refused["metadata"] = f"has more than the {capabilities.metadata_pairs_max} pairs that this provider keeps"
    for key, value in metadata.items():
        if len(key) > capabilities.metadata_key_length_max:
            most = capabilities.metadata_key_length_max
            refused[f"metadata.{key}"] = f"is longer than the {most} characters of a key that this provider keeps"
        elif len(value) > capabilities.metadata_value_length_max:
            most = capabilities.metadata_value_length_max
            refused[f"metadata.{key}"] = f"is longer than the {most} characters that this provider keeps"
    return refused


def describe_limits(capabilities: Mapping[str, Capabilities]) -> dict[str, dict[str, object]]:
    """Return by adapter what is compared with a tenant's settings: return URLs that are needed, and pages' lives."""
    return {
        name: {
            "needs": [url for url in RETURN_URLS if url in one.required_fields],
            "shortest": one.shortest_life_seconds,
            "longest": one.longest_life_seconds,
        }
        for name, one in capabilities.items()
    }
