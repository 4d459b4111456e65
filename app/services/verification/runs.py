"""Stores the results and the progress of proofs, and raises an alarm where the books do not hold."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, Table, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from app.runtime.runtime import Runtime
from app.services.records import alerts
from app.services.records.alerts import AlertRow
from app.services.verification.proving import prove
from app.services.verification.report import Mode, ProofReport
from models import Database, new_id, tables

log = structlog.get_logger(__name__)

# Up to this many audit rows a full proof takes seconds.
SMALL_AUDIT_ROWS = 200_000
# Below the thirty seconds after which a task is cancelled.
DUE_SECONDS_MAX = 20.0
# Long enough to find out since when an invariant is broken.
RUNS_KEPT_DAYS = 30
# Rows stored for each broken invariant; the command prints more.
ROWS_KEPT = 5


def choose_mode(database: Database) -> Mode:
    """Return `full` while the books can be read in seconds, else `incremental`."""
    with database.transaction("auditor") as connection:
        last = connection.execute(select(func.max(tables.audit_logs.c.id))).scalar()
    return "full" if (last or 0) <= SMALL_AUDIT_ROWS else "incremental"


def record(database: Database, report: ProofReport) -> None:
    """Store a proof's result and progress; a broken invariant has an open alarm until a full proof finds it whole."""
    runs = tables.verification_runs
    broken = [{**each, "rows": each["rows"][:ROWS_KEPT]} for each in report.as_json()["broken"]]
    with database.transaction("auditor") as connection:
        run = {name: getattr(report, name) for name in ("mode", "tenant_id", "started_at", "is_complete", "counts")}
        connection.execute(insert(runs).values(id=new_id(), broken=broken, **run))
        oldest = func.now() - datetime.timedelta(days=RUNS_KEPT_DAYS)
        connection.execute(delete(runs).where(runs.c.finished_at < oldest))
        _write_progress(connection, report)
        _raise_alarms(connection, report)


def _write_progress(connection: Connection, report: ProofReport) -> None:
    rows = [
        {
            "tenant_id": tenant_id,
            "notification_number": reached.notification_number,
            "webhooks_until": reached.webhooks_until,
            "verified_at": func.now(),
        }
        for tenant_id, reached in report.progress.items()
    ]
    chains = [
        {"tenant_id": tenant_id, "chain": number, "seal_number": position.number, "seal_sha256": position.sha256}
        for tenant_id, reached in report.progress.items()
        for number, position in reached.chains.items()
    ]
    _replace(connection, tables.verification_places, rows, "tenant_id")
    _replace(connection, tables.verification_chains, chains, "tenant_id", "chain")


def _replace(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *keys: str) -> None:
    if rows:
        written = insert(table).values(rows)
        changes = {name: written.excluded[name] for name in rows[0] if name not in keys}
        connection.execute(written.on_conflict_do_update(index_elements=keys, set_=changes))


def _raise_alarms(connection: Connection, report: ProofReport) -> None:
    first = {each.invariant: each.rows[0]["subject"] for each in reversed(report.in_order)}
    rows = [
        AlertRow("books_broken", report.tenant_id, {"invariants": [name], "first": first[name]}, name)
        for name in report.invariants
    ]
    if report.mode != "full" or not report.is_complete:
        # Rows that an earlier proof found broken may not have been read again.
        alerts.write(connection, rows)
        return
    known = tables.alerts.c
    # Kept heads that the chains contradict are `audit_chain/heads.py`'s to resolve.
    scope = [known.subject.regexp_match("^I[0-9]+$")]
    if report.tenant_id or rows:
        scope.append(known.tenant_id.is_not_distinct_from(report.tenant_id))
    alerts.keep(connection, "books_broken", rows, "a full proof found it whole", *scope)


def prove_due(runtime: Runtime, tenant_id: uuid.UUID | None = None) -> ProofReport:
    """Prove the rows sealed since the last proof, for at most DUE_SECONDS_MAX, and store the result."""
    report = prove(runtime.database, "incremental", tenant_id, DUE_SECONDS_MAX)
    record(runtime.database, report)
    log.info("books_proved", verdict=report.verdict)
    return report
