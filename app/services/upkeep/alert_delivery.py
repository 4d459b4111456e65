"""Posts alarms to ALERT_URL, signed as a Standard Webhook, and again once they are resolved; retries for a day."""

from __future__ import annotations

import datetime
import json
import time
import urllib.parse
from typing import Any

import structlog
from sqlalchemy import func, select, update

from app.core.errors import ProviderCallFailed
from app.core.payment import format_time
from app.core.schedule import retry_seconds
from app.core.signatures import decode_secret, sign_standard
from app.providers.calls.outgoing import Outgoing
from app.runtime.runtime import Runtime
from app.services.queues.release import give_back
from models import tables
from models.sql import columns

log = structlog.get_logger(__name__)

# Alarms posted per run; the rest is posted by the next one.
POST_ROWS_MAX = 20
# Above the thirty seconds after which a task is cancelled: no other run posts the same alarm meanwhile.
LEASE_SECONDS = 60
# With a backoff of up to ten minutes: more than a day.
ATTEMPTS_MAX = 150

_COLUMNS = ("id", "tenant_id", "kind", "severity", "message", "detail", "at", "attempts", "resolved_at", "resolved_by")


def post_due(runtime: Runtime) -> None:
    """Post the alarms that are due; without ALERT_URL only mark them as done."""
    alerts = tables.alerts
    if not runtime.settings.alert_url:
        with runtime.database.transaction("worker") as connection:
            connection.execute(update(alerts).where(alerts.c.due_at.is_not(None)).values(due_at=None))
        return
    try:
        key = decode_secret(runtime.settings.alert_secret) if runtime.settings.alert_secret else None
    except ValueError as error:
        # Nothing is claimed: all of it is posted once the secret can be used. The doctor reports it as well.
        log.error("alert_secret_unusable", error=str(error))
        return
    with runtime.database.transaction("worker") as connection:
        due = select(alerts.c.id).where(alerts.c.due_at <= func.now()).order_by(alerts.c.due_at).limit(POST_ROWS_MAX)
        claim = update(alerts).where(alerts.c.id.in_(due.with_for_update(skip_locked=True).correlate(None)))
        lease = func.now() + datetime.timedelta(seconds=LEASE_SECONDS)
        claim = claim.values(attempts=alerts.c.attempts + 1, due_at=lease)
        rows = connection.execute(claim.returning(*columns(alerts, *_COLUMNS))).mappings().all()
    for row in rows:
        try:
            is_taken = _post(runtime, dict(row), key)
        except Exception:  # one alarm must not stop the others
            log.exception("alert_not_posted", alert_id=str(row["id"]))
            is_taken = False
        is_done = is_taken or row["attempts"] >= ATTEMPTS_MAX
        next_at = func.now() + datetime.timedelta(seconds=retry_seconds(row["attempts"]))
        # `attempts` is the fencing token: an alarm that was claimed again meanwhile has more. One that was resolved
        # meanwhile is posted once more.
        is_same = alerts.c.resolved_at.is_not_distinct_from(row["resolved_at"])
        claimed = update(alerts).where(alerts.c.id == row["id"], alerts.c.attempts == row["attempts"], is_same)
        # Retried until the database takes it; until then the lease prevents another post.
        give_back(runtime, claimed.values(due_at=None if is_done else next_at))


def _post(runtime: Runtime, row: dict[str, Any], key: bytes | None) -> bool:
    url = runtime.settings.required("alert_url")
    is_over = row["resolved_at"] is not None
    body = json.dumps(
        {
            "id": str(row["id"]),
            "status": "resolved" if is_over else "raised",
            "tenant_id": row["tenant_id"] and str(row["tenant_id"]),
            **{name: row[name] for name in ("kind", "severity", "message", "detail")},
            "at": format_time(row["at"]),
            "resolved_at": format_time(row["resolved_at"]),
            "resolved_by": row["resolved_by"],
        }
    ).encode()
    # Two messages about one alarm: the second must not count as a repetition of the first.
    webhook_id = f"{row['id']}.resolved" if is_over else str(row["id"])
    headers = {"Content-Type": "application/json", "webhook-id": webhook_id}
    headers["webhook-timestamp"] = str(int(time.time()))
    if key is not None:
        headers["webhook-signature"] = sign_standard(key, headers["webhook-id"], headers["webhook-timestamp"], body)
    # The URL may be private: only the operator can set it.
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return 200 <= Outgoing(frozenset({host})).send("POST", url, headers, body).status < 300
    except ProviderCallFailed as error:
        log.warning("alert_not_posted", error=str(error))
        return False
