"""Runs the sweep, which rings for all due work, and housekeeping. Both are bounded and may be repeated."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, delete, func, select, text

from app.runtime.runtime import Runtime
from app.services.deliveries.delivery_ends import delete_old
from app.services.partitions.keeping import analyze_daily, keep_partitions
from app.services.payments.calls.claim_statements import HAS_DUE
from app.services.records import heartbeats
from app.services.upkeep import duties
from app.services.webhooks.claims import FROM_THE_START
from app.services.webhooks.waiting_reversals import end_waiting
from models import tables

# Expired credentials removed per statement; the rest is left to the next run.
HOUSEKEEPING_ROWS_MAX = 10_000

_QUEUES = f"""
    select exists (select from waiting) as settle,
           exists ({HAS_DUE}) as provider,
           exists (select from notification_work) as notify,
           exists (select from delivery_work where due_at <= now()) as deliver
"""  # noqa: S608  # constants
_DUE = text(FROM_THE_START + _QUEUES)


def sweep(runtime: Runtime) -> None:
    """Ring every queue that has due work, whether or not it was rung before, and write the heartbeat."""
    # Two transactions: queues are rung even if the heartbeat cannot be written.
    with runtime.database.transaction("worker") as connection:
        due = connection.execute(_DUE).mappings().one()
    for queue, is_due in due.items():
        if is_due:
            runtime.doorbells.ring_regardless(queue)
    with runtime.database.transaction("worker") as connection:
        heartbeats.write(connection, "sweep")


def housekeep(runtime: Runtime) -> None:
    """Remove expired credentials and old deliveries, fold counts, end overdue waiting reversals, keep partitions."""
    duties.run(
        runtime,
        "sweep",
        _remove_tickets,
        _remove_tokens,
        delete_old,
        _fold_counts,
        end_waiting,
        keep_partitions,
        analyze_daily,
    )


def _remove_tickets(runtime: Runtime) -> None:
    tickets = tables.socket_tickets
    _remove(runtime, tickets.c.ticket_sha256, tickets.c.expires_at < func.now())


def _remove_tokens(runtime: Runtime) -> None:
    tokens = tables.client_tokens
    _remove(runtime, tokens.c.id, tokens.c.expires_at < func.now() - datetime.timedelta(days=1))


def _remove(runtime: Runtime, key: Column[Any], is_expired: ColumnElement[bool]) -> None:
    expired = select(key).where(is_expired).limit(HOUSEKEEPING_ROWS_MAX).with_for_update(skip_locked=True)
    # A subquery of the same table would correlate with the statement.
    expired = expired.correlate(None)
    with runtime.database.transaction("worker") as connection:
        connection.execute(delete(key.table).where(key.in_(expired)))


def _fold_counts(runtime: Runtime) -> None:
    with runtime.database.transaction("worker") as connection:
        connection.execute(text("select fold_payment_counts()"))
