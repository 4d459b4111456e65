"""Settles what provider calls brought: answers that come back together in one transaction, failures one by one."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog
from sqlalchemy import Connection, and_, case, func, update
from sqlalchemy.exc import SQLAlchemyError

from app.core.decision import Verdict
from app.core.errors import (
    NotSent,
    OutcomeForAPerson,
    OutcomeUnknown,
    ProviderCallFailed,
    ProviderRefusedUs,
    Throttled,
)
from app.core.facts import Command, CommandKind, Fact, FactKind
from app.core.payment import OPEN
from app.core.schedule import RETRY_AFTER_SECONDS_MAX, probe_counts, retry_seconds
from app.runtime.runtime import Runtime
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from app.services.payments.calls import breaker, routing, set_aside
from app.services.payments.calls.provider_claims import Claim
from app.services.queues import lock_waits
from app.services.records import audit, database_trouble
from app.services.records.audit import AuditRow
from models import buffer, prepared, read, tables
from models.array_params import is_any, uuid_array

log = structlog.get_logger(__name__)

# Facts after which an open payment whose time is up is cancelled: no money has come, or it was rejected. Money that
# waits for a person's decision keeps a payment open.
_WITHOUT_MONEY = (
    *(FactKind.PENDING, FactKind.APPROVED, FactKind.COMMITTED, FactKind.ATTEMPT_DECLINED),
    *(FactKind.NOT_FOUND, FactKind.SUCCEEDED),
)

# A payment whose time is up and whose provider cannot be asked is cancelled after this many tries; money that
# arrives for it all the same is still credited.
EXPIRY_ATTEMPTS_MAX = 3

_LOCK_CLAIMS = prepared(
    "select from payment_transactions where id = any(cast(:payment_ids as uuid[])) order by id for no key update",
    """
    with work as materialized (
        select payment_id, claim_id from payment_work where payment_id = any(cast(:payment_ids as uuid[]))
        order by payment_id for update
    )
    select r.payment_id, work.claim_id, b.opens > 0 as is_paused
    from unnest(cast(:payment_ids as uuid[]), cast(:provider_ids as uuid[])) as r(payment_id, provider_id)
    left join work on work.payment_id = r.payment_id
    left join provider_breakers b on b.provider_id = r.provider_id
    """,
)
_PAYMENTS = tables.payment_transactions
_CLOSE_SESSIONS = prepared(update(_PAYMENTS).where(is_any(_PAYMENTS.c.id, "ids")).values(session_closed=True))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider said about a claimed call, and how long it took (s)."""

    claim: Claim
    fact: Fact
    seconds: float


def settle_answers(runtime: Runtime, answers: Sequence[Answer]) -> None:
    """Settle `answers` in one transaction; where that fails, each in isolation. Raise nothing."""
    if len(answers) > 1:
        try:
            _settle(runtime, answers)
            return
        except Exception as error:  # one bad answer must not fail the set: settle one by one
            about = {"answers": len(answers)}
            if database_trouble.note_or_log(runtime, "provider", error, "answers_not_settled", **about) == "lock":
                lock_waits.note_lock()
    for answer in answers:
        _settle_one(runtime, answer, is_single=len(answers) > 1)


def _settle_one(runtime: Runtime, answer: Answer, *, is_single: bool) -> None:
    """Settle one answer; one that cannot be settled delays only its own payment.

    An answer that the database could not take uses no attempt: the provider is asked again, with the same key.
    """
    try:
        _settle(runtime, [answer], is_single=is_single)
    except Exception as error:  # the other answers are settled all the same
        if database_trouble.note(runtime, "provider", error):
            set_aside.postpone(runtime, answer.claim)
            return
        log.exception("answer_not_settled", payment_id=str(answer.claim.payment_id))
        settle_failure(
            runtime, answer.claim, OutcomeUnknown(f"the answer could not be settled: {type(error).__name__}"), 0.0
        )


def _settle(runtime: Runtime, answers: Sequence[Answer], *, is_single: bool = False) -> None:
    for provider_id in {answer.claim.provider_id for answer in answers if answer.claim.has_failures}:
        breaker.note_answer(runtime, provider_id)
    with settlement.open(runtime, "worker", by_keys="few", is_single=is_single) as batch:
        locked = _lock_claims(batch.connection, [answer.claim for answer in answers])
        held = [(answer, is_held) for answer in answers if (is_held := locked.is_held(answer.claim)) is not None]
        _audit(batch.connection, [answer for answer, _ in held])
        closed = [answer.claim.payment_id for answer, _ in held if answer.claim.action == "close"]
        if closed:
            buffer(batch.connection, _CLOSE_SESSIONS, {"ids": uuid_array(closed)})
        batch.settle([item for answer, is_held in held for item in _items(answer, is_held)])
    _end_pauses(runtime, {answer.claim.provider_id for answer, _ in held} & locked.paused)


def _end_pauses(runtime: Runtime, provider_ids: set[uuid.UUID]) -> None:
    """End pauses that began while calls were under way that have been answered. Raise nothing: pauses end anyway."""
    try:
        for provider_id in provider_ids:
            breaker.note_answer(runtime, provider_id)
    except SQLAlchemyError as error:
        database_trouble.note(runtime, "provider", error)


@dataclass(frozen=True, slots=True)
class _Locked:
    """The claims that the locked rows of `payment_work` have, by payment, and the paused providers among theirs."""

    claim_ids: dict[uuid.UUID, uuid.UUID | None]
    paused: set[uuid.UUID]

    def is_held(self, claim: Claim) -> bool | None:
        """Return whether the claim still holds, None where another worker has the call.

        A claim that holds no more, with nobody else at it, was ended by a decision: what the provider said is still a
        fact.
        """
        claim_id = self.claim_ids[claim.payment_id]
        return None if claim_id not in (None, claim.claim_id) else claim_id is not None


def _lock_claims(connection: Connection, claims: Sequence[Claim]) -> _Locked:
    """Lock the payments of `claims`, then their work rows."""
    providers = {claim.payment_id: claim.provider_id for claim in claims}
    wanted = {"payment_ids": uuid_array(providers), "provider_ids": uuid_array(providers.values())}
    rows = read(connection, _LOCK_CLAIMS, wanted)
    paused = {providers[row.payment_id] for row in rows if row.is_paused}
    return _Locked({row.payment_id: row.claim_id for row in rows}, paused)


def _audit(connection: Connection, answers: Sequence[Answer]) -> None:
    rows = [
        _audit_row(answer.claim, str(answer.fact.kind), answer.seconds, reference=answer.fact.reference)
        for answer in answers
    ]
    audit.write(connection, rows)


def _audit_row(claim: Claim, outcome: str, seconds: float, **detail: object) -> AuditRow:
    about = {
        "action": claim.action,
        "attempt": claim.attempts,
        "outcome": outcome,
        "milliseconds": round(seconds * 1000, 1),
    }
    actor = f"provider:{claim.provider_id}"
    return AuditRow(claim.tenant_id, actor, "provider_call", about | detail, claim.payment_id)


def _items(answer: Answer, is_held: bool) -> list[Item]:
    claim, fact = answer.claim, answer.fact
    polls = None
    if is_held:
        # A poll that was answered moves the schedule on: waiting is not failing.
        polls = claim.polls + 1 if claim.action == "poll" or _is_about_known_refund(claim) else claim.polls
    if fact.refunded_minor is not None:
        fact = replace(fact, asked_version=claim.version)
    actor = f"provider:{claim.provider_id}"
    items = [Item(claim.tenant_id, claim.payment_id, fact, actor, claim.provider_id, polls=polls)]
    if fact.kind in _WITHOUT_MONEY and claim.is_expired:
        items.append(Item(claim.tenant_id, claim.payment_id, Command(CommandKind.EXPIRE), "system", polls=polls))
    return items


def _is_about_known_refund(claim: Claim) -> bool:
    return claim.refund is not None and claim.refund.is_known


def settle_failure(
    runtime: Runtime, claim: Claim, error: ProviderCallFailed, seconds: float, pause: float | None = None
) -> None:
    """Retry a failed call, give it up or expire its payment; it is postponed where the database takes nothing.

    `pause` is how long the provider is not called where this failure led to that. Raise nothing.
    """
    try:
        _settle_failure(runtime, claim, error, seconds, pause)
    except SQLAlchemyError as trouble:
        if database_trouble.note(runtime, "provider", trouble) is None:
            log.exception("failure_not_settled", payment_id=str(claim.payment_id))
        set_aside.postpone(runtime, claim)
    except Exception:  # the others are settled all the same; this row is due again when its lease ends
        log.exception("failure_not_settled", payment_id=str(claim.payment_id))


def _settle_failure(
    runtime: Runtime, claim: Claim, error: ProviderCallFailed, seconds: float, pause: float | None
) -> None:
    is_refusal = isinstance(error, ProviderRefusedUs)
    is_unanswerable = isinstance(error, OutcomeForAPerson)
    is_exhausted = _count_attempts(claim, error) >= claim.attempts_max and not isinstance(error, Throttled)
    with settlement.open(runtime, "worker") as batch:
        is_held = _lock_claims(batch.connection, [claim]).is_held(claim)
        if is_held is None:
            return
        audit.write(batch.connection, [_audit_row(claim, error.outcome, seconds, error=str(error))])
        if _is_past_asking(claim, error):
            batch.settle([Item(claim.tenant_id, claim.payment_id, Command(CommandKind.EXPIRE), "system")])
        elif is_held and isinstance(error, NotSent) and claim.route_position is not None:
            batch.settle(routing.list_moves(runtime, batch.connection, claim.payment_id, claim.route_position))
        if any(outcome.decision and outcome.decision.verdict is Verdict.APPLIED for outcome in batch.outcomes):
            return
        # Where a decision has ended the call meanwhile, its failure costs nothing; a refusal still is our fault.
        if is_refusal or ((is_exhausted or is_unanswerable) and is_held):
            set_aside.give_up(
                batch.connection,
                claim,
                str(error),
                detail=str(error),
                is_refusal=is_refusal,
                request=None if claim.is_private else claim.request or None,
                asks_again=not is_unanswerable,
            )
        else:
            _retry(batch.connection, claim, error, pause)


def _count_attempts(claim: Claim, error: ProviderCallFailed) -> int:
    """Return how many attempts the call has used up with this failure."""
    if isinstance(error, Throttled):
        # A provider that names a time for the next call has not failed: the attempt counts only for an expired payment.
        is_free = bool(error.retry_after_seconds) and not claim.is_expired
        return claim.attempts - 1 if is_free else min(claim.attempts, max(claim.attempts_max - 1, 0))
    if claim.is_half_open and error.is_outage and not probe_counts(claim.opens):
        return claim.attempts - 1
    return claim.attempts


def _is_past_asking(claim: Claim, error: ProviderCallFailed) -> bool:
    """Return whether an open payment has expired and its provider does not answer."""
    is_tried = claim.attempts >= min(EXPIRY_ATTEMPTS_MAX, claim.attempts_max)
    return claim.is_open and claim.is_expired and (is_tried or (claim.is_half_open and error.is_outage))


def _retry(connection: Connection, claim: Claim, error: ProviderCallFailed, pause: float | None) -> None:
    """Let a failed call wait: by its attempts, or, for a paused provider, until shortly after its `pause`."""
    attempts = _count_attempts(claim, error)
    wait = retry_seconds(attempts, error.retry_after_seconds)
    if pause is not None:
        asked = min(error.retry_after_seconds or 0.0, RETRY_AFTER_SECONDS_MAX)
        wait = max(pause + breaker.PROBE_AGAIN_SECONDS, asked)
    # An open payment is polled when its time is up at the latest.
    is_running = and_(_PAYMENTS.c.expires_at > func.now(), _PAYMENTS.c.status.in_(OPEN))
    due_at = func.least(func.now() + datetime.timedelta(seconds=wait), case((is_running, _PAYMENTS.c.expires_at)))
    released = set_aside.release(claim, wait).values(attempts=attempts, due_at=due_at)
    if isinstance(error, NotSent):
        released = released.values(route_position=claim.route_position)
    connection.execute(released)
