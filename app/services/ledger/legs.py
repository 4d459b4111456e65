"""A locked wallet's running balance, and the columns of the entries that are made of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from models import new_id

# The columns that all entries of a posting share, and those of one leg.
TRANSFER_COLUMNS = ("transfer_id", "transfer_key", "currency", "type", "description")
LEG_COLUMNS = (
    *("id", "wallet_id", "wallet_version", "direction", "amount_minor"),
    *("balance_before_minor", "balance_after_minor"),
)


@dataclass(slots=True)
class RunningWallet:
    """A locked wallet and its running balance and version while entries are made."""

    id: uuid.UUID
    balance_minor: int
    version: int

    def enter(self, direction: int, amount_minor: int) -> tuple[object, ...]:
        """Move the running balance; return the values of LEG_COLUMNS."""
        before = self.balance_minor
        self.balance_minor += direction * amount_minor
        self.version += 1
        return new_id(), self.id, self.version, direction, amount_minor, before, self.balance_minor
