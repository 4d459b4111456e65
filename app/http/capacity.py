"""Concurrency limits per credential, user, tenant and process: for long polls and for live connections."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from dataclasses import dataclass

from app.services.access.callers import Caller

# An owner for which slots are counted: the name of the bound, and the ids of the owner.
Holder = tuple[str, uuid.UUID | None, str | None]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many slots one process has, and how many of them one tenant, user, client token and secret key may hold."""

    total: int
    tenant: int
    user: int
    token: int
    key: int = 0


class Slots:
    """Counts the slots in use in this process per token, user, key and tenant."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._lock = threading.Lock()
        self._used: Counter[Holder] = Counter()

    def acquire(self, caller: Caller) -> str | None:
        """Take a slot; return None, or the bound that is reached: token, user, key, total or tenant."""
        with self._lock:
            chain = self._chain(caller)
            full = next((holder[0] for holder, bound in chain if self._used[holder] >= bound), None)
            if full is None:
                self._used.update(holder for holder, _ in chain)
            return full

    def release(self, caller: Caller) -> None:
        """Release a slot that was acquired for the same caller."""
        with self._lock:
            for holder, _ in self._chain(caller):
                self._used[holder] -= 1
                if not self._used[holder]:
                    del self._used[holder]

    def _chain(self, caller: Caller) -> list[tuple[Holder, int]]:
        """Return the holders of the caller's slots with the bound of each, the most specific first."""
        bounds, tenant_id = self.bounds, caller.tenant_id
        if caller.user_id is None:
            own: list[tuple[Holder, int]] = [(("key", caller.key_id, None), bounds.key)]
        else:
            token: Holder = ("token", caller.token_id, None)
            own = [(token, bounds.token), (("user", tenant_id, caller.user_id), bounds.user)]
        # The process before the tenant: a full process is not the tenant's fault.
        return [*own, (("total", None, None), bounds.total), (("tenant", tenant_id, None), bounds.tenant)]
