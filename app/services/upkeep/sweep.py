"""The sweep, which rings for all due work, and housekeeping. Both are bounded and may be repeated."""

from __future__ import annotations

from sqlalchemy import text

from app.runtime.runtime import Runtime
from app.services.partitions.keeping import analyze_daily, keep_partitions
from app.services.upkeep import duties
from app.services.webhooks.waiting_reversals import end_waiting

# Expired credentials removed per statement; the rest is left to the next run.
HOUSEKEEPING_ROWS_MAX = 10_000


def sweep(runtime: Runtime) -> None:
    """Ring every queue that has due work, whether or not it was rung before, and write the heartbeat."""
    # Two transactions: queues are rung even if the heartbeat cannot be written.
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
    """Remove expired credentials, fold counts, end overdue waiting reversals, make and analyse partitions."""
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
