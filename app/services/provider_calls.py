"""Calls to providers: one due row is claimed, the provider is asked outside any transaction, the answer is settled."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, RowMapping, text

from app.core.decision import Verdict
from app.core.errors import ProviderCallFailed, ProviderRefusedUs, Throttled
from app.core.facts import Command, CommandKind, Fact, FactKind
from app.core.money import format_amount
from app.core.payments import OPEN, format_time
from app.core.schedule import retry_seconds
from app.metrics import PROVIDER_CALLS, PROVIDER_SECONDS
from app.providers import Account, Order, Subject
from app.runtime import Runtime
from app.services import alerts, audit, breaker, dead_letters, settlement
from app.services.after_commit import tell
from app.services.alerts import AlertRow
from app.services.audit import AuditRow
from app.services.dead_letters import DeadLetterRow
from app.services.settlement import Item
from models import new_id

log = structlog.get_logger(__name__)

# Three times the longest call: a slow answer still finds its claim, a killed worker's row is free again soon.
LEASE_SECONDS = 30

# A doorbell works for at most this long and then rings again, so that no message holds a thread for good.
RING_SECONDS_MAX = 10.0

# A payment whose time is up and whose provider cannot be asked is cancelled after this many tries; money that
# arrives for it all the same is still credited.
EXPIRY_ATTEMPTS_MAX = 3

# Providers are looked at one by one, each up to its limit of calls at once; creates of any provider go first. A
# provider that failed and whose pause is over gets a single call: whoever sets `probe_until` makes it.
_CLAIM = text(
    """
    with candidate as (
        select w.payment_id, b.provider_id is not null as is_troubled, coalesce(b.opens, 0) > 0 as is_probe
        from payment_providers p
        left join provider_breakers b on b.provider_id = p.id
        cross join lateral (
            select payment_id, due_at from payment_work
            where provider_id = p.id and (action <> 'create') = :is_later and due_at <= now()
            order by due_at limit 1 for update skip locked) as w
        where (select count(*) from payment_work c
               where c.provider_id = p.id and c.claim_id is not null and c.due_at > now()) < p.calls_max
          and (b.paused_until is null or b.paused_until <= now()) and (b.probe_until is null or b.probe_until <= now())
        order by w.due_at limit 1
    ), probe as (
        update provider_breakers b set probe_until = now() + make_interval(secs => :lease)
        from candidate c join payment_work w on w.payment_id = c.payment_id
        where c.is_probe and b.provider_id = w.provider_id and b.opens > 0
          and (b.paused_until is null or b.paused_until <= now()) and (b.probe_until is null or b.probe_until <= now())
        returning b.provider_id
    )
    update payment_work w set attempts = w.attempts + 1, claim_id = :claim_id,
        due_at = now() + make_interval(secs => :lease)
    from candidate c where w.payment_id = c.payment_id and (not c.is_probe or exists (select from probe))
    returning w.payment_id, w.tenant_id, w.provider_id, w.action, w.attempts, w.polls, c.is_troubled, c.is_probe
    """
)
_READ_CLAIMED = text(
    """
    select p.id, p.amount_minor, p.currency, p.status, p.provider_reference, p.provider_request, p.provider_request_at,
           p.success_url, p.failure_url, p.metadata, p.expires_at, p.expires_at <= now() as is_expired,
           extract(epoch from now() - p.provider_request_at) as request_age_seconds,
           a.adapter, a.api_base_url, a.api_key_encrypted, a.attempts_max
    from payment_transactions p
    join payment_providers a on a.tenant_id = p.tenant_id and a.id = p.provider_id
    where p.tenant_id = :tenant_id and p.id = :payment_id
    """
)
_KEEP_REQUEST = text(
    """
    update payment_transactions set provider_request = :request, provider_request_at = now()
    where tenant_id = :tenant_id and id = :payment_id and provider_request is null
    """
)
_MORE_DUE = text("select exists (select from payment_work where due_at <= now())")


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed call and all that is needed to make it without another look at the database."""

    claim_id: uuid.UUID
    payment_id: uuid.UUID
    tenant_id: uuid.UUID
    provider_id: uuid.UUID
    action: str
    attempts: int
    attempts_max: int
    polls: int
    adapter: str
    account: Account
    reference: str | None
    request: bytes
    is_open: bool
    is_expired: bool
    key_is_alive: bool
    is_troubled: bool
    is_probe: bool


def call_due(runtime: Runtime) -> None:
    """Makes provider calls until none is due or allowed, at most for RING_SECONDS_MAX."""
    deadline = time.monotonic() + RING_SECONDS_MAX
    runtime.doorbells.take_down("provider")
    while True:
        claim, is_more_due = claim_call(runtime)
        if claim is None:
            breaker.put_off(runtime)
            return
        if is_more_due:
            # Another thread goes on with the rest while this one waits for the provider.
            runtime.doorbells.ring("provider")
        make_call(runtime, claim)
        if time.monotonic() > deadline:
            runtime.doorbells.ring("provider")
            return


def claim_call(runtime: Runtime) -> tuple[Claim | None, bool]:
    """Claims one due call, creates before all others; returns it and whether more are due."""
    claim_id = new_id()
    with runtime.database.transaction("worker") as connection:
        for is_later in (False, True):
            row = (
                connection.execute(_CLAIM, {"is_later": is_later, "claim_id": claim_id, "lease": LEASE_SECONDS})
                .mappings()
                .first()
            )
            if row:
                claim = _read_claim(runtime, connection, claim_id, row)
                return claim, bool(connection.execute(_MORE_DUE).scalar())
    return None, False


def _read_claim(runtime: Runtime, connection: Connection, claim_id: uuid.UUID, row: RowMapping) -> Claim:
    ids = {"tenant_id": row["tenant_id"], "payment_id": row["payment_id"]}
    payment = connection.execute(_READ_CLAIMED, ids).mappings().one()
    request = payment["provider_request"]
    if request is None and row["action"] == "create":
        # Kept before the first try, in the claim's own commit, so that every try sends the same bytes.
        request = runtime.adapters[payment["adapter"]].build_request(_order(runtime, row, payment))
        connection.execute(_KEEP_REQUEST, {**ids, "request": request})
    age = payment["request_age_seconds"] or 0
    return Claim(
        claim_id=claim_id,
        payment_id=row["payment_id"],
        tenant_id=row["tenant_id"],
        provider_id=row["provider_id"],
        action=row["action"],
        attempts=row["attempts"],
        attempts_max=payment["attempts_max"],
        polls=row["polls"],
        adapter=payment["adapter"],
        account=Account(
            row["provider_id"], payment["api_base_url"], runtime.vault.decrypt(payment["api_key_encrypted"])
        ),
        reference=payment["provider_reference"],
        request=bytes(request or b""),
        is_open=payment["status"] in OPEN,
        is_expired=payment["is_expired"],
        key_is_alive=age < runtime.adapters[payment["adapter"]].idempotency_key_seconds,
        is_troubled=row["is_troubled"],
        is_probe=row["is_probe"],
    )


def _order(runtime: Runtime, row: RowMapping, payment: RowMapping) -> Order:
    base = runtime.settings.public_url + "/webhooks"
    return Order(
        payment_id=payment["id"],
        amount=format_amount(payment["amount_minor"], payment["currency"]),
        currency=payment["currency"],
        callback_urls={
            "success": f"{base}/payment-success",
            "failed": f"{base}/payment-failed",
            "callback": f"{base}/payment-callback",
            "provider": f"{base}/{row['provider_id']}",
        },
        success_url=payment["success_url"],
        failure_url=payment["failure_url"],
        expires_at=str(format_time(payment["expires_at"])),
        # Our id goes along as metadata, so that the payment can be found by it at any provider.
        metadata={**payment["metadata"], "sluice_payment_id": str(payment["id"])},
    )


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


def _is_ours(connection: Connection, claim: Claim) -> bool:
    """Whether nobody else has claimed the call meanwhile; a decision may have taken the row away or given it anew."""
    held_by = connection.execute(
        text("select claim_id from payment_work where payment_id = :payment_id for update"),
        {"payment_id": claim.payment_id},
    ).scalar()
    return held_by in (None, claim.claim_id)


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
    actor = f"provider:{claim.provider_id}"
    # A poll that was answered moves the schedule on: waiting is not failing.
    polls = claim.polls + 1 if claim.action == "poll" else claim.polls
    items = [Item(claim.tenant_id, claim.payment_id, fact, actor, claim.provider_id, polls=polls)]
    # Money that was rejected does not keep a payment open: only money that waits for a person does.
    if fact.kind in (FactKind.PENDING, FactKind.NOT_FOUND, FactKind.SUCCEEDED) and claim.is_expired:
        expire = Command(CommandKind.EXPIRE)
        items.append(Item(claim.tenant_id, claim.payment_id, expire, "system", polls=polls))
    with runtime.database.transaction("worker") as connection:
        # The payment's lock comes first, as everywhere; under it the work row cannot change hands.
        connection.execute(
            text("select from payment_transactions where id = :id for no key update"), {"id": claim.payment_id}
        )
        if not _is_ours(connection, claim):
            return
        _audit_call(connection, claim, str(fact.kind), seconds, reference=fact.reference)
        if claim.action == "close":
            connection.execute(
                text("update payment_transactions set session_closed = true where id = :id"), {"id": claim.payment_id}
            )
        outcomes = settlement.settle(connection, items)
    tell(runtime, outcomes)


def _settle_failure(runtime: Runtime, claim: Claim, error: ProviderCallFailed, seconds: float) -> None:
    is_exhausted = claim.attempts >= claim.attempts_max and not isinstance(error, Throttled)
    gives_up = isinstance(error, ProviderRefusedUs) or is_exhausted
    expires = claim.is_open and claim.is_expired and claim.attempts >= EXPIRY_ATTEMPTS_MAX
    outcomes = []
    with runtime.database.transaction("worker") as connection:
        connection.execute(
            text("select from payment_transactions where id = :id for no key update"), {"id": claim.payment_id}
        )
        if not _is_ours(connection, claim):
            return
        _audit_call(connection, claim, type(error).__name__, seconds, error=str(error))
        if expires:
            expire = Command(CommandKind.EXPIRE)
            outcomes = settlement.settle(connection, [Item(claim.tenant_id, claim.payment_id, expire, "system")])
        if not any(outcome.decision and outcome.decision.verdict is Verdict.APPLIED for outcome in outcomes):
            if gives_up:
                _give_up(connection, claim, error)
            else:
                _retry(connection, claim, error)
    tell(runtime, outcomes)


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
