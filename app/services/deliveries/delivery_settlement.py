"""Settles attempts: those that end together in one transaction, and deliveries that could not be attempted."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import Connection, func, update

from app.core.deliveries.delivery_rules import GONE, DeliveryStatus, retry_wait_seconds
from app.core.schedule import POSTPONE_SECONDS_MAX, postpone_seconds
from app.runtime.metrics import DELIVERIES
from app.runtime.runtime import Runtime
from app.runtime.vault import VaultError
from app.services.deliveries import endpoint_breaker
from app.services.deliveries.attempts import Attempt
from app.services.deliveries.delivery_claims import ClaimedDelivery, EndpointGone, MessageGone
from app.services.deliveries.delivery_statements import RESULTS, SETTLE_ATTEMPTS
from app.services.queues import lock_waits
from app.services.queues.release import due_after, give_back
from app.services.records import alerts, database_trouble
from app.services.records.alerts import AlertRow
from models import read, tables

log = structlog.get_logger(__name__)

_WORK = tables.delivery_work

# How long an endpoint whose secret cannot be decrypted is not called.
UNUSABLE_SECONDS = 30.0
# Postponements beyond these do not make the wait longer.
_POSTPONED_MAX = 8
# Texts that PostgreSQL stores: an error may repeat what an endpoint sent.
ERROR_LENGTH_MAX = 500


def settle_attempts(runtime: Runtime, attempts: Sequence[Attempt]) -> bool:
    """Settle `attempts` in one transaction; where that fails, each in isolation. Raise nothing.

    Return whether deliveries may have become due: a pause has ended.
    """
    try:
        return _settle(runtime, attempts)
    except Exception as error:  # one attempt's rows do not keep the others from being settled
        database_trouble.note_or_log(runtime, "deliver", error, "attempts_not_settled")
        if len(attempts) > 1:
            return sum(settle_attempts(runtime, [each]) for each in attempts) > 0
        postpone(runtime, attempts[0].claim)
        return False


def _settle(runtime: Runtime, attempts: Sequence[Attempt]) -> bool:
    results = [_result(each) for each in attempts]
    with runtime.database.transaction("deliver", by_keys="few") as connection:
        lock_waits.limit_waits(connection, is_single=len(attempts) == 1)
        ours = {row.id for row in read(connection, SETTLE_ATTEMPTS, RESULTS.encode(results))}
        # Of one whose lease had ended, the next claim shows what the endpoint does now.
        held = [each for each in attempts if each.claim.delivery_id in ours]
        is_resumed = endpoint_breaker.note_attempts(connection, held)
    for result in results:
        if result[0] in ours:
            DELIVERIES.labels(str(result[3])).inc()
    return is_resumed


def _result(each: Attempt) -> tuple[object, ...]:
    """Return the values of RESULTS."""
    claim, status, wait = each.claim, DeliveryStatus.DELIVERED, 0.0
    if not each.is_success:
        next_wait = None if each.status_code == GONE else retry_wait_seconds(claim.attempts, each.retry_after_seconds)
        status = DeliveryStatus.FAILED if next_wait is None else DeliveryStatus.PENDING
        wait = next_wait or 0.0
    return (
        *(claim.delivery_id, claim.tenant_id, claim.claim_id, status, wait, each.status_code),
        *(round(each.seconds * 1000), each.error and _storable(each.error), each.answer),
    )


def _storable(text: str) -> str:
    return text.replace("\x00", "\ufffd")[:ERROR_LENGTH_MAX]


def set_aside(runtime: Runtime, claim: ClaimedDelivery, error: Exception) -> None:
    """Let a delivery that cannot be sent end or wait, by its error. Raise SQLAlchemyError."""
    if isinstance(error, EndpointGone | MessageGone):
        text = "the endpoint is disabled" if isinstance(error, EndpointGone) else "the notification was dropped"
        ended = (claim.delivery_id, claim.tenant_id, claim.claim_id, DeliveryStatus.FAILED, 0.0, None, 0, text, None)
        with runtime.database.transaction("deliver", by_keys="few") as connection:
            read(connection, SETTLE_ATTEMPTS, RESULTS.encode([ended]))
        DELIVERIES.labels("failed").inc()
        return
    if isinstance(error, VaultError):
        with runtime.database.transaction("deliver") as connection:
            _pause_unusable(connection, claim)
    else:
        log.error("delivery_not_prepared", delivery_id=str(claim.delivery_id), exc_info=error)
    postpone(runtime, claim)


def _pause_unusable(connection: Connection, claim: ClaimedDelivery) -> None:
    problem = "no key of SLUICE_ENCRYPTION_KEYS decrypts its secret"
    endpoint_breaker.pause(connection, claim.endpoint_id, claim.tenant_id, problem, UNUSABLE_SECONDS)
    detail = {"endpoint_id": str(claim.endpoint_id), "problem": problem}
    alerts.write(connection, [AlertRow("endpoint_unusable", claim.tenant_id, detail, str(claim.endpoint_id))])


def postpone(runtime: Runtime, claim: ClaimedDelivery) -> None:
    """Postpone a delivery for a reason that is not its endpoint's, and give its attempt back. Raise nothing."""
    waits = [postpone_seconds(times, POSTPONE_SECONDS_MAX) for times in range(1, _POSTPONED_MAX + 1)]
    postponed = (
        update(_WORK)
        .where(_WORK.c.delivery_id == claim.delivery_id, _WORK.c.claim_id == claim.claim_id)
        .values(claim_id=None, postponed=_WORK.c.postponed + 1, due_at=due_after(_WORK.c.postponed + 1, waits))
        .values(attempts=func.greatest(_WORK.c.attempts - 1, 0))
    )
    give_back(runtime, postponed, "deliver")
