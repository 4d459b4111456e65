"""What the API takes and answers, as typed dictionaries: later versions may add keys.

Amounts are decimal strings with exactly the currency's digits; their `_minor` twins are integers in minor units. Times
are RFC 3339 in UTC.
"""

from __future__ import annotations

from typing import Generic, Literal, NotRequired, TypedDict, TypeVar

Item = TypeVar("Item")
PaymentStatus = Literal["pending", "processing", "completed", "failed", "cancelled"]


class Customer(TypedDict, total=False):
    """The payer, as far as the provider is to know."""

    email: str
    name: str
    phone: str
    country: str
    locale: str


class NextAction(TypedDict):
    """What the payer has to do: open `url` (type `redirect`) or follow `message` on a device (type `prompt`)."""

    type: Literal["redirect", "prompt"]
    url: NotRequired[str]
    message: NotRequired[str]


class Payment(TypedDict):
    """A payment."""

    id: str
    version: int
    user_id: str
    amount: str
    amount_minor: int
    currency: str
    status: PaymentStatus
    exception: str | None
    provider_id: str
    provider_reference: str | None
    redirect_url: str | None
    next_action: NextAction | None
    failure_reason: str | None
    pending_reason: str | None
    metadata: dict[str, str]
    created_at: str
    updated_at: str
    expires_at: str
    completed_at: str | None
    committed_until: str | None
    last_attempt_error: str | None
    received_amount: str | None
    received_currency: str | None
    reversed_amount_minor: int


class Refund(TypedDict):
    """Money of a payment that goes back to its payer."""

    id: str
    payment_id: str
    amount: str
    amount_minor: int
    currency: str
    status: Literal["pending", "processing", "completed", "failed"]
    provider_reference: str | None
    reason: str | None
    failure_reason: str | None
    metadata: dict[str, str]
    created_at: str
    updated_at: str


class Dispute(TypedDict):
    """A payer's dispute at the provider."""

    id: str
    status: Literal["opened", "won", "lost"]
    reason: str | None
    evidence_due_at: str | None
    opened_at: str
    closed_at: str | None


class Event(TypedDict):
    """A notification; `id` rises in the order in which events can be seen, `payment` is as it was then."""

    id: int
    type: str
    payment: Payment
    at: str
    refund: NotRequired[Refund]
    dispute: NotRequired[Dispute]


class Wallet(TypedDict):
    """A user's money in one currency; `available` is the balance without what refunds hold."""

    currency: str
    balance: str
    balance_minor: int
    pending: str
    pending_minor: int
    held: str
    held_minor: int
    available: str
    available_minor: int
    version: int


class Entry(TypedDict):
    """One change of a wallet; `reference_id` is its payment or debit, `reference` the shop's own name of a debit."""

    id: str
    currency: str
    amount: str
    amount_minor: int
    balance_before: str
    balance_before_minor: int
    balance_after: str
    balance_after_minor: int
    type: str
    reference_id: str
    reference: str | None
    description: str
    at: str


class Debit(TypedDict):
    """Money that was taken out of a user's wallet."""

    id: str
    user_id: str
    amount: str
    amount_minor: int
    currency: str
    reference: str
    description: str | None
    status: Literal["completed", "reversed"]
    created_at: str
    reversed_at: str | None
    reversal_reason: str | None
    entry: Entry
    reversal_entry: Entry | None


class Provider(TypedDict):
    """A provider of the tenant."""

    id: str
    name: str
    adapter: str
    currencies: list[str]
    status: Literal["ok", "paused", "disabled"]
    is_default: bool


class ClientToken(TypedDict):
    """The credential of one user's browser; answer it to the page as it is."""

    token: str
    expires_at: str
    sockets_url: str


class Page(TypedDict, Generic[Item]):
    """A page of a list; `next_cursor` asks for the next one and is null on the last."""

    data: list[Item]
    next_cursor: str | None


class Rows(TypedDict, Generic[Item]):
    """A list that comes as a whole."""

    data: list[Item]


class FieldError(TypedDict):
    """What is wrong with one field."""

    field: str
    message: str
