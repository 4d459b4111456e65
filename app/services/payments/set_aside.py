"""Provider calls that were claimed and cannot be made or settled now: they wait, and the queue continues without them.

Trouble of the database uses no attempt. Neither does a provider that cannot be used as it is configured: it is left
alone for a while, named by an alarm, `/health/work` and the doctor, and called again by itself once it can be used.
What the payment's own rows hold uses attempts and ends as a dead letter.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import ProviderUnusable
from app.core.schedule import POSTPONE_SECONDS_MAX, postpone_seconds, retry_seconds
from app.runtime.runtime import Runtime
from app.services.payments import provider_trouble
from app.services.queues.release import give_back
from app.services.records import alerts, database_trouble, dead_letters
from app.services.records.alerts import AlertRow
from app.services.records.dead_letters import DeadLetterRow
from models import Row

log = structlog.get_logger(__name__)

# How long a provider that cannot be used is not called: once it can be, its work waits no longer than this.
UNUSABLE_SECONDS = 30.0
# As many tries as an ordinary provider's calls have: an hour, in which new code may know what to do with the row.
ATTEMPTS_MAX = 12
# Postponements beyond these do not make the wait longer.
_TIMES_MAX = 8

# A claim that was rolled back left the row without it: then nobody else has it either, or it is theirs.
_POSTPONE = text(
    """
    update payment_work set postponed = postponed + 1, claim_id = null,
        attempts = case when claim_id = :claim_id then greatest(attempts - 1, 0) else attempts end,
        due_at = now() + make_interval(secs =>
            (cast(:waits as double precision[]))[least(postponed + 1, cardinality(cast(:waits as double precision[])))])
    where payment_id = :payment_id and (claim_id = :claim_id or (:was_rolled_back and due_at <= now()))
    """
)
_GIVE_BACK = text(
    "update payment_work set claim_id = null, attempts = greatest(attempts - 1, 0),"
    " due_at = now() + make_interval(secs => :seconds) where payment_id = :payment_id and claim_id = :claim_id"
)
_LEAVE_ALONE = text(
    """
    insert into provider_breakers as b (provider_id, tenant_id, error, paused_until)
    values (:provider_id, :tenant_id, :error, now() + make_interval(secs => :seconds))
    on conflict (provider_id) do update set error = excluded.error, changed_at = now(), probe_until = null,
        paused_until = greatest(b.paused_until, excluded.paused_until)
    """
)
_TRY_AGAIN = text(
    "update payment_work set claim_id = null, due_at = now() + make_interval(secs => :seconds)"
    " where payment_id = :payment_id and claim_id = :claim_id"
)
# As for a call that is given up: the payment is polled again when it expires, else daily.
_GIVE_UP = text(
    "update payment_work w set claim_id = null, attempts = 0, action = 'poll', due_at ="
    " case when p.expires_at > now() then p.expires_at else now() + interval '1 day' end"
    " from payment_transactions p where w.payment_id = :payment_id and w.claim_id = :claim_id and p.id = w.payment_id"
)


@dataclass(frozen=True, slots=True)
class SetAside:
    """A claimed row of `payment_work` and why its call cannot be made."""

    claim_id: uuid.UUID
    row: Row
    error: Exception


def set_aside(runtime: Runtime, found: SetAside) -> None:
    """Let the call wait, by what is the matter with it. Raise SQLAlchemyError where the database takes nothing."""
    row, error = found.row, found.error
    if isinstance(error, SQLAlchemyError):
        database_trouble.note(runtime, "provider", error)
        postpone(runtime, found.claim_id, row.payment_id, was_rolled_back=True)
    elif isinstance(error, ProviderUnusable):
        _leave_alone(runtime, found)
    else:
        log.error("call_not_prepared", payment_id=str(row.payment_id), exc_info=error)
        _count(runtime, found)


def postpone(runtime: Runtime, claim_id: uuid.UUID, payment_id: uuid.UUID, *, was_rolled_back: bool = False) -> None:
    """Put a call off for the database's trouble and give its attempt back. Raise nothing."""
    values = {
        "payment_id": payment_id,
        "claim_id": claim_id,
        "was_rolled_back": was_rolled_back,
        "waits": [postpone_seconds(times, POSTPONE_SECONDS_MAX) for times in range(1, _TIMES_MAX + 1)],
    }
    give_back(runtime, _POSTPONE, values)


def _leave_alone(runtime: Runtime, found: SetAside) -> None:
    row, values = found.row, {"seconds": UNUSABLE_SECONDS, "error": str(found.error)}
    with runtime.database.transaction("worker") as connection:
        about = {"provider_id": row.provider_id, "tenant_id": row.tenant_id}
        connection.execute(_LEAVE_ALONE, values | about)
        claim = {"payment_id": row.payment_id, "claim_id": found.claim_id, "seconds": UNUSABLE_SECONDS}
        connection.execute(_GIVE_BACK, claim)
    provider_trouble.note(runtime, row.provider_id, str(found.error))


def _count(runtime: Runtime, found: SetAside) -> None:
    row = found.row
    claim = {"payment_id": row.payment_id, "claim_id": found.claim_id}
    with runtime.database.transaction("worker") as connection:
        if row.attempts < ATTEMPTS_MAX:
            connection.execute(_TRY_AGAIN, claim | {"seconds": retry_seconds(row.attempts)})
            return
        letter = DeadLetterRow(
            row.tenant_id,
            "provider_call",
            "attempts_exhausted",
            f"{row.action}: the call could not be prepared: {type(found.error).__name__}",
            row.payment_id,
            row.provider_id,
            attempts=row.attempts,
            case_key=f"call:{row.action}",
        )
        if dead_letters.write(connection, [letter]):
            detail = {"payment_id": row.payment_id, "action": row.action, "error": type(found.error).__name__}
            alerts.write(connection, [AlertRow("provider_call_dead_letter", row.tenant_id, detail)])
        connection.execute(_GIVE_UP, claim)
