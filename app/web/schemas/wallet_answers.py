"""Bodies of answers about wallets, their entries and debits, for the OpenAPI document."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.web.schemas.answers import RowList, RowPage
from app.web.schemas.values import Time, UuidText


class WalletBody(BaseModel, title="Wallet"):
    """A user's balance in one currency; `pending` is the sum of open payments.

    `held` is the sum of refunds under way, `available` the balance without it.
    """

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


class WalletList(RowList[WalletBody]):
    """A user's wallets."""


class Entry(BaseModel):
    """One change of a wallet; `amount` is negative where money went out of it."""

    id: UuidText
    currency: str
    amount: str
    amount_minor: int
    balance_before: str
    balance_before_minor: int
    balance_after: str
    balance_after_minor: int
    type: Literal["deposit", "reversal", "reinstatement", "refund", "debit", "debit_reversal"]
    reference_id: UuidText = Field(description="The payment, or the debit.")
    reference: str | None = Field(description="The tenant's own name of a debit; null for entries of payments.")
    description: str
    at: Time


class EntryList(RowPage[Entry]):
    """A page of entries, newest first."""


class DebitBody(BaseModel, title="Debit"):
    """Money that was taken out of a user's wallet; `entry` and `reversal_entry` are its changes of the wallet."""

    id: UuidText
    user_id: str
    amount: str
    amount_minor: int
    currency: str
    reference: str
    description: str | None
    status: Literal["completed", "reversed"]
    created_at: Time
    reversed_at: Time | None
    reversal_reason: str | None
    entry: Entry
    reversal_entry: Entry | None


class DebitList(RowPage[DebitBody]):
    """A page of debits, newest first."""
