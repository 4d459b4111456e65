"""Stores the results and the progress of proofs, and raises an alarm where the books do not hold."""

from __future__ import annotations

import json
import uuid

import structlog
from sqlalchemy import Connection, text

from app.runtime.runtime import Runtime
from app.services.records import alerts
from app.services.records.alerts import AlertRow
from app.services.verification.proving import Mode, ProofReport, prove
from models import Database, new_id

log = structlog.get_logger(__name__)

# Up to this many audit rows a full proof takes seconds.
SMALL_AUDIT_ROWS = 200_000
# Below the thirty seconds after which a task is cancelled.
DUE_SECONDS_MAX = 20.0
# Long enough to find out since when an invariant is broken.
RUNS_KEPT_DAYS = 30
# Rows stored for each broken invariant; the command prints more.
ROWS_KEPT = 5

_LAST_BROKEN = text(
    "select broken from verification_runs where tenant_id is not distinct from cast(:tenant_id as uuid)"
    " order by finished_at desc limit 1"
)
_INSERT = text(
    """
    insert into verification_runs (id, mode, tenant_id, started_at, is_complete, counts, broken)
    values (:id, :mode, :tenant_id, :started_at, :is_complete, cast(:counts as jsonb), cast(:broken as jsonb))
    """
)
_WRITE_PROGRESS = text(
    """
    insert into verification_places (tenant_id, seal_number, seal_sha256, notification_number, webhooks_until,
                                     verified_at)
    values (:tenant_id, :seal_number, :seal_sha256, :notification_number, :webhooks_until, now())
    on conflict (tenant_id) do update set seal_number = excluded.seal_number, seal_sha256 = excluded.seal_sha256,
        notification_number = excluded.notification_number, webhooks_until = excluded.webhooks_until,
        verified_at = excluded.verified_at
    """
)


def choose_mode(database: Database) -> Mode:
    """Return `full` while the books can be read in seconds, else `incremental`."""
    with database.transaction("auditor") as connection:
        last = connection.execute(text("select max(id) from audit_logs")).scalar()
    return "full" if (last or 0) <= SMALL_AUDIT_ROWS else "incremental"


def record(database: Database, report: ProofReport) -> None:
    """Store a proof's result and progress; raise an alarm for a broken invariant that the last result does not name."""
    with database.transaction("auditor") as connection:
        before = connection.execute(_LAST_BROKEN, {"tenant_id": report.tenant_id}).scalar() or []
        broken = [{**each, "rows": each["rows"][:ROWS_KEPT]} for each in report.as_json()["broken"]]
        values = {
            "id": new_id(),
            "mode": report.mode,
            "tenant_id": report.tenant_id,
            "started_at": report.started_at,
            "is_complete": report.is_complete,
            "counts": json.dumps(report.counts),
            "broken": json.dumps(broken),
        }
        connection.execute(_INSERT, values)
        old = text("delete from verification_runs where finished_at < now() - make_interval(days => :days)")
        connection.execute(old, {"days": RUNS_KEPT_DAYS})
        _write_progress(connection, report)
        if {each["what"] for each in broken} - {each["what"] for each in before}:
            alerts.write(connection, [_alert(report)])


def _write_progress(connection: Connection, report: ProofReport) -> None:
    for tenant_id, reached in report.progress.items():
        connection.execute(
            _WRITE_PROGRESS,
            {
                "tenant_id": tenant_id,
                "seal_number": reached.chain.number,
                "seal_sha256": reached.chain.sha256,
                "notification_number": reached.notification_number,
                "webhooks_until": reached.webhooks_until,
            },
        )


def _alert(report: ProofReport) -> AlertRow:
    first: dict[str, str] = next(iter(report.broken.values())).rows[0]
    return AlertRow("books_broken", report.tenant_id, {"invariants": report.invariants, "first": first["subject"]})


def prove_due(runtime: Runtime, tenant_id: uuid.UUID | None = None) -> ProofReport:
    """Prove what was sealed since the last proof, for at most DUE_SECONDS_MAX, and store the result."""
    report = prove(runtime.database, "incremental", tenant_id, DUE_SECONDS_MAX)
    record(runtime.database, report)
    log.info("books_proved", verdict=report.verdict)
    return report
