"""The circuit breaker of an endpoint: failures in a row pause it for all workers, failures of days disable it.

An endpoint that works has no row, and its deliveries write none. After FAILURES_MAX failed attempts in a row it is
paused; its deliveries stay due, use no attempt, and are passed over by claims. After the pause the breaker is
half-open: a single attempt (the probe) is made, and only its success lets the others follow.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, delete, func, update
from sqlalchemy.dialects.postgresql import insert

from app.core.deliveries.delivery_rules import FAILING_SECONDS_MAX, GONE, DisabledReason, throttle_wait_seconds
from app.core.schedule import pause_seconds
from app.runtime.metrics import DELIVERIES
from app.services.deliveries.attempts import Attempt
from app.services.deliveries.delivery_ends import end_waiting
from app.services.records import alerts, audit
from app.services.records.alerts import AlertRow
from app.services.records.audit import AuditRow
from models import Row, tables

log = structlog.get_logger(__name__)

_BREAKERS, _ENDPOINTS = tables.endpoint_breakers, tables.webhook_endpoints

# A busy endpoint reaches this within moments; a single delivery's attempts in hours.
FAILURES_MAX = 5
# A request for fewer requests is obeyed up to an hour; its own delivery waits for as long as was asked.
THROTTLE_SECONDS_MAX = 3_600.0


@dataclass(slots=True)
class _Tally:
    """What the attempts of a set say about one endpoint; counts are those since the last success."""

    tenant_id: uuid.UUID
    has_success: bool = False
    failures: int = 0
    failed_probe_seconds: float | None = None
    throttle_seconds: float = 0.0
    error: str = ""
    is_gone: bool = False


def note_attempts(connection: Connection, attempts: Sequence[Attempt]) -> bool:
    """Count what a set of attempts says about their endpoints; return whether a pause has ended."""
    tallies: dict[uuid.UUID, _Tally] = {}
    had_failures = {one.claim.endpoint_id for one in attempts if one.claim.has_failures}
    for each in attempts:
        claim = each.claim
        tally = tallies.setdefault(claim.endpoint_id, _Tally(claim.tenant_id))
        if each.is_success:
            tally.has_success, tally.failures, tally.failed_probe_seconds = True, 0, None
            continue
        tally.failures += 1
        tally.error = each.error or ""
        tally.is_gone |= each.status_code == GONE
        if claim.is_half_open:
            tally.failed_probe_seconds = each.seconds
        wait = throttle_wait_seconds(each.status_code, each.retry_after_seconds)
        tally.throttle_seconds = max(tally.throttle_seconds, min(wait, THROTTLE_SECONDS_MAX))
    # Rows are locked in the order of their keys.
    for endpoint_id, tally in sorted(tallies.items()):
        if tally.has_success and endpoint_id in had_failures:
            connection.execute(delete(_BREAKERS).where(_BREAKERS.c.endpoint_id == endpoint_id))
        if tally.failures:
            _count(connection, endpoint_id, tally)
    return any(tally.has_success for endpoint_id, tally in tallies.items() if endpoint_id in had_failures)


def _count(connection: Connection, endpoint_id: uuid.UUID, tally: _Tally) -> None:
    failure = insert(_BREAKERS).values(
        endpoint_id=endpoint_id, tenant_id=tally.tenant_id, failures=tally.failures, error=tally.error
    )
    changed = {
        "failures": _BREAKERS.c.failures + failure.excluded.failures,
        "error": failure.excluded.error,
        "changed_at": func.now(),
    }
    counted = failure.on_conflict_do_update(index_elements=["endpoint_id"], set_=changed)
    is_failing = _BREAKERS.c.failing_since <= func.now() - datetime.timedelta(seconds=FAILING_SECONDS_MAX)
    row = connection.execute(counted.returning(_BREAKERS, is_failing.label("is_failing"))).one()
    if tally.is_gone or row.is_failing:
        disable(connection, row, DisabledReason.GONE if tally.is_gone else DisabledReason.FAILING)
    # Attempts that were under way when the pause began do not make it longer; the single one after it does.
    if tally.failed_probe_seconds is not None or (row.opens == 0 and row.failures >= FAILURES_MAX):
        opens = row.opens + 1
        seconds = pause_seconds(opens, tally.failed_probe_seconds or 0.0)
        log.warning("endpoint_paused", endpoint_id=str(endpoint_id), seconds=seconds, failures=row.failures)
        pause(connection, endpoint_id, tally.tenant_id, tally.error, max(seconds, tally.throttle_seconds), opens)
    elif tally.throttle_seconds:
        pause(connection, endpoint_id, tally.tenant_id, tally.error, tally.throttle_seconds)


def pause(
    connection: Connection,
    endpoint_id: uuid.UUID,
    tenant_id: uuid.UUID,
    error: str,
    seconds: float,
    opens: int | None = None,
) -> None:
    """Pause an endpoint; a longer pause that it has already stays. `opens` counts pauses that failures led to."""
    until = func.now() + datetime.timedelta(seconds=seconds)
    row = insert(_BREAKERS).values(
        endpoint_id=endpoint_id, tenant_id=tenant_id, error=error, paused_until=until, opens=opens or 0
    )
    changed: dict[str, Any] = {
        "error": row.excluded.error,
        "changed_at": func.now(),
        "probe_until": None,
        "paused_until": func.greatest(_BREAKERS.c.paused_until, row.excluded.paused_until),
    }
    if opens is not None:
        changed["opens"] = opens
    connection.execute(row.on_conflict_do_update(index_elements=["endpoint_id"], set_=changed))


def disable(connection: Connection, row: Row, reason: DisabledReason) -> None:
    """Disable the endpoint of this row of `endpoint_breakers`, unless it is disabled already.

    Raise an alarm, and end the deliveries that wait for it.
    """
    is_enabled = _ENDPOINTS.c.disabled_at.is_(None) & _ENDPOINTS.c.deleted_at.is_(None)
    disabled = (
        update(_ENDPOINTS)
        .where(_ENDPOINTS.c.tenant_id == row.tenant_id, _ENDPOINTS.c.id == row.endpoint_id, is_enabled)
        .values(disabled_at=func.now(), disabled_reason=reason)
        .returning(_ENDPOINTS.c.url)
    )
    url = connection.execute(disabled).scalar()
    if url is not None:
        detail = {"endpoint_id": str(row.endpoint_id), "url": url, "reason": str(reason), "error": row.error}
        alerts.write(connection, [AlertRow("endpoint_disabled", row.tenant_id, detail, str(row.endpoint_id))])
        audit.write(connection, [AuditRow(row.tenant_id, "system", "endpoint_disabled", detail)])
        ended = end_waiting(connection, row.tenant_id, row.endpoint_id, "the endpoint is disabled")
        DELIVERIES.labels("failed").inc(ended)
