"""What every protocol renders: a payment, and money of it that goes back."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, fields, replace
from typing import Any

from sandbox.values import amounts, timestamps


@dataclass(frozen=True, slots=True)
class ProviderPayment:
    """One payment's current state; amounts in minor units, times in the stored form."""

    reference: str
    merchant: str
    merchant_reference: str
    protocol: str
    page_token: str
    status: str
    amount_minor: int
    currency: str
    received_minor: int
    received_currency: str | None
    refunded_minor: int
    disputed_minor: int
    error_message: str | None
    success_url: str | None
    failure_url: str | None
    callback_urls: dict[str, str]
    metadata: dict[str, str]
    # What the merchant asked for in the provider's own words, where an answer repeats it.
    request: dict[str, Any]
    created_at: str
    updated_at: str
    expires_at: str | None
    # Its refunds and disputes, where the provider shows them with the payment.
    money_back: tuple[MoneyBack, ...] = ()

    @property
    def remaining_minor(self) -> int:
        """The unpaid rest in minor units of the requested currency."""
        if self.received_currency not in (None, self.currency):
            return 0
        return max(0, self.amount_minor - self.received_minor)

    @property
    def reversed_minor(self) -> int:
        """What is gone again of the received money: refunded, or withdrawn by a dispute."""
        return self.refunded_minor + self.disputed_minor

    def redirect_url(self, public_url: str) -> str:
        """Return the address of this payment's pay page."""
        return f"{public_url}/pay/{self.reference}?token={self.page_token}"

    def as_json(self, public_url: str) -> dict[str, object]:
        """Return the payment as the sandbox's own API shows it."""
        received_currency = self.received_currency or self.currency
        return {
            "reference": self.reference,
            "redirect_url": self.redirect_url(public_url),
            "status": self.status,
            "amount": amounts.render(self.amount_minor, self.currency),
            "currency": self.currency,
            "merchant_reference": self.merchant_reference,
            "metadata": self.metadata,
            "received_amount": amounts.render(self.received_minor, received_currency),
            "received_currency": self.received_currency,
            "refunded_amount": amounts.render(self.reversed_minor, received_currency),
            "error_message": self.error_message,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "expires_at": self.expires_at,
        }


@dataclass(frozen=True, slots=True)
class MoneyBack:
    """A refund or a dispute: money of a payment that went back, and may come again."""

    seq: int
    # Random; protocols make their ids of it.
    token: str
    reference: str
    kind: str
    status: str
    amount_minor: int
    currency: str
    request: dict[str, Any]
    created_at: str
    updated_at: str


# Listed, so that a query reads exactly the dataclass's fields.
_STORED = [field.name for field in fields(ProviderPayment) if field.name != "money_back"]
COLUMNS = ", ".join(_STORED)
MONEY_BACK_COLUMNS = ", ".join(field.name for field in fields(MoneyBack))


def from_row(row: sqlite3.Row) -> ProviderPayment:
    """Return the payment of a row that has COLUMNS; one whose time ran out unpaid is shown as expired."""
    values = {name: row[name] for name in _STORED}
    for name in ("callback_urls", "metadata", "request"):
        values[name] = json.loads(values[name])
    payment = ProviderPayment(**values)
    if payment.status == "open" and payment.expires_at is not None and payment.expires_at <= timestamps.now():
        return replace(payment, status="expired", updated_at=payment.expires_at)
    return payment


def money_back_from_row(row: sqlite3.Row) -> MoneyBack:
    """Return the refund or dispute of a row that has MONEY_BACK_COLUMNS."""
    values = {field.name: row[field.name] for field in fields(MoneyBack)}
    values["request"] = json.loads(values["request"])
    return MoneyBack(**values)
