"""Calls to providers: one due row is claimed, the provider is asked outside any transaction, the answer is settled."""

from __future__ import annotations

import time

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from app.core.decision import Verdict
from app.core.errors import OutcomeUnknown, ProviderCallFailed, ProviderRefusedUs, Throttled
from app.core.facts import Command, CommandKind, Fact, FactKind
from app.core.schedule import retry_seconds
from app.metrics import PROVIDER_CALLS, PROVIDER_SECONDS
from app.providers import Subject
from app.runtime import Runtime
from app.services import alerts, audit, breaker, database_trouble, dead_letters, setting_aside, settlement
from app.services.after_commit import number, tell
from app.services.alerts import AlertRow
from app.services.audit import AuditRow
from app.services.dead_letters import DeadLetterRow
from app.services.giving_back import pay_back
from app.services.provider_claims import Claim, claim_call
from app.services.settlement import Item
from models import prepared, read

log = structlog.get_logger(__name__)

# A doorbell works for at most this long and then rings again, so that no message holds a thread for good.
RING_SECONDS_MAX = 10.0

# A payment whose time is up and whose provider cannot be asked is cancelled after this many tries; money that
# arrives for it all the same is still credited.
EXPIRY_ATTEMPTS_MAX = 3


def call_due(runtime: Runtime) -> None:
    """Makes provider calls until none is due or allowed, at most for RING_SECONDS_MAX."""
    deadline = time.monotonic() + RING_SECONDS_MAX
    runtime.doorbells.take_down("provider")
    pay_back(runtime)
    while True:
        claim, is_more_due = claim_call(runtime)
        if claim is None:
            breaker.put_off(runtime)
            return
        if is_more_due:
            # Another thread goes on with the rest while this one waits for the provider.
            runtime.doorbells.ring("provider")
        call_claimed(runtime, claim)
        if time.monotonic() > deadline:
            runtime.doorbells.ring("provider")
            return


def call_claimed(runtime: Runtime, claim: Claim) -> None:
    """Makes a call; what goes wrong with settling its answer holds up its own payment alone.

    An answer that the database could not take uses no attempt: the provider is asked again, with the same key.
    """
    try:
        make_call(runtime, claim)
        return
    except Exception as error:  # ring code: the other calls that are due are made all the same
        if database_trouble.note(runtime, "provider", error):
            setting_aside.postpone(runtime, claim.claim_id, claim.payment_id)
            return
        log.exception("answer_not_settled", payment_id=str(claim.payment_id))
        unknown = OutcomeUnknown(f"the answer could not be settled: {type(error).__name__}")
    try:
        _settle_failure(runtime, claim, unknown, 0.0)
    except SQLAlchemyError as error:
        database_trouble.note(runtime, "provider", error)
        setting_aside.postpone(runtime, claim.claim_id, claim.payment_id)


def make_call(runtime: Runtime, claim: Claim) -> None:
    """Asks the provider and settles what it says; a failure is retried, kept as a dead letter, or waited out."""
    started = time.monotonic()
    try:
        fact = _ask(runtime, claim)
    except ProviderCallFailed as error:
        outcome = type(error).__name__
        breaker.note_failure(runtime, claim.tenant_id, claim.provider_id, error, claim.is_probe)
        _note_call(claim, outcome, started)
        _settle_failure(runtime, claim, error, time.monotonic() - started)
        return
    if claim.is_troubled:
        breaker.note_answer(runtime, claim.provider_id)
    _note_call(claim, str(fact.kind), started)
    _settle_answer(runtime, claim, fact, time.monotonic() - started)


def _ask(runtime: Runtime, claim: Claim) -> Fact:
    adapter = runtime.adapters[claim.adapter]
    subject = Subject(claim.payment_id, claim.reference)
    # Once its time is up a payment is not created any more, only looked for: an earlier try may have arrived.
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
    "select claim_id from payment_work where payment_id = :payment_id for update",
)


def _lock_claim(connection: Connection, claim: Claim) -> bool | None:
    """Locks the payment, then its work row; whether the claim still holds, or None where another worker has the call.

    A claim that holds no more, with nobody else at it, was ended by a decision: what the provider said is still a fact.
    """
    rows = read(connection, _LOCK_CLAIM, {"payment_id": claim.payment_id})
    held_by = rows[0].claim_id if rows else None
    return None if held_by not in (None, claim.claim_id) else held_by is not None


def _audit_call(connection: Connection, claim: Claim, outcome: str, seconds: float, **detail: object) -> None:
    audit.write(
        connection,
        [
            AuditRow(
                claim.tenant_id,
                f"provider:{claim.provider_id}",
                "provider_call",
                {
                    "action": claim.action,
                    "attempt": claim.attempts,
                    "outcome": outcome,
                    "milliseconds": round(seconds * 1000, 1),
                    **detail,
                },
                claim.payment_id,
            )
        ],
    )


def _settle_answer(runtime: Runtime, claim: Claim, fact: Fact, seconds: float) -> None:
    with runtime.database.transaction("worker", by_keys="few") as connection:
        is_held = _lock_claim(connection, claim)
        if is_held is None:
            return
        _audit_call(connection, claim, str(fact.kind), seconds, reference=fact.reference)
        if claim.action == "close":
            connection.execute(
                text("update payment_transactions set session_closed = true where id = :id"), {"id": claim.payment_id}
            )
        outcomes = settlement.settle(connection, _items(claim, fact, is_held))
        numbering = number(connection, outcomes)
    tell(runtime, outcomes, numbering)


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


def _settle_failure(runtime: Runtime, claim: Claim, error: ProviderCallFailed, seconds: float) -> None:
    is_exhausted = claim.attempts >= claim.attempts_max and not isinstance(error, Throttled)
    gives_up = isinstance(error, ProviderRefusedUs) or is_exhausted
    expires = claim.is_open and claim.is_expired and claim.attempts >= EXPIRY_ATTEMPTS_MAX
    outcomes = []
    with runtime.database.transaction("worker", by_keys="few") as connection:
        is_held = _lock_claim(connection, claim)
        if is_held is None:
            return
        _audit_call(connection, claim, type(error).__name__, seconds, error=str(error))
        if expires:
            expire = Command(CommandKind.EXPIRE)
            outcomes = settlement.settle(connection, [Item(claim.tenant_id, claim.payment_id, expire, "system")])
        if not any(outcome.decision and outcome.decision.verdict is Verdict.APPLIED for outcome in outcomes):
            # Where a decision has ended the call meanwhile, its failure costs nothing; a refusal still is our fault.
            if gives_up and (is_held or isinstance(error, ProviderRefusedUs)):
                _give_up(connection, claim, error)
            else:
                _retry(connection, claim, error)
        numbering = number(connection, outcomes)
    tell(runtime, outcomes, numbering)


def _retry(connection: Connection, claim: Claim, error: ProviderCallFailed) -> None:
    wait = retry_seconds(claim.attempts, error.retry_after_seconds)
    # A provider that asks for patience has not failed: the call does not come nearer to its end by that.
    attempts = claim.attempts - 1 if isinstance(error, Throttled) and error.retry_after_seconds else claim.attempts
    connection.execute(
        text(
            # An open payment is asked about when its time is up at the latest.
            "update payment_work w set claim_id = null, attempts = :attempts,"
            " due_at = least(now() + make_interval(secs => :wait),"
            " case when p.expires_at > now() and p.status in ('pending', 'processing') then p.expires_at end)"
            " from payment_transactions p"
            " where w.payment_id = :payment_id and w.claim_id = :claim_id and p.id = w.payment_id"
        ),
        {"wait": wait, "attempts": attempts, "payment_id": claim.payment_id, "claim_id": claim.claim_id},
    )


def _give_up(connection: Connection, claim: Claim, error: ProviderCallFailed) -> None:
    """Keeps a dead letter; an open payment is looked at again when its time is up, then daily, others no more."""
    is_refusal = isinstance(error, ProviderRefusedUs)
    written = dead_letters.write(
        connection,
        [
            DeadLetterRow(
                claim.tenant_id,
                "provider_call",
                "provider_refused_us" if is_refusal else "attempts_exhausted",
                f"{claim.action}: {error}",
                claim.payment_id,
                claim.provider_id,
                body=claim.request or None,
                attempts=claim.attempts,
                case_key=f"call:{claim.action}",
            )
        ],
    )
    if written:
        kind = "provider_refused_us" if is_refusal else "provider_call_dead_letter"
        detail = {"payment_id": claim.payment_id, "action": claim.action, "error": str(error)}
        alerts.write(connection, [AlertRow(kind, claim.tenant_id, detail)])
    connection.execute(
        text(
            "update payment_work w set claim_id = null, attempts = 0, action = 'poll', due_at ="
            " case when p.expires_at > now() then p.expires_at else now() + interval '1 day' end"
            " from payment_transactions p"
            " where w.payment_id = :payment_id and w.claim_id = :claim_id and p.id = w.payment_id"
        ),
        {"payment_id": claim.payment_id, "claim_id": claim.claim_id},
    )
