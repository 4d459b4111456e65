"""Write alarms: a row, which metrics read and ALERT_URL may be sent, and a log line.

An alarm with a subject is about what lasts: it is open until that is over, and while it is open the same alarm is
counted instead of written again (`uq_alerts_open`). Those whose raisers know all that holds end there (`keep`); the
others are resolved by `upkeep/alert_resolution.py`. An alarm without a subject reports an event.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Connection, Update, func, select, text, update

from models import buffer, new_id, prepared, tables
from models.array_params import rows_of
from models.tables.operations import OPEN_ALARM

log = structlog.get_logger(__name__)

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
    "suspense_held": ("warning", "money that a policy gives back stays in suspense and waits for a person"),
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
    """An alarm of one of the KINDS; `tenant_id` is None for alarms about the system itself.

    `subject` names what an alarm of the kind lasts for; None where it reports an event.
    """

    kind: str
    tenant_id: uuid.UUID | None
    detail: dict[str, Any] = field(default_factory=dict)
    subject: str | None = None

    @property
    def key(self) -> tuple[str, uuid.UUID | None, str | None]:
        """What one open alarm is about; equal for events of a kind and tenant."""
        return self.kind, self.tenant_id, self.subject


_ALERTS = tables.alerts
IS_OPEN: ColumnElement[bool] = text(OPEN_ALARM)  # type: ignore[assignment]
_ROWS = rows_of(_ALERTS, "id", "tenant_id", "kind", "subject", "severity", "message", "detail", "occurrences")
# In one order: transactions that raise the same open alarms wait for each other, and never in a circle.
_NEW = _ROWS.insert("kind", "tenant_id", "subject", due_at=func.now())
_INSERT = prepared(
    _NEW.on_conflict_do_update(
        index_elements=["tenant_id", "kind", "subject"],
        index_where=IS_OPEN,
        set_={"occurrences": _ALERTS.c.occurrences + _NEW.excluded.occurrences, "last_at": func.now()},
    )
)


def write(connection: Connection, rows: list[AlertRow]) -> None:
    """Write `rows` in the caller's transaction and log each; new ones are due to be posted at once."""
    if not rows:
        return
    times = Counter(row.key for row in rows if row.subject is not None)
    # One statement may touch an open alarm only once.
    distinct = {row.key if row.subject is not None else index: row for index, row in enumerate(rows)}
    described = [
        (new_id(), row.tenant_id, row.kind, row.subject, *KINDS[row.kind], row.detail, times.get(row.key, 1))
        for row in distinct.values()
    ]
    buffer(connection, _INSERT, _ROWS.encode(described))
    for row in rows:
        log.warning("alert", kind=row.kind, tenant_id=str(row.tenant_id), **row.detail)


def keep(connection: Connection, kind: str, rows: Sequence[AlertRow], ended: str, *among: ColumnElement[bool]) -> None:
    """Have `rows` be the open alarms of the kind: write those that are not open yet, and resolve all others.

    `ended` says by what. `among` are conditions that narrow down the open alarms which the caller knows all about.
    """
    known = select(_ALERTS.c.id, _ALERTS.c.tenant_id, _ALERTS.c.subject).where(_ALERTS.c.kind == kind, IS_OPEN, *among)
    known_rows = {(row.tenant_id, row.subject): row.id for row in connection.execute(known)}
    wanted = {(row.tenant_id, row.subject): row for row in rows}
    write(connection, [row for key, row in wanted.items() if key not in known_rows])
    over = [alert_id for key, alert_id in known_rows.items() if key not in wanted]
    if over:
        connection.execute(resolve(ended).where(_ALERTS.c.id.in_(over)))
        log.info("alerts_resolved", kind=kind, alerts=len(over), by=ended)


def resolve(ended: str) -> Update:
    """Return the update that resolves open alarms now; ALERT_URL is sent what is over as well."""
    over = {"resolved_at": func.now(), "resolved_by": ended, "due_at": func.now()}
    return update(_ALERTS).where(IS_OPEN).values(over)
