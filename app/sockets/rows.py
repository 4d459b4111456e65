"""What live connections read from the database: counters, and notifications by number."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass

from sqlalchemy import text

from app.services.notifications import present
from app.sockets.notification import Notification
from models import Database

# Fits an empty outbox; some milliseconds of reading.
PAGE_ROWS = 200

_LAST = text("select last_number from notification_counters where tenant_id = :tenant_id")
_LASTS = text("select tenant_id, last_number from notification_counters where tenant_id = any(:tenant_ids)")
_PAGE = (
    "select d.number as id, d.user_id, n.type, n.payload, n.at"
    " from notification_numbers d join notifications n on n.tenant_id = d.tenant_id and n.id = d.notification_id"
    " where d.tenant_id = :tenant_id and d.number > :after {only_user} order by d.number limit :limit"
)
_PAGE_OF_TENANT = text(_PAGE.format(only_user=""))
_PAGE_OF_USER = text(_PAGE.format(only_user="and d.user_id = :user_id"))


@dataclass(frozen=True, slots=True)
class Rows:
    """The database as live connections read it. All methods raise sqlalchemy.exc.SQLAlchemyError where it is down."""

    database: Database

    def last_number(self, tenant_id: uuid.UUID) -> int:
        """Returns the highest number given to the tenant's notifications, 0 where none was."""
        with self.database.transaction("web", tenant_id) as connection:
            return connection.execute(_LAST, {"tenant_id": tenant_id}).scalar() or 0

    def last_numbers(self, tenant_ids: list[uuid.UUID]) -> dict[uuid.UUID, int]:
        """Returns the highest number of each of the tenants that have any."""
        # The worker's role sees all tenants' counters: one statement, where web's would take one per tenant.
        with self.database.transaction("worker") as connection:
            rows = connection.execute(_LASTS, {"tenant_ids": tenant_ids}).all()
        return {row.tenant_id: row.last_number for row in rows}

    def read_page(self, tenant_id: uuid.UUID, after: int, user_id: str | None = None) -> list[Notification]:
        """Returns up to PAGE_ROWS notifications above `after` in rising order, of one user where given."""
        statement = _PAGE_OF_TENANT if user_id is None else _PAGE_OF_USER
        values = {"tenant_id": tenant_id, "after": after, "limit": PAGE_ROWS}
        if user_id is not None:
            values["user_id"] = user_id
        with self.database.transaction("web", tenant_id) as connection:
            rows = connection.execute(statement, values).mappings().all()
        return [Notification(row["id"], row["user_id"], row["type"], json.dumps(present(row))) for row in rows]

    def origin_is_known(self, origin: str) -> bool:
        """Tells whether any tenant allows `origin`."""
        with self.database.transaction("door") as connection:
            return bool(connection.execute(text("select door_origin_is_known(:origin)"), {"origin": origin}).scalar())

    def answers(self) -> bool:
        """Returns True; raises where the database does not answer."""
        with self.database.transaction("door"):
            return True
