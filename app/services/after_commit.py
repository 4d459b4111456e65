"""What is told to others once a settlement is committed: hints only, each of them may be lost."""

from __future__ import annotations

from app.core.decision import Verdict
from app.runtime import Runtime
from app.services import notifications
from app.services.settlement import Outcome


def tell(runtime: Runtime, outcomes: list[Outcome]) -> None:
    """Tells waiting requests, numbers new notifications, and rings for calls that became due."""
    applied = [outcome.decision for outcome in outcomes if outcome.decision and outcome.decision.notification]
    changed = {
        outcome.decision.payment.id
        for outcome in outcomes
        if outcome.decision and outcome.decision.verdict is not Verdict.IGNORED
    }
    if changed:
        runtime.doorbells.tell_changed(changed)
    for tenant_id in {decision.payment.tenant_id for decision in applied}:
        notifications.number_tenant(runtime, tenant_id)
    if any(not decision.payment.is_open and not decision.payment.session_closed for decision in applied):
        # Ended without money: the provider's session is to be closed.
        runtime.doorbells.ring("provider")
