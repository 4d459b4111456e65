"""One tenant's notifications on their way to its connections in this process: each number once, in order."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import gevent
import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.sockets.connection import Connection
from app.sockets.notification import Notification
from app.sockets.rows import PAGE_ROWS, Rows

log = structlog.get_logger(__name__)

# Batches kept while rows are read, which takes milliseconds; more than that is read from the database as well.
STASH_BATCHES = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """Notifications with the consecutive numbers `first` to `last`, as the numberer publishes them."""

    first: int
    last: int
    notifications: list[Notification]


class Feed:
    """A tenant's connections by user, and the last number that was handed out to them.

    Published batches are hints: one that does not follow the last number is a sign that others were lost, and all
    since then are read from the database. `position` is None until the first counter was read.
    """

    def __init__(self, tenant_id: uuid.UUID, rows: Rows) -> None:
        self.tenant_id = tenant_id
        self.position: int | None = None
        self.users: dict[str, set[Connection]] = {}
        self._rows = rows
        self._target = 0
        self._stash: list[Batch] = []
        self._reader: Any = None

    def add(self, connection: Connection) -> None:
        """Puts a connection among those that are told."""
        self.users.setdefault(str(connection.caller.user_id), set()).add(connection)

    def discard(self, connection: Connection) -> None:
        """Takes a connection out."""
        user_id = str(connection.caller.user_id)
        connections = self.users.get(user_id, set())
        connections.discard(connection)
        if not connections:
            self.users.pop(user_id, None)

    def start_at(self, number: int) -> int:
        """Begins at the counter's value `number` unless it has begun; returns the last number handed out."""
        if self.position is None:
            self.position = number
            self._apply_stash()
            self._catch_up()
        return self.position

    def receive(self, batch: Batch) -> None:
        """Hands out a published batch, or has the missing ones read first."""
        self._target = max(self._target, batch.last)
        if self.position is None or self._reader is not None:
            if len(self._stash) < STASH_BATCHES:
                self._stash.append(batch)
        elif not self._apply(batch):
            self._catch_up()

    def notice(self, last_number: int) -> None:
        """Has everything up to the counter's value `last_number` read that was not handed out yet."""
        self._target = max(self._target, last_number)
        self._catch_up()

    def _catch_up(self) -> None:
        if self.position is not None and self.position < self._target and self._reader is None:
            self._reader = gevent.spawn(self._read)

    def _read(self) -> None:
        try:
            while self.users and self.position is not None and self.position < self._target:
                self.position = self._read_page(self.position, self._target)
                self._apply_stash()
        except (SQLAlchemyError, OSError) as error:
            # The next comparison of the counters tries again.
            log.warning("notifications_not_read", tenant_id=str(self.tenant_id), error=type(error).__name__)
        finally:
            self._stash.clear()
            self._reader = None

    def _read_page(self, position: int, target: int) -> int:
        # Numbers up to `target` were committed before this read began: a page that is not full reaches it.
        page = self._rows.read_page(self.tenant_id, position)
        for notification in page:
            self._hand_out(notification)
        return page[-1].number if len(page) == PAGE_ROWS else max([target, *(n.number for n in page[-1:])])

    def _apply_stash(self) -> None:
        stash, self._stash = self._stash, []
        for batch in stash:
            self._apply(batch)

    def _apply(self, batch: Batch) -> bool:
        """Hands out what is new in `batch`; False where numbers before it are missing."""
        position = self.position or 0
        if batch.first > position + 1:
            return False
        for notification in batch.notifications:
            if notification.number > position:
                self._hand_out(notification)
        self.position = max(position, batch.last)
        return True

    def _hand_out(self, notification: Notification) -> None:
        for connection in tuple(self.users.get(notification.user_id, ())):
            connection.deliver(notification)
