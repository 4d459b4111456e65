"""Limit how many of a worker's threads the provider calls of one tenant occupy.

A call can take ten seconds, so a tenant that fills all threads makes all others wait. The share is `threads` divided by
one more than the number of tenants that have calls under way: a single tenant gets half, and one more tenant always
finds a free thread. Each process counts its own threads.
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter

from app.runtime.runtime import Runtime
from app.services.payments.provider_claims import Claim, claim_call

# What `sluice up` starts; a worker with another `--concurrency` sets its own number when it starts.
THREADS_DEFAULT = 16


class CallShares:
    """The calls under way in this process, by tenant."""

    def __init__(self, threads: int = THREADS_DEFAULT) -> None:
        self.threads = threads
        self._calls: Counter[uuid.UUID] = Counter()
        # Held while a call is claimed: claims of the same moment would not see each other.
        self._claiming = threading.Lock()
        self._counting = threading.Lock()

    def list_full(self) -> list[uuid.UUID]:
        """Return the tenants that may have no further call under way."""
        with self._counting:
            share = max(1, self.threads // (len(self._calls) + 1))
            return [tenant_id for tenant_id, calls in self._calls.items() if calls >= share]

    def claim(self, runtime: Runtime) -> tuple[Claim | None, bool]:
        """Claim one due call of a tenant that has some of its share left; `end` it afterwards."""
        with self._claiming:
            claim, is_more_due = claim_call(runtime, self.list_full())
            if claim is not None:
                self.begin(claim.tenant_id)
        return claim, is_more_due

    def begin(self, tenant_id: uuid.UUID) -> None:
        """Count a call of the tenant as under way."""
        with self._counting:
            self._calls[tenant_id] += 1

    def end(self, tenant_id: uuid.UUID) -> None:
        """Count a call of the tenant as over."""
        with self._counting:
            self._calls[tenant_id] -= 1
            if self._calls[tenant_id] <= 0:
                del self._calls[tenant_id]


# Of this worker process.
shares = CallShares()
