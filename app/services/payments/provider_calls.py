"""Calls to providers: a due row is claimed, the provider is called outside any transaction, the answer is settled."""

from __future__ import annotations

import time

import structlog
from sqlalchemy import Connection, update
from sqlalchemy.exc import SQLAlchemyError

from app.core.decision import Verdict
from app.core.errors import OutcomeUnknown, ProviderCallFailed, ProviderRefusedUs, Throttled
from app.core.facts import Command, CommandKind, Fact, FactKind
from app.providers import Subject
from app.runtime.metrics import PROVIDER_CALLS, PROVIDER_SECONDS
from app.runtime.runtime import Runtime
from app.services.payments import breaker, set_aside, settlement
from app.services.payments.batch_decisions import Item
from app.services.payments.call_failures import count_attempts, is_past_asking, retry
from app.services.payments.call_shares import shares
from app.services.payments.provider_claims import Claim
from app.services.queues.release import pay_back
from app.services.records import audit, database_trouble
from app.services.records.audit import AuditRow
from models import prepared, read, tables

log = structlog.get_logger(__name__)

# A doorbell works for at most this long and then rings again, so that no message holds a thread for good.
RING_SECONDS_MAX = 10.0


def call_due(runtime: Runtime) -> None:
    """Make provider calls until none is due or allowed, at most for RING_SECONDS_MAX."""
    deadline = time.monotonic() + RING_SECONDS_MAX
    runtime.doorbells.take_down("provider")
    pay_back(runtime)
    while True:
        claim, is_more_due = shares.claim(runtime)
        if claim is None:
            breaker.postpone_calls(runtime)
            return
        try:
            if is_more_due:
                # Another thread continues with the rest while this one waits for the provider.
                runtime.doorbells.ring("provider")
            call_claimed(runtime, claim)
        finally:
            shares.end(claim.tenant_id)
        if time.monotonic() > deadline:
            runtime.doorbells.ring("provider")
            return


def call_claimed(runtime: Runtime, claim: Claim) -> None:
    """Make a call; an error while its answer is settled delays only its own payment.

    An answer that the database could not take uses no attempt: the provider is asked again, with the same key.
    """
    try:
        make_call(runtime, claim)
        return
    except Exception as error:  # ring code: the other calls that are due are made all the same
        if database_trouble.note(runtime, "provider", error):
            set_aside.postpone(runtime, claim)
            return
        log.exception("answer_not_settled", payment_id=str(claim.payment_id))
        unknown = OutcomeUnknown(f"the answer could not be settled: {type(error).__name__}")
    try:
        _settle_failure(runtime, claim, unknown, 0.0)
    except SQLAlchemyError as error:
        database_trouble.note(runtime, "provider", error)
        set_aside.postpone(runtime, claim)


def make_call(runtime: Runtime, claim: Claim) -> None:
    """Call the provider and settle its answer; a failure is retried, kept as a dead letter, or waited out."""
    started = time.monotonic()
    if claim.attempts > claim.attempts_max:
        # A failed attempt ends the call at the limit: beyond it, workers died in the middle of the attempts.
        error = OutcomeUnknown(f"none of {claim.attempts_max} attempts came to an end")
        _settle_failure(runtime, claim, error, 0.0)
        return
    answer = _ask_guarded(runtime, claim)
    seconds = time.monotonic() - started
    if isinstance(answer, ProviderCallFailed):
        pause = breaker.note_failure(
            runtime, claim.tenant_id, claim.provider_id, answer, claim.is_half_open, call_seconds=seconds
        )
        _note_call(claim, answer.outcome, started)
        _settle_failure(runtime, claim, answer, time.monotonic() - started, pause)
        return
    if claim.has_failures:
        breaker.note_answer(runtime, claim.provider_id)
    _note_call(claim, str(answer.kind), started)
    _settle_answer(runtime, claim, answer, time.monotonic() - started)


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
    subject = Subject(claim.payment_id, claim.reference)
    # Once its time is up a payment is not created any more, only queried: an earlier try may have arrived.
    if claim.action == "create" and not claim.is_expired:
        if not claim.key_is_alive:
            found = adapter.fetch(claim.account, subject)
            if found.kind is not FactKind.NOT_FOUND:
                return found
        return adapter.create(claim.account, claim.payment_id, claim.request)
    if claim.action == "close":
        return adapter.cancel(claim.account, subject)
    return adapter.fetch(claim.account, subject)


def _note_call(claim: Claim, outcome: str, started: float) -> None:
    seconds = time.monotonic() - started
    PROVIDER_CALLS.labels(claim.adapter, claim.action, outcome).inc()
    PROVIDER_SECONDS.labels(claim.adapter, claim.action).observe(seconds)
    log.info(
        "provider_called",
        payment_id=str(claim.payment_id),
        action=claim.action,
        outcome=outcome,
        attempt=claim.attempts,
        milliseconds=round(seconds * 1000, 1),
    )


_LOCK_CLAIM = prepared(
    "select from payment_transactions where id = :payment_id for no key update",
    """
    select w.claim_id, b.opens > 0 as is_paused from (values (cast(:provider_id as uuid))) as p (id)
    left join (select * from payment_work where payment_id = :payment_id for update) as w on true
    left join provider_breakers b on b.provider_id = p.id
    """,
)


def _lock_claim(connection: Connection, claim: Claim) -> tuple[bool | None, bool]:
    """Lock the payment, then its work row; return whether the claim still holds, and whether the provider is paused.

    The first is None where another worker has the call. A claim that no longer holds, without another worker's, was
    ended by a decision: the provider's answer is still a fact.
    """
    (row,) = read(connection, _LOCK_CLAIM, {"payment_id": claim.payment_id, "provider_id": claim.provider_id})
    is_held = None if row.claim_id not in (None, claim.claim_id) else row.claim_id is not None
    return is_held, bool(row.is_paused)


def _audit_call(connection: Connection, claim: Claim, outcome: str, seconds: float, **detail: object) -> None:
    call = {"action": claim.action, "attempt": claim.attempts, "outcome": outcome}
    call |= {"milliseconds": round(seconds * 1000, 1), **detail}
    row = AuditRow(claim.tenant_id, f"provider:{claim.provider_id}", "provider_call", call, claim.payment_id)
    audit.write(connection, [row])


def _settle_answer(runtime: Runtime, claim: Claim, fact: Fact, seconds: float) -> None:
    with settlement.open(runtime, "worker") as batch:
        is_held, is_paused = _lock_claim(batch.connection, claim)
        if is_held is None:
            return
        _audit_call(batch.connection, claim, str(fact.kind), seconds, reference=fact.reference)
        if claim.action == "close":
            payments = tables.payment_transactions
            closed = update(payments).where(payments.c.id == claim.payment_id).values(session_closed=True)
            batch.connection.execute(closed)
        batch.settle(_items(claim, fact, is_held))
    if is_paused:
        # The pause began while this call was under way, and it was answered: the provider works.
        breaker.note_answer(runtime, claim.provider_id)


def _items(claim: Claim, fact: Fact, is_held: bool) -> list[Item]:
    actor = f"provider:{claim.provider_id}"
    polls = None
    if is_held:
        # A poll that was answered moves the schedule on: waiting is not failing.
        polls = claim.polls + 1 if claim.action == "poll" else claim.polls
    items = [Item(claim.tenant_id, claim.payment_id, fact, actor, claim.provider_id, polls=polls)]
    # Money that was rejected does not keep a payment open: only money that waits for a person does.
    if fact.kind in (FactKind.PENDING, FactKind.COMMITTED, FactKind.NOT_FOUND, FactKind.SUCCEEDED) and claim.is_expired:
        expire = Command(CommandKind.EXPIRE)
        items.append(Item(claim.tenant_id, claim.payment_id, expire, "system", polls=polls))
    return items


def _settle_failure(
    runtime: Runtime, claim: Claim, error: ProviderCallFailed, seconds: float, pause: float | None = None
) -> None:
    """Retry, give up or expire; `pause` is how long the provider is not called where this failure led to that."""
    is_refusal = isinstance(error, ProviderRefusedUs)
    is_exhausted = count_attempts(claim, error) >= claim.attempts_max and not isinstance(error, Throttled)
    with settlement.open(runtime, "worker") as batch:
        is_held, _ = _lock_claim(batch.connection, claim)
        if is_held is None:
            return
        _audit_call(batch.connection, claim, error.outcome, seconds, error=str(error))
        if is_past_asking(claim, error):
            batch.settle([Item(claim.tenant_id, claim.payment_id, Command(CommandKind.EXPIRE), "system")])
        if any(outcome.decision and outcome.decision.verdict is Verdict.APPLIED for outcome in batch.outcomes):
            return
        # Where a decision has ended the call meanwhile, its failure costs nothing; a refusal still is our fault.
        if is_refusal or (is_exhausted and is_held):
            set_aside.give_up(
                batch.connection,
                claim,
                str(error),
                detail=str(error),
                is_refusal=is_refusal,
                request=claim.request or None,
            )
        else:
            retry(batch.connection, claim, error, pause)
