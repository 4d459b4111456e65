"""The sweep: rings for whatever is due, and keeps the house. Bounded, harmless when done twice."""

from __future__ import annotations

from sqlalchemy import text

from app.runtime.runtime import Runtime
from app.services.partitions.keeping import analyze_daily, keep_partitions
from app.services.upkeep import duties
from app.services.webhooks.waiting_reversals import end_waiting

# One statement's worth of expired credentials; the rest goes at the next housekeeping.
HOUSEKEEPING_ROWS_MAX = 10_000


def sweep(runtime: Runtime) -> None:
    """Ring every queue that has due work, whether or not a bell is set, and note that it was here."""
    # Two transactions: a heartbeat that cannot be written keeps no queue from being rung.
    with runtime.database.transaction("worker") as connection:
        due = (
            connection.execute(
                text(
                    "select exists (select from webhook_work where due_at <= now()) as settle,"
                    " exists (select from payment_work where due_at <= now()) as provider,"
                    " exists (select from notification_work) as notify"
                )
            )
            .mappings()
            .one()
        )
    for queue, is_due in due.items():
        if is_due:
            runtime.doorbells.ring_regardless(queue)
    with runtime.database.transaction("worker") as connection:
        connection.execute(
            text(
                "insert into heartbeats (name, at) values ('sweep', now())"
                " on conflict (name) do update set at = excluded.at"
            )
        )


def housekeep(runtime: Runtime) -> None:
    """Remove expired credentials, fold counts, end what waited long enough, make partitions of months to come."""
    duties.run(
        runtime,
        "sweep",
        _remove_tickets,
        _remove_tokens,
        _fold_counts,
        end_waiting,
        keep_partitions,
        analyze_daily,
    )


def _remove_tickets(runtime: Runtime) -> None:
    _remove(
        runtime,
        "delete from socket_tickets where ticket_sha256 in"
        " (select ticket_sha256 from socket_tickets where expires_at < now() limit :rows for update skip locked)",
    )


def _remove_tokens(runtime: Runtime) -> None:
    _remove(
        runtime,
        "delete from client_tokens where id in (select id from client_tokens"
        " where expires_at < now() - interval '1 day' limit :rows for update skip locked)",
    )


def _remove(runtime: Runtime, statement: str) -> None:
    with runtime.database.transaction("worker") as connection:
        connection.execute(text(statement), {"rows": HOUSEKEEPING_ROWS_MAX})


def _fold_counts(runtime: Runtime) -> None:
    with runtime.database.transaction("worker") as connection:
        connection.execute(text("select fold_payment_counts()"))
