"""Places of which each credential, user and tenant may hold a part: for requests that wait and for live connections."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from dataclasses import dataclass

from app.services.access.callers import Caller

# What a place is counted for: the bound's name, and whose it is.
Holder = tuple[str, uuid.UUID | None, str | None]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many places one process has, and how many of them one tenant, user, client token and secret key may hold."""

    total: int
    tenant: int
    user: int
    token: int
    key: int = 0


class Places:
    """Counts the places taken in this process. The tokens of a user share its bound, the keys of a tenant theirs."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._lock = threading.Lock()
        self._taken: Counter[Holder] = Counter()

    def take(self, caller: Caller) -> str | None:
        """Take a place; return None, or the bound that leaves none: token, user, key, total or tenant."""
        with self._lock:
            chain = self._chain(caller)
            full = next((holder[0] for holder, bound in chain if self._taken[holder] >= bound), None)
            if full is None:
                self._taken.update(holder for holder, _ in chain)
            return full

    def give_back(self, caller: Caller) -> None:
        """Give a place back that was taken for the same caller."""
        with self._lock:
            for holder, _ in self._chain(caller):
                self._taken[holder] -= 1
                if not self._taken[holder]:
                    del self._taken[holder]

    def _chain(self, caller: Caller) -> list[tuple[Holder, int]]:
        """Return whom a place of the caller is counted for, and the bound of each: the most specific one first."""
        bounds, tenant_id = self.bounds, caller.tenant_id
        if caller.user_id is None:
            own: list[tuple[Holder, int]] = [(("key", caller.key_id, None), bounds.key)]
        else:
            token: Holder = ("token", caller.token_id, None)
            own = [(token, bounds.token), (("user", tenant_id, caller.user_id), bounds.user)]
        # The process before the tenant: of a process that is full nobody can say that it is the tenant's doing.
        return [*own, (("total", None, None), bounds.total), (("tenant", tenant_id, None), bounds.tenant)]
