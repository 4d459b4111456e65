"""Places of which each tenant and each user may hold a part: for requests that wait and for live connections."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many places there are, and how many of them one tenant and one user may hold at a time."""

    total: int
    tenant: int
    user: int


class Places:
    """Counts the places taken in this process. A client token's holder is its user, whose tokens share one bound."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._lock = threading.Lock()
        self._taken = 0
        self._by_tenant: Counter[uuid.UUID] = Counter()
        self._by_user: Counter[tuple[uuid.UUID, str]] = Counter()

    def find_full(self, tenant_id: uuid.UUID, user_id: str | None) -> str | None:
        """Return which bound leaves no place: user, total or tenant; None where there is one."""
        if user_id is not None and self._by_user[tenant_id, user_id] >= self.bounds.user:
            return "user"
        # Before the tenant's: of a process that is full nobody can say that it is the tenant's doing.
        if self._taken >= self.bounds.total:
            return "total"
        return "tenant" if self._by_tenant[tenant_id] >= self.bounds.tenant else None

    def take(self, tenant_id: uuid.UUID, user_id: str | None) -> str | None:
        """Take a place; return None, or which bound leaves none. `user_id` is None for a tenant's backend."""
        with self._lock:
            full = self.find_full(tenant_id, user_id)
            if full is None:
                self._count(tenant_id, user_id, 1)
            return full

    def give_back(self, tenant_id: uuid.UUID, user_id: str | None) -> None:
        """Give a place back that was taken for the same tenant and user."""
        with self._lock:
            self._count(tenant_id, user_id, -1)

    def _count(self, tenant_id: uuid.UUID, user_id: str | None, change: int) -> None:
        self._taken += change
        self._by_tenant[tenant_id] += change
        if not self._by_tenant[tenant_id]:
            del self._by_tenant[tenant_id]
        if user_id is not None:
            self._by_user[tenant_id, user_id] += change
            if not self._by_user[tenant_id, user_id]:
                del self._by_user[tenant_id, user_id]
