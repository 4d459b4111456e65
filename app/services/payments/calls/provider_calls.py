"""One call to a provider, outside any transaction: the answer is returned, a failure is settled at once."""

from __future__ import annotations

import functools
import threading
import time
from dataclasses import replace

import structlog
from prometheus_client import Counter, Histogram
from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import OutcomeForAPerson, OutcomeUnknown, ProviderCallFailed
from app.core.facts import Fact, FactKind
from app.core.refunds.records import NOT_MADE, NOT_SUPPORTED
from app.providers import Adapter, RefundSubject, Subject
from app.runtime.metrics import PROVIDER_CALLS, PROVIDER_SECONDS
from app.runtime.runtime import Runtime
from app.services.payments.calls import breaker, set_aside
from app.services.payments.calls.call_settlement import Answer, settle_failure
from app.services.payments.calls.provider_claims import Claim
from app.services.records import database_trouble

log = structlog.get_logger(__name__)

# What a capture can end with: money, money that settles later, a refusal of this attempt, the payment's end.
_CAPTURE_OUTCOMES = frozenset(
    {
        *(FactKind.SUCCEEDED, FactKind.COMMITTED),
        *(FactKind.ATTEMPT_DECLINED, FactKind.DECLINED, FactKind.CANCELLED),
    }
)

# When a provider fails, all its calls under way fail at once: they take turns, so that connections to the database are
# left for answers of other providers.
_failing = threading.BoundedSemaphore(4)


def make_call(runtime: Runtime, claim: Claim) -> Answer | None:
    """Ask the provider; return its answer, which the caller settles, None where the call failed.

    A failure is settled here: it is retried, kept as a dead letter, or waited out. Raise nothing.
    """
    if claim.attempts > claim.attempts_max:
        # A failed attempt ends the call at the limit: beyond it, workers died in the middle of the attempts.
        error = OutcomeUnknown(f"none of {claim.attempts_max} attempts came to an end")
        settle_failure(runtime, claim, error, 0.0)
        return None
    started = time.monotonic()
    answer = _ask_guarded(runtime, claim)
    seconds = time.monotonic() - started
    if isinstance(answer, ProviderCallFailed):
        _note_call(claim, answer.outcome, seconds)
        log.info(
            "provider_call_failed",
            payment_id=str(claim.payment_id),
            action=claim.action,
            outcome=answer.outcome,
            attempt=claim.attempts,
            milliseconds=round(seconds * 1000, 1),
        )
        with _failing:
            _fail(runtime, claim, answer, seconds)
        return None
    _note_call(claim, str(answer.kind), seconds)
    return Answer(claim, answer, seconds)


def _fail(runtime: Runtime, claim: Claim, error: ProviderCallFailed, seconds: float) -> None:
    try:
        pause = breaker.note_failure(
            runtime, claim.tenant_id, claim.provider_id, error, claim.is_half_open, call_seconds=seconds
        )
    except SQLAlchemyError as trouble:
        database_trouble.note_or_log(runtime, "provider", trouble, "failure_not_counted")
        set_aside.postpone(runtime, claim)
        return
    settle_failure(runtime, claim, error, seconds, pause)


def _ask_guarded(runtime: Runtime, claim: Claim) -> Fact | ProviderCallFailed:
    """Return the provider's answer, or the failure; any other error is an unknown outcome."""
    try:
        return _ask(runtime, claim)
    except ProviderCallFailed as failure:
        return failure
    except Exception as error:  # an unforeseen answer may raise anything, and the provider may have acted
        log.exception("provider_call_raised", payment_id=str(claim.payment_id), error=type(error).__name__)
        return OutcomeUnknown(f"the call raised {type(error).__name__}")


def _ask(runtime: Runtime, claim: Claim) -> Fact:
    adapter = runtime.adapters[claim.adapter]
    if claim.refund is not None:
        return _refund(adapter, claim, claim.refund)
    subject = Subject(claim.payment_id, claim.reference, claim.approvals)
    # Once its time is up a payment is not created any more, only queried: an earlier try may have arrived.
    if claim.action == "create" and not claim.is_expired:
        if not claim.key_is_alive:
            found = adapter.fetch(claim.account, subject)
            if found.kind is not FactKind.NOT_FOUND:
                return found
        return adapter.create(claim.account, claim.payment_id, claim.sent_request)
    if claim.action == "advance" and claim.is_open:
        return _capture(adapter, claim, subject)
    if claim.action == "close":
        return adapter.cancel(claim.account, subject)
    return adapter.fetch(claim.account, subject)


def _capture(adapter: Adapter, claim: Claim, subject: Subject) -> Fact:
    """Capture what the payer has approved; an answer without an outcome is unknown, and asked for again.

    Past the life of its key a capture is only sent again where the provider still waits for it.
    """
    if not claim.key_is_alive:
        found = adapter.fetch(claim.account, subject)
        if found.kind is not FactKind.APPROVED:
            return _outcome(found, claim)
    return _outcome(adapter.advance(claim.account, subject), claim)


def _refund(adapter: Adapter, claim: Claim, subject: RefundSubject) -> Fact:
    """Make a refund, or ask what became of it; an answer without an outcome is unknown, and asked for again.

    Past the life of its key it is only sent again where the provider has none, and where it still may be sent. A policy
    may ask an adapter for a refund that has none.
    """
    if not adapter.capabilities.can_refund:
        return Fact(FactKind.REFUND_STATE, message=NOT_SUPPORTED, refund_id=subject.refund_id, refund_state="failed")
    if subject.is_known or not claim.key_is_alive:
        can = adapter.capabilities
        if not (can.reads_refunds if subject.is_known else can.finds_refunds):
            raise OutcomeForAPerson("the refund may have been made, and the provider cannot look it up")
        found = adapter.fetch_refund(claim.account, subject)
        if found.kind is FactKind.REFUND_STATE:
            return replace(found, refund_id=subject.refund_id)
        if subject.is_known:
            raise OutcomeUnknown("the provider does not find the refund any more")
        if not claim.may_send_refund:
            return Fact(FactKind.REFUND_STATE, message=NOT_MADE, refund_id=subject.refund_id, refund_state="failed")
    made = adapter.refund(claim.account, subject, claim.sent_request)
    if made.kind is not FactKind.REFUND_STATE:
        raise OutcomeUnknown(f"the provider says '{made.kind}' of the refund")
    return replace(made, refund_id=subject.refund_id)


def _outcome(fact: Fact, claim: Claim) -> Fact:
    if fact.kind not in _CAPTURE_OUTCOMES:
        raise OutcomeUnknown(f"the provider says '{fact.kind}' of the capture")
    return replace(fact, approval=claim.approvals)


def _note_call(claim: Claim, outcome: str, seconds: float) -> None:
    """Count a call. What the provider answered is in the audit; a line for each would cost a sixth of a call."""
    calls, times = _children(claim.adapter, claim.action, outcome)
    calls.inc()
    times.observe(seconds)


@functools.lru_cache(maxsize=1_000)
def _children(adapter: str, action: str, outcome: str) -> tuple[Counter, Histogram]:
    return PROVIDER_CALLS.labels(adapter, action, outcome), PROVIDER_SECONDS.labels(adapter, action)
