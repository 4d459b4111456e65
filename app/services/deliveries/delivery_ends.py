"""Ends the deliveries that wait for an endpoint which gets no more, and deletes ended ones once they are old."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, text

from app.runtime.runtime import Runtime
from models import prepared, read

# Ended in the transaction that disables or deletes an endpoint, which a request may wait for; the rest ends as it
# becomes due.
ENDED_ROWS_MAX = 10_000
# Deleted in one transaction, and transactions of one run: 2,000 deliveries a second, above what a process delivers.
DELETED_ROWS_MAX = 5_000
DELETIONS_MAX = 24

# What is under way is left to its own settling. The written attempt says why the delivery ended.
_END_WAITING = prepared(
    """
    with ended as (
        delete from delivery_work where delivery_id in (
            select delivery_id from delivery_work
            where tenant_id = cast(:tenant_id as uuid) and endpoint_id = cast(:endpoint_id as uuid)
              and (claim_id is null or due_at <= now())
            order by due_at limit :rows for update skip locked)
        returning delivery_id
    ), settled as (
        update endpoint_deliveries d set status = 'failed', attempts = d.attempts + 1, ended_at = now()
        from ended where d.tenant_id = cast(:tenant_id as uuid) and d.id = ended.delivery_id
        returning d.id, d.tenant_id, d.attempts
    )
    insert into delivery_attempts (delivery_id, number, tenant_id, milliseconds, error)
    select id, attempts, tenant_id, 0, :error from settled
    returning delivery_id
    """
)
# Ids begin with the time of their making, so that the primary key finds the oldest. A delivery that is made due again
# meanwhile has its row locked and stays.
_DELETE_OLD = text(
    """
    with old as (
        select id from endpoint_deliveries
        where id < first_id(now() - make_interval(days => :days)) and status <> 'pending'
        order by id limit :rows for update skip locked
    ), attempts as (
        delete from delivery_attempts a using old where a.delivery_id = old.id
    )
    delete from endpoint_deliveries d using old where d.id = old.id
    """
)


def end_waiting(connection: Connection, tenant_id: uuid.UUID, endpoint_id: uuid.UUID, error: str) -> int:
    """End the deliveries that wait for an endpoint as failed, by `error`; return how many."""
    wanted = {"tenant_id": tenant_id, "endpoint_id": endpoint_id, "error": error, "rows": ENDED_ROWS_MAX}
    return len(read(connection, _END_WAITING, wanted))


def delete_old(runtime: Runtime) -> None:
    """Delete ended deliveries that were made before the days for which they are kept, with their attempts."""
    wanted = {"days": max(1, runtime.settings.delivery_days), "rows": DELETED_ROWS_MAX}
    for _ in range(DELETIONS_MAX):
        with runtime.database.transaction("worker", by_keys="few") as connection:
            if connection.execute(_DELETE_OLD, wanted).rowcount < DELETED_ROWS_MAX:
                return
