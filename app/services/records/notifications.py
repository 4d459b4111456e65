"""Notifications: numbered 1, 2, 3, ... per tenant as they can be seen, published as hints, read back by number.

The statement that numbers them also writes the deliveries to the tenant's webhook endpoints: whatever was numbered is
delivered, and every delivery has its number from the start.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from sqlalchemy import Connection, RowMapping, func, select

from app.core.payment import Payment, format_time, present_payment
from app.runtime.hints import Hint, numbered_hint
from app.runtime.metrics import NOTIFICATIONS_PUBLISHED
from app.runtime.runtime import Runtime
from app.services.records import database_trouble
from app.services.records.numbering_statements import NEW_ROWS, NUMBER, NUMBER_SINGLE
from models import Database, Row, Trouble, buffer, new_id, prepared, read, tables
from models.array_params import uuid_array
from models.sql import columns, sql

log = structlog.get_logger(__name__)

# More than a settled batch has, so that one query is enough for it, and still small enough for one message.
NUMBER_BATCH = 600

# Tenants of one query; each may have a batch.
TENANTS_MAX = 20

# First half of the advisory lock's key, so that it meets no other use of advisory locks.
_LOCK_SPACE = 0x6E6F7469

_COUNTERS, _NUMBERS = tables.notification_counters, tables.notification_numbers
# A set is read in its order, so a payment's notifications wait in the order of its versions.
_QUEUE = prepared(
    sql(
        """
        with written as ({insert} returning id, tenant_id, user_id)
        insert into notification_work (notification_id, tenant_id, user_id)
        select id, tenant_id, user_id from written
        """,
        insert=NEW_ROWS.insert(),
    )
)

# Numbering takes the tenant's advisory lock first, so that only a session which is not ours can hold the row of its
# counter. Settling, which shares the transaction, waits for that no longer than this; the numbers are then given later.
COUNTER_LOCK_MS = 250

_NOTHING_BROUGHT = NEW_ROWS.encode_none()

# A payment as a notification shows it, the notification's type, and what else it is about, by its name.
Event = tuple[Payment, str, Mapping[str, Any] | None]


@dataclass(slots=True)
class Numbering:
    """What was numbered: (highest number, how many) by tenant; and tenants whose numbers another was giving.

    `has_deliveries`: some of it is to be delivered to webhook endpoints.
    """

    numbered: dict[uuid.UUID, tuple[int, int]]
    left_to_others: list[uuid.UUID]
    has_deliveries: bool = False

    @property
    def unfinished(self) -> list[uuid.UUID]:
        """Tenants of which more may wait than were numbered."""
        return [tenant_id for tenant_id, (_, count) in self.numbered.items() if count >= NUMBER_BATCH]


def queue(connection: Connection, events: Sequence[Event]) -> None:
    """Write notifications in the transaction that decides; they wait for their numbers, which a worker gives."""
    if events:
        buffer(connection, _QUEUE, NEW_ROWS.encode([_row(event) for event in events]))


def number(connection: Connection, events: Sequence[Event]) -> Numbering:
    """Write notifications in the worker's transaction that decides and number them, after those that wait.

    To be called last: until the commit no other gives numbers to these tenants; where another does, they wait. The
    caller then publishes.
    """
    if not events:
        return Numbering({}, [])
    tenant_ids = {payment.tenant_id for payment, *_ in events}
    brought = NEW_ROWS.encode([_row(event) for event in events])
    return _sort(read(connection, NUMBER, _wanted(tenant_ids) | brought))


def number_due(runtime: Runtime) -> None:
    """Give numbers to all waiting notifications and publish them."""
    with runtime.database.transaction("worker") as connection:
        tenant_ids = connection.execute(select(tables.notification_work.c.tenant_id).distinct()).scalars().all()
    for first in range(0, len(tenant_ids), TENANTS_MAX):
        some = tenant_ids[first : first + TENANTS_MAX]
        try:
            number_tenants(runtime, some)
        except Exception as error:  # one tenant's rows do not keep the numbers from the others
            _note_failure(runtime, error, some)
            _number_each(runtime, some)


def _number_each(runtime: Runtime, tenant_ids: Sequence[uuid.UUID]) -> None:
    for tenant_id in tenant_ids:
        try:
            number_tenants(runtime, [tenant_id])
        except Exception as error:  # its notifications wait for the next sweep
            if _note_failure(runtime, error, [tenant_id]) == "connection":
                return


def _note_failure(runtime: Runtime, error: Exception, tenant_ids: Sequence[uuid.UUID]) -> Trouble | None:
    trouble = database_trouble.note(runtime, "notify", error)
    if trouble is None:
        log.error("not_numbered", tenants=[str(tenant_id) for tenant_id in tenant_ids], exc_info=error)
    return trouble


def number_tenants(runtime: Runtime, tenant_ids: Collection[uuid.UUID]) -> None:
    """Give numbers to the waiting notifications of some tenants and publish them.

    One numberer per tenant at a time: one that finds the lock taken rings, since the holder may have missed new rows.
    """
    while tenant_ids:
        rows = runtime.database.run_single("worker", NUMBER_SINGLE, _wanted(tenant_ids) | _NOTHING_BROUGHT)
        numbering = _sort(rows)
        runtime.doorbells.publish(list_hints(numbering))
        if numbering.has_deliveries:
            runtime.doorbells.ring("deliver")
        if numbering.left_to_others:
            runtime.doorbells.ring("notify")
        tenant_ids = numbering.unfinished


def _row(event: Event) -> tuple[Any, ...]:
    """Return the values of NEW_ROWS; the payload is encoded here, for the database and for the sockets."""
    payment, kind, about = event
    payload = orjson.dumps(present_payment(payment))
    return new_id(), payment.tenant_id, payment.user_id, payment.id, kind, payload, about


def _wanted(tenant_ids: Collection[uuid.UUID]) -> dict[str, Any]:
    return {
        "tenant_ids": uuid_array(tenant_ids),
        "space": _LOCK_SPACE,
        "batch": NUMBER_BATCH,
        "lock_timeout": str(COUNTER_LOCK_MS),
    }


def _sort(rows: Sequence[Row]) -> Numbering:
    numbering = Numbering({}, [])
    for row in rows:
        if row.last_number is None:
            numbering.left_to_others.append(row.tenant_id)
        else:
            numbering.numbered[row.tenant_id] = (row.last_number, row.numbered)
            numbering.has_deliveries |= row.has_deliveries
    return numbering


def present(row: Mapping[str, Any] | RowMapping) -> dict[str, Any]:
    """Return a numbered notification as clients get it (CONTRACT section 5)."""
    shown = {"id": row["id"], "type": row["type"], "payment": row["payload"], "at": format_time(row["at"])}
    return shown | (row["about"] or {})


def encode(number: int, kind: str, payload: str, at: datetime.datetime, about: str | None) -> str:
    """Return the JSON of what `present` returns; `payload` and `about` are JSON as the database holds it."""
    more = "" if about is None else f", {about[1:-1]}"
    return f'{{"id": {number}, "type": "{kind}", "payment": {payload}, "at": "{format_time(at)}"{more}}}'


def list_hints(numbering: Numbering) -> list[Hint]:
    """Return what is to be published of numbers that are committed: a hint per tenant."""
    NOTIFICATIONS_PUBLISHED.inc(sum(count for _, count in numbering.numbered.values()))
    return [numbered_hint(tenant_id, last) for tenant_id, (last, _) in numbering.numbered.items()]


def read_after(
    database: Database, tenant_id: uuid.UUID, user_id: str | None, after: int, limit: int
) -> list[dict[str, Any]]:
    """Return up to `limit` notifications with a number above `after`, oldest first; of one user where given.

    Those that were dropped with their partition are left out, as are the few next to them.
    """
    held_after = select(_COUNTERS.c.held_after).where(_COUNTERS.c.tenant_id == tenant_id).scalar_subquery()
    wanted = (
        select(_NUMBERS.c.number.label("id"), *columns(tables.notifications, "type", "payload", "at", "about"))
        .join_from(_NUMBERS, tables.notifications, tables.notifications.c.id == _NUMBERS.c.notification_id)
        .where(_NUMBERS.c.tenant_id == tenant_id, _NUMBERS.c.number > func.greatest(after, held_after))
        .order_by(_NUMBERS.c.number)
        .limit(limit)
    )
    if user_id is not None:
        wanted = wanted.where(_NUMBERS.c.user_id == user_id)
    with database.transaction("web", tenant_id) as connection:
        return [present(row) for row in connection.execute(wanted).mappings()]


def last_number(database: Database, tenant_id: uuid.UUID) -> int:
    """Return the highest number given to the tenant's notifications so far, 0 where none was."""
    with database.transaction("web", tenant_id) as connection:
        number = connection.execute(select(_COUNTERS.c.last_number).where(_COUNTERS.c.tenant_id == tenant_id)).scalar()
    return number or 0
