"""Deliveries that are sent once more, or for the first time: one, a range of an endpoint's, and tests of it.

A redelivery makes the row of work due again with a schedule of its own; bytes and `webhook-id` stay. Locks: the key of
the delivery, which only deleting it contradicts, then the row of work and the delivery, as settling takes them.
"""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, bindparam, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from app.core.deliveries.delivery_rules import TEST_EVENT, DeliveryStatus
from app.core.errors import RequestRejected
from app.core.payment import format_time
from app.runtime.runtime import Runtime
from app.services.deliveries.webhook_endpoints import find_endpoint
from app.services.records import audit
from app.services.records.audit import AuditRow
from models import new_id, prepared, read, tables

_DELIVERIES, _WORK, _NUMBERS = tables.endpoint_deliveries, tables.delivery_work, tables.notification_numbers

# Events of one transaction, which holds their rows locked, and of one request, which a person waits for.
CHUNK_EVENTS = 1_000
RANGE_EVENTS_MAX = 10_000

# The last number before a time: notifications' ids begin with the time of their decision.
_NUMBER_BEFORE = (
    select(func.coalesce(func.max(_NUMBERS.c.number), 0))
    .where(_NUMBERS.c.tenant_id == bindparam("tenant_id"))
    .where(_NUMBERS.c.notification_id < func.first_id(bindparam("since", type_=tables.notifications.c.at.type)))
)
_REDELIVER = prepared(
    """
    with wanted as (
        select n.number, n.notification_id from notification_numbers n
        where n.tenant_id = cast(:tenant_id as uuid) and n.number > greatest(cast(:after as bigint), (
            select held_after from notification_counters where tenant_id = cast(:tenant_id as uuid)))
        order by n.number limit :events
    ), known as (
        select d.id, d.event_id, d.status from wanted join endpoint_deliveries d
            on d.tenant_id = cast(:tenant_id as uuid) and d.endpoint_id = cast(:endpoint_id as uuid)
            and d.event_id = wanted.number
        for key share of d
    ), made as (
        -- Events of which the endpoint has none: they came while it was disabled, or before it was made.
        insert into endpoint_deliveries (id, tenant_id, endpoint_id, notification_id, event_id, event_type)
        select new_ordered_id(wanted.number), e.tenant_id, e.id, n.id, wanted.number, n.type
        from wanted
        join webhook_endpoints e on e.tenant_id = cast(:tenant_id as uuid) and e.id = cast(:endpoint_id as uuid)
        join notifications n on n.tenant_id = e.tenant_id and n.id = wanted.notification_id
        where cast(:status as text) is null and (e.event_types is null or n.type = any(e.event_types))
          and wanted.number not in (select event_id from known)
        order by wanted.number
        returning id
    ), chosen as (
        select id from known where cast(:status as text) is null or status = cast(:status as text)
        union all
        select id from made
    ), due as (
        -- An attempt that is under way is one of those that were asked for.
        insert into delivery_work as w (delivery_id, tenant_id, endpoint_id)
        select id, cast(:tenant_id as uuid), cast(:endpoint_id as uuid) from chosen order by id
        on conflict (delivery_id) do update set due_at = now(), attempts = 0, claim_id = null
            where w.claim_id is null or w.due_at <= now()
    ), renewed as (
        update endpoint_deliveries set status = 'pending', ended_at = null
        where tenant_id = cast(:tenant_id as uuid) and id in (select id from chosen) and status <> 'pending'
    )
    select (select max(number) from wanted) as last_event_id, (select count(*) from wanted) as events,
           (select count(*) from chosen) as deliveries
    """
)


@dataclass(frozen=True, slots=True)
class Redelivered:
    """How many deliveries were made due, and the event after which to continue; None where that was all."""

    deliveries: int
    next_after_event_id: int | None


def redeliver_one(runtime: Runtime, tenant_id: uuid.UUID, delivery_id: uuid.UUID, actor: str) -> None:
    """Make a delivery due now. Raise RequestRejected: 404, and 409 where its endpoint is disabled or deleted."""
    with runtime.database.transaction("clerk", tenant_id) as connection:
        wanted = select(_DELIVERIES.c.endpoint_id).where(
            _DELIVERIES.c.tenant_id == tenant_id, _DELIVERIES.c.id == delivery_id
        )
        endpoint_id = connection.execute(wanted.with_for_update(read=True, key_share=True)).scalar()
        if endpoint_id is None:
            raise RequestRejected(404, "There is no such delivery.")
        _check_enabled(connection, tenant_id, endpoint_id)
        row = upsert(_WORK).values(delivery_id=delivery_id, tenant_id=tenant_id, endpoint_id=endpoint_id)
        is_free = or_(_WORK.c.claim_id.is_(None), _WORK.c.due_at <= func.now())
        again = {"due_at": func.now(), "attempts": 0, "claim_id": None}
        connection.execute(row.on_conflict_do_update(index_elements=["delivery_id"], set_=again, where=is_free))
        ended = (_DELIVERIES.c.id == delivery_id, _DELIVERIES.c.status != DeliveryStatus.PENDING)
        connection.execute(update(_DELIVERIES).where(*ended).values(status=DeliveryStatus.PENDING, ended_at=None))
        detail = {"endpoint_id": str(endpoint_id), "delivery_id": str(delivery_id)}
        audit.write(connection, [AuditRow(tenant_id, actor, "delivery_redelivered", detail)])
    runtime.doorbells.ring("deliver")


def redeliver_range(
    runtime: Runtime,
    tenant_id: uuid.UUID,
    endpoint_id: uuid.UUID,
    after: int | datetime.datetime,
    status: str | None,
    actor: str,
) -> Redelivered:
    """Make the deliveries of events after an event id or since a time due, those of one `status` where given.

    Without a status events that the endpoint never got are delivered too. Raise RequestRejected: 404, 409.
    """
    asked_after, total, next_after, events = after, 0, None, 0
    while True:
        with runtime.database.transaction("clerk", tenant_id, by_keys="few") as connection:
            _check_enabled(connection, tenant_id, endpoint_id)
            if isinstance(after, datetime.datetime):
                found = connection.execute(_NUMBER_BEFORE, {"tenant_id": tenant_id, "since": after})
                after = int(found.scalar_one())
            wanted = {"tenant_id": tenant_id, "endpoint_id": endpoint_id, "after": after, "status": status}
            row = read(connection, _REDELIVER, {**wanted, "events": CHUNK_EVENTS})[0]
            total, events = total + row.deliveries, events + row.events
            is_whole, next_after = row.events < CHUNK_EVENTS, row.last_event_id
            if is_whole or events >= RANGE_EVENTS_MAX:
                detail = {"endpoint_id": str(endpoint_id), "after": str(asked_after), "status": status}
                rows = [AuditRow(tenant_id, actor, "deliveries_redelivered", {**detail, "deliveries": total})]
                audit.write(connection, rows)
        runtime.doorbells.ring("deliver")
        if is_whole or events >= RANGE_EVENTS_MAX:
            return Redelivered(total, None if is_whole else next_after)
        after = next_after


def send_test(runtime: Runtime, tenant_id: uuid.UUID, endpoint_id: uuid.UUID, actor: str) -> uuid.UUID:
    """Make a delivery of type `endpoint.test` and return its id. Raise RequestRejected: 404, 409."""
    delivery_id = new_id()
    now = format_time(datetime.datetime.now(datetime.UTC))
    message = orjson.dumps({"id": None, "type": TEST_EVENT, "endpoint_id": str(endpoint_id), "at": now})
    of: dict[str, Any] = {"tenant_id": tenant_id, "endpoint_id": endpoint_id}
    with runtime.database.transaction("clerk", tenant_id) as connection:
        _check_enabled(connection, tenant_id, endpoint_id)
        connection.execute(insert(_DELIVERIES).values(id=delivery_id, **of, event_type=TEST_EVENT, message=message))
        connection.execute(insert(_WORK).values(delivery_id=delivery_id, **of))
        detail = {"endpoint_id": str(endpoint_id), "delivery_id": str(delivery_id)}
        audit.write(connection, [AuditRow(tenant_id, actor, "endpoint_tested", detail)])
    runtime.doorbells.ring("deliver")
    return delivery_id


def _check_enabled(connection: Connection, tenant_id: uuid.UUID, endpoint_id: uuid.UUID) -> None:
    if find_endpoint(connection, tenant_id, endpoint_id).disabled_at is not None:
        raise RequestRejected(409, "The webhook endpoint is disabled.", code="endpoint_disabled")
