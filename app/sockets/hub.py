"""All live connections of this process, and their limits by tenant, user, token and secret key."""

from __future__ import annotations

import uuid

import gevent

from app.http.capacity import Bounds, Slots
from app.http.problems import Refused
from app.runtime.hints import read_numbered
from app.runtime.metrics import HINTS_REJECTED, SOCKETS_OPEN
from app.services.access.callers import Caller
from app.sockets.connection import RESTARTING, LiveConnection
from app.sockets.feed import Feed
from app.sockets.rows import LiveQueries

# A person's tabs on a few devices; the rest is a client that forgot to close, and each costs tens of kilobytes.
PER_USER_MAX = 20
# One device leaves half of them to the user's others.
PER_TOKEN_MAX = 10
# A backend of fifty processes, each with a stream, which is replaced while it runs.
PER_KEY_MAX = 100
# One tenant leaves an eighth of the connections to all others: of 11,500 it may hold 10,063.
LEFT_TO_OTHERS_PART = 8
# A process that may open this few files serves an experiment; its connections are not divided.
SHARED_MIN = 100
# At the drain clients have this long to answer the close frame: the stop should take two seconds.
DRAIN_SECONDS = 0.4


def unavailable(detail: str) -> Refused:
    """Return the refusal (503) for a failure that ends within seconds."""
    return Refused(503, detail, {"Retry-After": "1"})


class Hub:
    """Holds every connection of the process; `connections_max` bounds their number."""

    def __init__(self, rows: LiveQueries, connections_max: int) -> None:
        self.rows = rows
        self.connections: set[LiveConnection] = set()
        self.feeds: dict[uuid.UUID, Feed] = {}
        self.draining = False
        left = connections_max // LEFT_TO_OTHERS_PART if connections_max >= SHARED_MIN else 0
        per_tenant = connections_max - left
        self._slots = Slots(Bounds(connections_max, per_tenant, PER_USER_MAX, PER_TOKEN_MAX, PER_KEY_MAX))

    def reserve(self, caller: Caller) -> None:
        """Acquire a slot for one more connection of this caller. Raise Refused where there is none."""
        if self.draining:
            raise unavailable("This process is about to stop.")
        full = self._slots.acquire(caller)
        if full is None:
            return
        details = {
            "token": f"A client token may have {PER_TOKEN_MAX} connections at a time.",
            "user": f"A user may have {PER_USER_MAX} connections at a time.",
            "key": f"A secret key may have {PER_KEY_MAX} connections at a time here.",
            "tenant": f"A tenant may have {self._slots.bounds.tenant} connections at a time here.",
        }
        if full in details:
            raise Refused(429, details[full], {"Retry-After": "5"})
        raise unavailable("This process has as many connections as it may hold.")

    def release(self, caller: Caller) -> None:
        """Release a slot."""
        self._slots.release(caller)

    def add(self, connection: LiveConnection) -> Feed:
        """Add a connection to its tenant's feed; return the feed."""
        tenant_id = connection.caller.tenant_id
        feed = self.feeds.get(tenant_id)
        if feed is None:
            feed = self.feeds[tenant_id] = Feed(tenant_id, self.rows)
        feed.add(connection)
        self.connections.add(connection)
        SOCKETS_OPEN.labels(connection.kind).inc()
        return feed

    def remove(self, connection: LiveConnection) -> None:
        """Remove a connection; the last one of a tenant removes the feed."""
        self.connections.discard(connection)
        SOCKETS_OPEN.labels(connection.kind).dec()
        tenant_id = connection.caller.tenant_id
        feed = self.feeds[tenant_id]
        feed.discard(connection)
        if not feed.users:
            del self.feeds[tenant_id]

    def receive(self, data: object) -> None:
        """Handle one published hint; count and ignore any other message. Never raise."""
        hint = read_numbered(data)
        if hint is None:
            HINTS_REJECTED.inc()
            return
        tenant_id, last_number = hint
        feed = self.feeds.get(tenant_id)
        if feed is not None:
            feed.receive_hint(last_number)

    def compare_counters(self) -> None:
        """Make feeds read up to their tenants' counters, also without a hint."""
        tenant_ids = list(self.feeds)
        if not tenant_ids:
            return
        for tenant_id, number in self.rows.last_numbers(tenant_ids).items():
            feed = self.feeds.get(tenant_id)
            if feed is not None:
                feed.notice(number)

    def drain(self) -> None:
        """Close every connection so that clients reconnect elsewhere, and soon cut those that do not answer."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.close(RESTARTING, "restart")
        gevent.sleep(DRAIN_SECONDS)
        for connection in tuple(self.connections):
            connection.cut()
