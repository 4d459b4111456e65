"""What is told to others once a settlement is committed, and the numbers that it is told by.

What is told are hints only: each of them may be lost.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.core.decision import Verdict
from app.core.payment import Status
from app.runtime.hints import changed_hints
from app.runtime.runtime import Runtime
from app.services.payments.settlement import Outcome
from app.services.records import database_trouble, notifications
from app.services.records.notifications import Event, Numbering

log = structlog.get_logger(__name__)

_ENDED_WITHOUT_MONEY = (Status.FAILED, Status.CANCELLED)


def queue(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Write the notifications of `outcomes`, which wait for a worker to number them."""
    notifications.queue(connection, _events(outcomes))


def number(connection: Connection, outcomes: Sequence[Outcome]) -> Numbering:
    """Write and number the notifications of `outcomes`, as the last step of a worker's transaction."""
    return notifications.number(connection, _events(outcomes))


def tell(runtime: Runtime, outcomes: Sequence[Outcome], numbering: Numbering | None = None) -> None:
    """Tell waiting requests and sockets, and ring for calls that became due.

    `numbering` is what `number` gave in a worker's transaction; what it left is numbered now. Without it a worker is
    rung for: the roles of web and of operators give no numbers.
    """
    changed = {
        outcome.decision.payment.id
        for outcome in outcomes
        if outcome.decision and outcome.decision.verdict is not Verdict.IGNORED
    }
    numbered = notifications.list_hints(numbering) if numbering else []
    runtime.doorbells.publish([*changed_hints(changed), *numbered])
    told = [payment for payment, _ in _events(outcomes)]
    if numbering:
        _number_left(runtime, numbering.left_to_others + numbering.unfinished)
    elif told:
        runtime.doorbells.ring("notify")
    if any(payment.status in _ENDED_WITHOUT_MONEY and not payment.session_closed for payment in told):
        # The provider's session is to be closed.
        runtime.doorbells.ring("provider")


def _number_left(runtime: Runtime, tenant_ids: Collection[uuid.UUID]) -> None:
    try:
        notifications.number_tenants(runtime, tenant_ids)
    except SQLAlchemyError as error:
        # What is told about is committed; the notifications wait for the next one who numbers.
        if database_trouble.note(runtime, "notify", error) is None:
            log.exception("not_numbered")
        runtime.doorbells.ring("notify")


def _events(outcomes: Sequence[Outcome]) -> list[Event]:
    return [
        (outcome.decision.payment, outcome.decision.notification)
        for outcome in outcomes
        if outcome.decision and outcome.decision.notification
    ]
