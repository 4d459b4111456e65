"""Claimed provider calls that wait or end: released with the time of their next try, or kept as dead letters.

Trouble of the database uses no attempt. Neither does a provider that cannot be used as it is configured: it is paused
for a while, reported by an alarm, `/health/work` and the doctor, and called again once it can be used. A call that
cannot be prepared because of its payment's own rows uses attempts and ends as a dead letter. A refund that the provider
reports on by webhooks alone waits for them as long as its key lives.
"""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, Update, and_, case, delete, exists, func, or_, update
from sqlalchemy.exc import SQLAlchemyError

from app.core.decision import Reason
from app.core.errors import ProviderUnusable
from app.core.payment import OPEN
from app.core.refunds.records import UNFINISHED
from app.core.schedule import POSTPONE_SECONDS_MAX, RETRY_SECONDS_MAX, postpone_seconds, retry_seconds
from app.runtime.runtime import Runtime
from app.services.payments.calls import breaker, provider_trouble
from app.services.queues.release import due_after, give_back
from app.services.records import alerts, database_trouble, dead_letters
from app.services.records.alerts import AlertRow
from app.services.records.dead_letters import DeadLetterRow
from models import tables

log = structlog.get_logger(__name__)

_WORK, _PAYMENTS, _REFUNDS = tables.payment_work, tables.payment_transactions, tables.refunds
_LETTERS = tables.dead_letters

# How long a provider that cannot be used is not called: once it can be, its work waits no longer than this.
UNUSABLE_SECONDS = 30.0
# As many tries as an ordinary provider's calls have: an hour, in which a new release may handle the row.
ATTEMPTS_MAX = 12
# Postponements beyond these do not make the wait longer.
_TIMES_MAX = 8


@dataclass(frozen=True, slots=True)
class ClaimedCall:
    """A claimed row of `payment_work`; `has_failures` and `opens` are of its provider's breaker.

    `refund_id`: the refund that the call is about, where it is about one.
    """

    claim_id: uuid.UUID
    payment_id: uuid.UUID
    tenant_id: uuid.UUID
    provider_id: uuid.UUID
    action: str
    attempts: int
    polls: int
    has_failures: bool
    opens: int
    # The row's position in its route before the claim, which clears it; None where an earlier call may have arrived.
    route_position: int | None
    refund_id: uuid.UUID | None

    @property
    def work_id(self) -> uuid.UUID:
        """The key of the row of work."""
        return self.payment_id


class PaymentLocked(Exception):
    """Another session holds the payment's row locked, which the call has to write before it is made."""


class OutcomeAwaited(Exception):
    """The provider has the refund, and only its webhooks say what became of it: no call is of use for `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def set_aside(runtime: Runtime, call: ClaimedCall, error: Exception) -> None:
    """Let a call that cannot be made wait, by its error. Raise SQLAlchemyError where the database takes nothing."""
    if isinstance(error, PaymentLocked):
        postpone(runtime, call)
    elif isinstance(error, OutcomeAwaited):
        with runtime.database.transaction("worker") as connection:
            attempts = func.greatest(_WORK.c.attempts - 1, 0)
            connection.execute(release(call, error.seconds).values(attempts=attempts))
    elif isinstance(error, SQLAlchemyError):
        database_trouble.note(runtime, "provider", error)
        postpone(runtime, call, was_rolled_back=True)
    elif isinstance(error, ProviderUnusable):
        with runtime.database.transaction("worker") as connection:
            breaker.pause(connection, call.tenant_id, call.provider_id, error, UNUSABLE_SECONDS)
            attempts = func.greatest(_WORK.c.attempts - 1, 0)
            released = release(call, UNUSABLE_SECONDS).values(attempts=attempts)
            connection.execute(released.values(route_position=call.route_position))
        provider_trouble.note(runtime, call.provider_id, str(error))
    else:
        log.error("call_not_prepared", payment_id=str(call.payment_id), exc_info=error)
        name = type(error).__name__
        with runtime.database.transaction("worker") as connection:
            if call.attempts < ATTEMPTS_MAX:
                connection.execute(release(call, retry_seconds(call.attempts)))
            else:
                give_up(connection, call, name, detail=f"the call could not be prepared: {name}")


def postpone(runtime: Runtime, call: ClaimedCall, *, was_rolled_back: bool = False) -> None:
    """Postpone a call for the database's trouble and give its attempt back. Raise nothing."""
    is_claimed = _WORK.c.claim_id == call.claim_id
    # A claim that was rolled back left the row without it: it is postponed unless another worker has it.
    is_ours = or_(is_claimed, _WORK.c.due_at <= func.now()) if was_rolled_back else is_claimed
    waits = [postpone_seconds(times, POSTPONE_SECONDS_MAX) for times in range(1, _TIMES_MAX + 1)]
    postponed = (
        update(_WORK)
        .where(_WORK.c.payment_id == call.payment_id, is_ours)
        .values(claim_id=None, postponed=_WORK.c.postponed + 1, due_at=due_after(_WORK.c.postponed + 1, waits))
        .values(attempts=case((is_claimed, func.greatest(_WORK.c.attempts - 1, 0)), else_=_WORK.c.attempts))
    )
    give_back(runtime, postponed)


def give_up(
    connection: Connection,
    call: ClaimedCall,
    problem: str,
    *,
    detail: str,
    is_refusal: bool = False,
    request: bytes | None = None,
    asks_again: bool = True,
) -> None:
    """Keep a dead letter; an open payment is polled again when it expires, then daily; refunds are asked about daily.

    One whose capture was sent is asked about soon, for as long as its outcome is unknown. What became of a refund is
    for a person to say, unless the provider says it first: the payment's other refunds are next, and where there are
    none and the call does not `asks_again`, nothing is due.
    """
    refund_id = call.refund_id
    why: Reason = "provider_refused_us" if is_refusal else "attempts_exhausted"
    letter = DeadLetterRow(
        call.tenant_id,
        "provider_call",
        why if refund_id is None else "refund",
        f"{call.action}: {detail}",
        call.payment_id,
        call.provider_id,
        body=request,
        attempts=call.attempts,
        case_key=f"call:{call.action}" if refund_id is None else f"refund:{refund_id}",
    )
    if dead_letters.write(connection, [letter]):
        kind = "provider_refused_us" if is_refusal else "provider_call_dead_letter"
        about = {"payment_id": call.payment_id, "action": call.action, "error": problem}
        alerts.write(connection, [AlertRow(kind, call.tenant_id, about, f"{call.payment_id} {letter.case_key}")])
    tomorrow = func.now() + datetime.timedelta(days=1)
    soon = func.now() + datetime.timedelta(seconds=RETRY_SECONDS_MAX)
    is_in_flight = and_(_PAYMENTS.c.capture_sent_at.is_not(None), _PAYMENTS.c.status.in_(OPEN))
    is_refunding = exists().where(_REFUNDS.c.payment_id == call.payment_id, _REFUNDS.c.status.in_(UNFINISHED))
    case_key = func.concat("refund:", _REFUNDS.c.id)
    has_case = exists().where(
        _LETTERS.c.payment_id == call.payment_id, _LETTERS.c.case_key == case_key, _LETTERS.c.state == "open"
    )
    has_other = is_refunding.where(~has_case)
    due_at = case(
        (is_in_flight, soon),
        (has_other, func.now()),
        (_PAYMENTS.c.expires_at > func.now(), _PAYMENTS.c.expires_at),
        else_=tomorrow,
    )
    if not asks_again:
        connection.execute(
            delete(_WORK).where(_WORK.c.payment_id == call.payment_id, _WORK.c.claim_id == call.claim_id, ~has_other)
        )
    action = case((is_refunding, "refund"), else_="poll")
    connection.execute(release(call, 0).values(attempts=0, action=action, due_at=due_at))


def release(call: ClaimedCall, seconds: float) -> Update:
    """Return the update that ends the claim, where it still holds the row, and makes the call due after `seconds`.

    The row's payment is joined.
    """
    is_claimed = _WORK.c.claim_id == call.claim_id
    return (
        update(_WORK)
        .where(_WORK.c.payment_id == call.payment_id, is_claimed, _PAYMENTS.c.id == _WORK.c.payment_id)
        .values(claim_id=None, due_at=func.now() + datetime.timedelta(seconds=seconds))
    )
