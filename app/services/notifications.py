"""Notifications: numbered 1, 2, 3, ... per tenant after their commit, published as hints, read back by number."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Connection, Row, RowMapping, text

from app.core.payments import Payment, format_time, present_payment
from app.metrics import NOTIFICATIONS_PUBLISHED
from app.runtime import Runtime
from models import Database, alone, new_id
from models.row_sets import encode_rows, row_set

# More than a settled batch has, so that one look is enough for it, and still small enough for one message.
NUMBER_BATCH = 600

# First half of the advisory lock's key, so that it meets no other use of advisory locks.
_LOCK_SPACE = 0x6E6F7469

_NOTIFICATION_COLUMNS = {
    "id": "uuid",
    "tenant_id": "uuid",
    "user_id": "text",
    "payment_id": "uuid",
    "type": "text",
    "payload": "jsonb",
}
_NOTIFY = text(
    f"""
    with written as (
        insert into notifications ({", ".join(_NOTIFICATION_COLUMNS)})
        select {", ".join(_NOTIFICATION_COLUMNS)} from {row_set(_NOTIFICATION_COLUMNS)}
        returning id, tenant_id, user_id
    )
    insert into notification_work (notification_id, tenant_id, user_id)
    select id, tenant_id, user_id from written
    """  # noqa: S608  # constants
)


def write(connection: Connection, events: list[tuple[Payment, str]]) -> None:
    """Writes a notification per (payment, type), in the transaction that decides; it has no number yet."""
    if events:
        rows = [
            (new_id(), payment.tenant_id, payment.user_id, payment.id, event, present_payment(payment))
            for payment, event in events
        ]
        connection.execute(_NOTIFY, encode_rows(_NOTIFICATION_COLUMNS, rows))


# Only who holds the tenant's lock gives numbers, and looks for them after it was granted: statements of one message see
# what was committed before each of them. Who did not get the lock is told by a row without a number.
_NUMBER = alone(
    """
    select set_config('sluice.may_number', pg_try_advisory_xact_lock(:space, hashtext(:tenant_id))::text, true);
    with gone as (
        delete from notification_work where sequence in (
            select sequence from notification_work where tenant_id = cast(:tenant_id as uuid)
                and current_setting('sluice.may_number') = 'true' order by sequence limit :batch)
        returning sequence, notification_id, user_id
    ), amount as (select count(*) as n from gone), counter as (
        insert into notification_counters as c (tenant_id, last_number)
        select cast(:tenant_id as uuid), n from amount where n > 0
        on conflict (tenant_id) do update set last_number = c.last_number + excluded.last_number
        returning c.last_number
    ), numbered as (
        insert into notification_numbers (tenant_id, number, notification_id, user_id)
        select cast(:tenant_id as uuid), last_number - n + row_number() over (order by sequence), notification_id,
               user_id
        from gone, counter, amount
        returning number, notification_id
    )
    select d.number as id, n.user_id, n.type, n.payload::text as payload, n.at
    from numbered d join notifications n on n.id = d.notification_id and n.tenant_id = cast(:tenant_id as uuid)
    union all
    select null, null, null, null, null where current_setting('sluice.may_number') <> 'true'
    order by id
    """
)


def present(row: RowMapping) -> dict[str, Any]:
    """Returns a numbered notification as clients get it (CONTRACT section 5)."""
    return {"id": row["id"], "type": row["type"], "payment": row["payload"], "at": format_time(row["at"])}


def _encode(row: Row[Any]) -> str:
    """Returns what `present` does as JSON; the payload is JSON already and is not taken apart."""
    return f'{{"id": {row.id}, "type": "{row.type}", "payment": {row.payload}, "at": "{format_time(row.at)}"}}'


def number_due(runtime: Runtime) -> None:
    """Numbers and publishes all notifications that wait, tenant by tenant."""
    with runtime.database.transaction("worker") as connection:
        tenant_ids = connection.execute(text("select distinct tenant_id from notification_work")).scalars().all()
    for tenant_id in tenant_ids:
        number_tenant(runtime, tenant_id)


def number_tenant(runtime: Runtime, tenant_id: uuid.UUID) -> None:
    """Numbers and publishes one tenant's waiting notifications.

    One numberer per tenant at a time: who finds another at work rings, since that one may have looked already.
    """
    while True:
        wanted = {"space": _LOCK_SPACE, "tenant_id": str(tenant_id), "batch": NUMBER_BATCH}
        rows = runtime.database.run_alone("worker", _NUMBER, wanted)
        if not rows:
            return
        if rows[0].id is None:
            runtime.doorbells.ring("notify")
            return
        runtime.doorbells.publish_notifications(
            {
                "tenant_id": str(tenant_id),
                "first": rows[0].id,
                "last": rows[-1].id,
                # The frame is encoded once here, not once per socket.
                "items": [[row.id, row.user_id, row.type, _encode(row)] for row in rows],
            }
        )
        NOTIFICATIONS_PUBLISHED.inc(len(rows))
        if len(rows) < NUMBER_BATCH:
            return


def read_after(
    database: Database, tenant_id: uuid.UUID, user_id: str | None, after: int, limit: int
) -> list[dict[str, Any]]:
    """Returns up to `limit` notifications with a number above `after`, oldest first; of one user where given.

    Those that were dropped with their partition are left out, as are the few beside them.
    """
    only_user = "" if user_id is None else "and d.user_id = :user_id"
    with database.transaction("web", tenant_id) as connection:
        rows = connection.execute(
            text(
                "select d.number as id, n.type, n.payload, n.at"  # noqa: S608  # one constant or nothing  # nosec B608
                " from notification_numbers d join notifications n on n.id = d.notification_id"
                " where d.tenant_id = :tenant_id and d.number > greatest(:after, (select held_after"
                " from notification_counters where tenant_id = :tenant_id))"
                f" {only_user} order by d.number limit :limit"
            ),
            {"tenant_id": tenant_id, "user_id": user_id, "after": after, "limit": limit},
        ).mappings()
        return [present(row) for row in rows]


def last_number(database: Database, tenant_id: uuid.UUID) -> int:
    """Returns the highest number given to the tenant's notifications so far, 0 where none was."""
    with database.transaction("web", tenant_id) as connection:
        number = connection.execute(
            text("select last_number from notification_counters where tenant_id = :tenant_id"),
            {"tenant_id": tenant_id},
        ).scalar()
    return number or 0
