"""Write alarms: a row, which metrics read and ALERT_URL may be sent, and a log line."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection, func, select, tuple_

from models import buffer, new_id, prepared, tables
from models.array_params import rows_of

log = structlog.get_logger(__name__)

# First half of the advisory lock's key, so that it meets no other use of advisory locks.
_LOCK_SPACE = 0x616C726D

# The text of each alarm for operators; the keys are the kinds.
KINDS: dict[str, tuple[str, str]] = {
    "payment_currency_mismatch": ("warning", "money arrived in another currency than asked"),
    "payment_underpaid": ("warning", "less money arrived than asked"),
    "payment_overpaid": ("warning", "more money arrived than asked"),
    "payment_late": ("warning", "money arrived after the payment had ended and is held"),
    "payment_conflict": ("critical", "a provider contradicts what is settled"),
    "payment_reversed": ("warning", "a provider took money back"),
    "payment_disputed": ("warning", "a payer disputes a payment at the provider"),
    "wallet_negative": ("critical", "a provider took back more than the user's wallet had; it is below zero"),
    "refund_failed": ("warning", "a refund failed: its money is in the wallet again"),
    "reversal_held": ("critical", "a reversal could not be booked and waits for a person"),
    "reinstatement_held": ("critical", "money that came again could not be booked and waits for a person"),
    "webhook_dead_letter": ("warning", "a verified webhook could not be used"),
    "webhook_conflict": ("critical", "a webhook id was sent again with other bytes"),
    "webhook_of_other_mode": (
        "critical",
        "a provider's webhook is about test payments where live ones are taken, or the other way",
    ),
    "provider_refused_us": ("critical", "a provider refuses our credentials or configuration"),
    "provider_breaker_open": ("critical", "a provider fails call after call and is paused"),
    "provider_answer_unexpected": ("warning", "a provider answers something that cannot be used; it is asked again"),
    "reconciliation_difference": ("critical", "the provider's list and the payments differ"),
    "provider_call_dead_letter": ("warning", "a provider could not be reached within the allowed attempts"),
    "work_overdue": ("critical", "due work is not being done"),
    "database_trouble": ("critical", "the database delays or refuses work, which waits and loses no attempt"),
    "provider_unusable": ("critical", "a provider cannot be used as it is configured; its work waits"),
    "endpoint_disabled": ("critical", "a webhook endpoint was disabled: it is gone, or has failed for five days"),
    "endpoint_unusable": ("critical", "a webhook endpoint's secret cannot be decrypted; its deliveries wait"),
    "books_broken": ("critical", "the books do not hold: see `sluice verify --full`"),
}


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alarm of one of the KINDS; `tenant_id` is None for alarms about the system itself."""

    kind: str
    tenant_id: uuid.UUID | None
    detail: dict[str, Any] = field(default_factory=dict)


_ALERTS = tables.alerts
_ROWS = rows_of(_ALERTS, "id", "tenant_id", "kind", "severity", "message", "detail")
_INSERT = prepared(_ROWS.insert(due_at=func.now()))


def write(connection: Connection, rows: list[AlertRow]) -> None:
    """Write `rows` in the caller's transaction and log each; they are due to be posted at once."""
    if not rows:
        return
    described = [(new_id(), row.tenant_id, row.kind, *KINDS[row.kind], row.detail) for row in rows]
    buffer(connection, _INSERT, _ROWS.encode(described))
    for row in rows:
        log.warning("alert", kind=row.kind, tenant_id=str(row.tenant_id), **row.detail)


def write_once(connection: Connection, rows: Sequence[AlertRow], seconds: float, *same: str) -> None:
    """Write those of `rows`, all of one kind, that were not written in the last `seconds`.

    Alarms are equal where their details `same` are. An advisory lock of the kind lets one process at a time write:
    processes that meet one problem in the same moment raise one alarm.
    """
    if not rows:
        return
    kind = rows[0].kind
    wanted = {tuple(str(row.detail[name]) for name in same): row for row in rows}
    details = [_ALERTS.c.detail[name].astext for name in same]
    recent = select(*details).where(
        _ALERTS.c.kind == kind,
        _ALERTS.c.at > func.now() - datetime.timedelta(seconds=seconds),
        tuple_(*details).in_(wanted),
    )
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK_SPACE, func.hashtext(kind))))
    written = {tuple(row) for row in connection.execute(recent)}
    write(connection, [row for details, row in wanted.items() if details not in written])
