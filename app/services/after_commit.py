"""What is told to others once a settlement is committed, and the numbers that it is told by.

What is told are hints only: each of them may be lost.
"""

from __future__ import annotations

import uuid

from sqlalchemy import Connection

from app.core.decision import Verdict
from app.core.payments import Status
from app.doorbells import changed_message
from app.runtime import Runtime
from app.services import notifications
from app.services.notifications import Numbering
from app.services.settlement import Outcome

_ENDED_WITHOUT_MONEY = (Status.FAILED, Status.CANCELLED)


def number(connection: Connection, outcomes: list[Outcome]) -> Numbering:
    """Numbers the notifications of `outcomes` as the last step of a worker's transaction, which then tells of them."""
    tenant_ids = _notified(outcomes)
    return notifications.number_here(connection, tenant_ids) if tenant_ids else Numbering({}, [])


def tell(runtime: Runtime, outcomes: list[Outcome], numbering: Numbering | None = None) -> None:
    """Tells waiting requests and sockets, and rings for calls that became due.

    `numbering` is what `number` gave in the transaction; what it left, or all of it, is numbered now.
    """
    changed = {
        outcome.decision.payment.id
        for outcome in outcomes
        if outcome.decision and outcome.decision.verdict is not Verdict.IGNORED
    }
    messages = [changed_message(changed)] if changed else []
    runtime.doorbells.publish(messages + (notifications.list_messages(numbering) if numbering else []))
    left = numbering.left_to_others + numbering.unfinished if numbering else _notified(outcomes)
    notifications.number_tenants(runtime, left)
    applied = [outcome.decision.payment for outcome in outcomes if outcome.decision and outcome.decision.notification]
    if any(payment.status in _ENDED_WITHOUT_MONEY and not payment.session_closed for payment in applied):
        # The provider's session is to be closed.
        runtime.doorbells.ring("provider")


def _notified(outcomes: list[Outcome]) -> set[uuid.UUID]:
    return {
        outcome.decision.payment.tenant_id for outcome in outcomes if outcome.decision and outcome.decision.notification
    }
