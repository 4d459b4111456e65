"""Measures health and backlog: whether rows can be stored, the age of due work, and counts of rows for metrics."""

from __future__ import annotations

from sqlalchemy import Connection, text

from app.runtime.broker.queues import BROKER_ERRORS, measure_lists, measure_queues
from app.runtime.runtime import Runtime
from app.services.records import alerts
from app.services.records.alerts import AlertRow

# Work due for longer counts as not being done. Calls may wait for a limit of calls.
OVERDUE_SECONDS = {"settle": 30.0, "provider": 60.0, "notify": 30.0, "deliver": 60.0}


def check_database(runtime: Runtime) -> bool:
    """Return whether a row could be stored now. Raise nothing."""
    try:
        with runtime.database.transaction("door") as connection:
            return not connection.execute(text("select pg_is_in_recovery()")).scalar()
    except Exception:  # whatever the reason, the answer is no
        return False


def check_redis(runtime: Runtime) -> bool:
    """Return whether doorbells can be rung now. Raise nothing."""
    try:
        return bool(runtime.redis.ping())
    except Exception:  # whatever the reason, the answer is no
        return False


def read_work(runtime: Runtime) -> dict[str, dict[str, float]]:
    """Return the number of due rows and the age of the oldest in seconds, by kind of work."""
    with runtime.database.transaction("door") as connection:
        return _read_work(connection)


def _read_work(connection: Connection) -> dict[str, dict[str, float]]:
    rows = connection.execute(
        text(
            "select queue, due, oldest_seconds from watch_work()"
            " union all select 'deliver', due, oldest_seconds from watch_deliveries()"
        )
    ).all()
    return {row.queue: {"due": row.due, "oldest_seconds": float(row.oldest_seconds or 0)} for row in rows}


def read_unusable(runtime: Runtime) -> dict[str, str]:
    """Return the reasons why providers cannot be used as configured, by provider id."""
    with runtime.database.transaction("door") as connection:
        rows = connection.execute(text("select provider_id, problem from watch_providers()")).all()
    return {str(row.provider_id): row.problem for row in rows}


def find_overdue(work: dict[str, dict[str, float]]) -> list[str]:
    """Return the kinds of work that are not being done."""
    return [queue for queue, state in work.items() if state["oldest_seconds"] > OVERDUE_SECONDS[queue]]


def raise_overdue(runtime: Runtime) -> None:
    """Have an open alarm for each kind of work that is not being done, and for no other."""
    with runtime.database.transaction("worker") as connection:
        work = _read_work(connection)
        rows = [AlertRow("work_overdue", None, {"queue": queue, **work[queue]}, queue) for queue in find_overdue(work)]
        alerts.keep(connection, "work_overdue", rows, "the work is being done")


def read_counts(runtime: Runtime) -> list[tuple[str, str, float]]:
    """Return (name, label, value) of the metrics that are read from rows.

    Payments by status, open dead letters, alarms of a day, ages of duties, and results of the last proofs of the books.
    """
    with runtime.database.transaction("door") as connection:
        rows = connection.execute(
            text("select name, label, total from watch_counts() union all select name, label, total from watch_books()")
        ).all()
    return [(row.name, row.label, float(row.total)) for row in rows]


def read_queue_lengths(runtime: Runtime) -> dict[str, int] | None:
    """Return the number of waiting doorbells by queue, or None while the broker cannot be reached.

    Workers take doorbells at once: a queue that grows has no worker.
    """
    settings = runtime.settings
    try:
        if settings.broker_url in (None, settings.redis_url):
            return measure_lists(runtime.redis)
        return measure_queues(str(settings.broker_url))
    except BROKER_ERRORS:
        return None
