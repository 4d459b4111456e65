"""What a provider can do and what it takes, as its adapter declares it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.providers.amounts import AmountTable

Listing = Literal["exact", "scan", "none"]
Reversals = Literal["ids", "totals"]

# A tenant may have a default for these, so that what the deposit says does not decide.
RETURN_URLS = ("success_url", "failure_url")
DEPOSIT_FIELDS = (*RETURN_URLS, "description")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """A provider's limits.

    `idempotency_key_seconds`: how long it keeps a key; later a payment is looked up before it is created again.
    `settles_within_days`: how long its slow methods (a bank debit) take at most once the payer has committed to one.
    `capture_within_seconds`: how soon what a payer has approved must be captured, None where approving is paying;
    `capture_key_seconds`: how long it keeps the key of a capture.
    `shortest_life_seconds`, `longest_life_seconds`: how soon and how late a payment page may end, None without a limit.
    `required_fields`: what it needs of a deposit: success_url, failure_url, description, or a part of the customer or
    of the metadata, such as customer.email.
    `metadata_pairs_max` and the lengths: what it keeps of a payment's metadata.
    `listing`: whether its list finds a period exactly, has to be scanned from its newest payment on, or is not there;
    what happened within `list_lag_seconds` may be missing, and where not `lists_unpaid` what nobody has paid.
    `refund_key_seconds`: how long it keeps the key of a refund, 0 where refunds have none; `finds_refunds`: whether a
    refund is found by our id; `reads_refunds`: whether one is found by the provider's own id, else only webhooks say
    what became of it.
    `reversals`: whether money that goes back is reported in single steps, which have ids, or as a total;
    `says_lost`: whether the provider says that a dispute is lost, else it is open unless it was won.

    `can_find`: whether a payment is found by our id while its reference is not known. `can_expire`: whether the
    provider ends a payment whose time is up. `reads_money`: whether a lookup says how much came; else only webhooks do.
    `replays_create`: whether a repeated create call is answered as the first one was. `joins_events`: whether one
    delivery may hold several events. `says_mode`: whether its events say that they are about test or live payments.
    """

    amounts: AmountTable
    idempotency_key_seconds: int
    settles_within_days: int
    can_cancel: bool
    can_refund: bool
    listing: Listing
    reversals: Reversals
    can_find: bool = True
    can_expire: bool = True
    reads_money: bool = True
    replays_create: bool = True
    finds_refunds: bool = False
    reads_refunds: bool = True
    says_lost: bool = True
    refund_key_seconds: int = 0
    joins_events: bool = False
    says_mode: bool = False
    list_lag_seconds: int = 0
    lists_unpaid: bool = True
    capture_within_seconds: int | None = None
    capture_key_seconds: int = 0
    shortest_life_seconds: int | None = None
    longest_life_seconds: int | None = None
    metadata_pairs_max: int = 50
    metadata_key_length_max: int = 40
    metadata_value_length_max: int = 500
    required_fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for a required field that no deposit has."""
        for name in self.required_fields:
            group, _, part = name.partition(".")
            if name not in DEPOSIT_FIELDS and not (group in ("customer", "metadata") and part):
                raise ValueError(f"{name!r} is no field of a deposit")
