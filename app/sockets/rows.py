"""The queries of live connections: counters, and notifications by number."""

from __future__ import annotations

import json
import uuid
from collections.abc import Container
from dataclasses import dataclass, field

from app.services.access.callers import Caller, authenticate, is_known_origin, take_ticket
from app.services.records.notifications import NUMBER_BATCH, encode, present
from app.sockets.notification import Notification
from app.sockets.turns import Turns
from models import Database
from models.array_params import uuid_array
from models.database import single

# Fits an empty outbox; some milliseconds of reading.
PAGE_ROWS = 200
# The most that one transaction numbers, so that one query reads everything that its hint announces.
LIVE_ROWS = NUMBER_BATCH
# Two queries at a time keep one process busy; those of further tenants wait.
LIVE_TURNS = 2
LIVE_TURN_SECONDS = 1.8

_BOUNDS = single("select held_after, last_number from notification_counters where tenant_id = :tenant_id")
_LASTS = single(
    "select tenant_id, last_number from notification_counters where tenant_id = any(cast(:tenant_ids as uuid[]))"
)
_PAGE = (
    "select d.number as id, d.user_id, n.type, n.payload, n.at, n.about"
    " from notification_numbers d join notifications n on n.tenant_id = d.tenant_id and n.id = d.notification_id"
    " where d.tenant_id = :tenant_id and d.number > :after {only_user} order by d.number limit :limit"
)
_PAGE_OF_TENANT = single(_PAGE.format(only_user=""), plans_anew=True)
_PAGE_OF_USER = single(_PAGE.format(only_user="and d.user_id = :user_id"), plans_anew=True)
# Prepared: it runs for every hint, and its plan is the same for every tenant.
_LIVE = single(
    "select d.user_id, d.number, n.type, n.payload::text, n.at, n.about::text"
    " from notification_numbers d join notifications n on n.tenant_id = d.tenant_id and n.id = d.notification_id"
    " where d.tenant_id = :tenant_id and d.number > :after order by d.number limit :limit"
)


_ANSWERS = single("select 1")


@dataclass(frozen=True, slots=True)
class LivePage:
    """New notifications of a tenant: those that somebody listens for, how many there were, and the highest number."""

    notifications: list[Notification]
    count: int
    last_number: int


@dataclass(frozen=True, slots=True)
class LiveQueries:
    """The queries of live connections. All methods raise sqlalchemy.exc.SQLAlchemyError where the database is down.

    A query for one connection waits its turn; queries for all connections do not wait behind a crowd.
    """

    database: Database
    turns: Turns
    live_turns: Turns = field(default_factory=lambda: Turns(LIVE_TURNS, LIVE_TURN_SECONDS))

    def authenticate(self, credential: str) -> Caller | None:
        """Return the caller that a credential belongs to, None where it is not valid."""
        with self.turns.take():
            return authenticate(self.database, credential)

    def take_ticket(self, ticket: str) -> Caller | None:
        """Use a ticket up; return the client it was made for, None where it is not valid."""
        with self.turns.take():
            return take_ticket(self.database, ticket)

    def bounds(self, tenant_id: uuid.UUID) -> tuple[int, int]:
        """Return the number up to which the tenant's notifications were dropped, and the highest given; 0 for none."""
        with self.turns.take():
            rows = self.database.run_single("web", _BOUNDS, {"tenant_id": tenant_id}, tenant_id)
        return (rows[0].held_after, rows[0].last_number) if rows else (0, 0)

    def last_numbers(self, tenant_ids: list[uuid.UUID]) -> dict[uuid.UUID, int]:
        """Return the highest number of each of the tenants that have any."""
        # The worker's role sees all tenants' counters: one statement, where web's would take one per tenant.
        rows = self.database.run_single("worker", _LASTS, {"tenant_ids": uuid_array(tenant_ids)})
        return {row.tenant_id: row.last_number for row in rows}

    def read_page(self, tenant_id: uuid.UUID, after: int, user_id: str | None = None) -> list[Notification]:
        """Return up to PAGE_ROWS notifications above `after` in rising order, of one user where given."""
        statement = _PAGE_OF_TENANT if user_id is None else _PAGE_OF_USER
        values = {"tenant_id": tenant_id, "after": after, "limit": PAGE_ROWS}
        if user_id is not None:
            values["user_id"] = user_id
        with self.turns.take():
            rows = self.database.run_single("web", statement, values, tenant_id)
        return [Notification(row.id, row.user_id, row.type, json.dumps(present(row._asdict()))) for row in rows]

    def read_live(self, tenant_id: uuid.UUID, after: int, user_ids: Container[str | None]) -> LivePage:
        """Return the next LIVE_ROWS notifications above `after`, in rising order; only those of `user_ids` whole.

        None among `user_ids` stands for every user.
        """
        values = {"tenant_id": tenant_id, "after": after, "limit": LIVE_ROWS}
        with self.live_turns.take():
            rows = self.database.run_single("web", _LIVE, values, tenant_id)
        is_all = None in user_ids
        wanted = [
            Notification(number, user_id, kind, encode(number, kind, *shown))
            for user_id, number, kind, *shown in rows
            if is_all or user_id in user_ids
        ]
        return LivePage(wanted, len(rows), rows[-1].number if rows else after)

    def origin_is_known(self, origin: str) -> bool:
        """Return whether any tenant allows the normalised `origin`."""
        with self.turns.take():
            return is_known_origin(self.database, origin)

    def answers(self) -> bool:
        """Return True; raise where the database does not answer."""
        return bool(self.database.run_single("door", _ANSWERS, {}))
