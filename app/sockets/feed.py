"""Delivery of one tenant's notifications to its connections in this process: each number once, in order."""

from __future__ import annotations

import uuid
from typing import Any

import gevent
import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.sockets.connection import LiveConnection
from app.sockets.notification import Notification
from app.sockets.rows import LIVE_ROWS, LiveQueries

log = structlog.get_logger(__name__)

# A hint is published after the commit, so a number that is not found was not published by Sluice. A flood of such
# hints causes ten queries a second for a tenant, not thousands.
FALSE_HINT_SECONDS = 0.1


class Feed:
    """A tenant's connections by user (None: its backend, which gets all), and the last number delivered to them.

    A hint only causes a query: anyone who can write to Redis can publish one. `position` follows the rows that were
    read and the tenant's counter, never a hint; it is None until the counter was read for the first time.
    """

    def __init__(self, tenant_id: uuid.UUID, rows: LiveQueries) -> None:
        self.tenant_id = tenant_id
        self.position: int | None = None
        self.users: dict[str | None, set[LiveConnection]] = {}
        self._rows = rows
        self._counted = 0
        self._hinted = 0
        self._reader: Any = None

    def add(self, connection: LiveConnection) -> None:
        """Add a connection."""
        self.users.setdefault(connection.caller.user_id, set()).add(connection)

    def discard(self, connection: LiveConnection) -> None:
        """Remove a connection."""
        user_id = connection.caller.user_id
        connections = self.users.get(user_id, set())
        connections.discard(connection)
        if not connections:
            self.users.pop(user_id, None)

    def start_at(self, number: int) -> int:
        """Begin at the counter's value `number` unless begun; return the last number delivered."""
        if self.position is None:
            self.position = number
            self._catch_up()
        return self.position

    def receive_hint(self, last_number: int) -> None:
        """Read the notifications not delivered yet where a hint names a higher number than the last one."""
        self._hinted = max(self._hinted, last_number)
        self._catch_up()

    def notice(self, last_number: int) -> None:
        """Read everything up to the counter's value `last_number` that was not delivered yet."""
        self._counted = max(self._counted, last_number)
        self._catch_up()

    def _is_behind(self) -> bool:
        return self.position is not None and self.position < max(self._counted, self._hinted)

    def _catch_up(self) -> None:
        if self._reader is None and self._is_behind():
            self._reader = gevent.spawn(self._read)

    def _read(self) -> None:
        try:
            while self.users and self._is_behind():
                self._read_page()
        except (SQLAlchemyError, OSError) as error:
            # The next comparison of the counters tries again.
            log.warning("notifications_not_read", tenant_id=str(self.tenant_id), error=type(error).__name__)
        finally:
            self._reader = None

    def _read_page(self) -> None:
        # Taken before the query: a hint that comes during it may be about rows that the query does not see.
        hinted, self._hinted = self._hinted, 0
        counted, position = self._counted, self.position or 0
        page = self._rows.read_live(self.tenant_id, position, self.users)
        for notification in page.notifications:
            self._deliver(notification)
        self.position = position = max(position, page.last_number)
        if page.count >= LIVE_ROWS:
            self._hinted = max(self._hinted, hinted)
        elif position < counted:
            # Numbers up to the counter were committed before the query: those that are missing were dropped.
            self.position = counted
        elif position < hinted:
            gevent.sleep(FALSE_HINT_SECONDS)

    def _deliver(self, notification: Notification) -> None:
        for reader in (notification.user_id, None):
            for connection in tuple(self.users.get(reader, ())):
                connection.deliver(notification)
