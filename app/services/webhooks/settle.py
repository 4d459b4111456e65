"""Settle due webhooks in batches: claim, translate, decide, write, commit, until none is due."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog
from sqlalchemy import Connection, func
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.core.decision import Reason, Verdict
from app.core.errors import NotYet, ProviderUnusable, Unusable
from app.core.redaction import redact
from app.core.schedule import retry_seconds
from app.providers.events import POKE_PATH
from app.runtime.broker.worker_stop import is_stopping
from app.runtime.metrics import DATABASE_TROUBLE, WEBHOOKS_SETTLED
from app.runtime.ring_listener import RingListener
from app.runtime.runtime import Runtime
from app.services.payments import settlement
from app.services.payments.calls import breaker, provider_trouble
from app.services.payments.calls.set_aside import UNUSABLE_SECONDS
from app.services.payments.settlement import Batch
from app.services.queues import lock_waits
from app.services.queues.release import pay_back
from app.services.records import alerts, database_trouble, dead_letters
from app.services.records.alerts import AlertRow
from app.services.webhooks import inbox, postpone
from app.services.webhooks.claims import FIRST_ROWS, WebhookClaim, WebhookQueue
from app.services.webhooks.event_items import EventResult, Events, sum_up
from app.services.webhooks.postpone import OWN_FAULT_DETAIL, Postponement
from app.services.webhooks.translate import StoredWebhook, to_dead_letter, translate
from models import ByKeys, Trouble, buffer, find_trouble, prepared, read, read_sqlstate, tables
from models.array_params import rows_of, uuid_array

log = structlog.get_logger(__name__)

# Up to this many rows kept plans cost less than plans made for the batch: planning is nearly half of the work for one
# row and little for a hundred. Kept plans join row by row, which grows with the square of the batch.
FEW_ROWS = 100
# One attempt in a batch, the others isolated; a webhook that kills its worker each time is a dead letter after five
# leases. One whose payment is not there yet waits 2 + 4 + 8 + 16 seconds.
ATTEMPTS_MAX = 5
# A task settles for this long and then rings again, so that no message holds a process for long.
RING_SECONDS_MAX = 10.0
# A larger batch, or one that has webhooks in isolation, may take long: rings are left to other workers meanwhile.
SMALL_ROWS = 32
# Deadlock and serialization failure: the batch is retried.
RETRIED_SQLSTATES = ("40P01", "40001")
RETRIES_MAX = 3
# A task is cut off after thirty seconds, and a batch that timed out has taken up to fifteen of them.
SINGLE_SECONDS_MAX = 10.0
# So many webhooks in a row that failed by the database, locks excepted, are the database's trouble.
TROUBLES_MAX = 3

# Taken: the work rows go first and in this transaction; a row that another worker claimed meanwhile is not returned,
# so it is not settled. The range of the ids prunes the partitions, which an array does not. The ids themselves are
# compared with the join: an array would be sorted anew for each row, three quarters of the statement's time.
_TAKE = prepared(
    """
    with taken as (
        delete from webhook_work where webhook_id = any(cast(:ids as uuid[])) and claim_id = :claim_id
        returning webhook_id, attempts
    )
    select h.id, h.tenant_id, h.provider_id, h.path, h.body, h.headers, h.payment_id, taken.attempts, p.adapter, p.mode,
           (select true from provider_breakers where opens > 0 order by provider_id limit 1) as is_any_paused
    from taken
    join payment_webhooks h on h.id = taken.webhook_id and h.id between :first and :last
    left join payment_providers p on p.tenant_id = h.tenant_id and p.id = h.provider_id
    order by h.received_at, h.id
    """
)
_SETTLED = rows_of(tables.payment_webhooks, "id", "status", "verdict", "reason")
_WRITE_SETTLED = prepared(_SETTLED.update("id").values(settled_at=func.now()))


@dataclass(slots=True)
class _Verdicts:
    """What is written about the webhooks of a batch, apart from their payments."""

    # Id, status, verdict and reason.
    settled: list[tuple[uuid.UUID, str, str, str]] = field(default_factory=list)
    # With the attempts that count, and the seconds until the next.
    waiting: list[tuple[StoredWebhook, int, float]] = field(default_factory=list)
    # Providers that cannot be used, and why.
    unusable: dict[uuid.UUID, str] = field(default_factory=dict)
    # With the dead letter's reason and detail.
    dead: list[tuple[StoredWebhook, Reason, str]] = field(default_factory=list)
    # Webhooks about another payment than their rows name, with that payment.
    renamed: list[tuple[uuid.UUID, uuid.UUID | None]] = field(default_factory=list)
    # Webhooks that may end a provider's pause.
    during_pause: list[uuid.UUID] = field(default_factory=list)


def settle_due(runtime: Runtime) -> None:
    """Settle webhooks until none is due, for RING_SECONDS_MAX at most."""
    runtime.doorbells.take_down("settle")
    settle_until(runtime, time.monotonic() + RING_SECONDS_MAX)


def settle_until(runtime: Runtime, deadline: float, listener: RingListener | None = None) -> None:
    """Settle webhooks until none is due or the time is over; for what is due then another worker has been rung."""
    due = WebhookQueue(FIRST_ROWS)
    while settle_batch(runtime, due, listener) and not due.is_drained:
        if is_over(deadline):
            return


def is_over(deadline: float) -> bool:
    """Return whether a task is to end though it could continue."""
    return time.monotonic() > deadline or is_stopping()


def settle_batch(runtime: Runtime, due: WebhookQueue, listener: RingListener | None = None) -> int:
    """Claim and settle one batch; return how many webhooks were claimed, 0 also where the database is in trouble.

    Ring for another worker where more may be due. A `listener` listens no more where the batch may take long. Raise
    DBAPIError where nothing can be claimed.
    """
    if not pay_back(runtime):
        return 0
    claim = due.claim(runtime)
    if listener and (claim.single or len(claim) > SMALL_ROWS):
        listener.leave()
    if len(claim) and not due.is_drained:
        runtime.doorbells.ring("settle")
    return len(claim) if settle_claimed(runtime, claim) else 0


def settle_claimed(runtime: Runtime, claim: WebhookClaim) -> bool:
    """Settle a claim; return False where the database is in trouble that no single webhook causes."""
    together, single = claim.together, list(claim.single)
    until = time.monotonic() + SINGLE_SECONDS_MAX
    if together:
        try:
            _settle_retrying(runtime, together, claim.id)
        except Exception as error:  # one bad webhook must not fail the batch: settle one by one
            if database_trouble.note_or_log(runtime, "settle", error, "batch_failed", webhooks=len(together)) == "lock":
                lock_waits.note_lock()
            single += together
    return _settle_single(runtime, claim.id, single, until)


def _settle_single(runtime: Runtime, claim_id: uuid.UUID, webhook_ids: list[uuid.UUID], until: float) -> bool:
    """Settle webhooks one by one; return False where the database is in trouble that no single webhook causes.

    Webhooks that were not tried by `until` are given back: otherwise the task would be cut off and cost them an
    attempt.
    """
    troubles = 0
    for index, webhook_id in enumerate(webhook_ids):
        if troubles == TROUBLES_MAX:
            postpone.postpone(runtime, Postponement(claim_id, webhook_ids[index:], "connection"))
            break
        if time.monotonic() > until:
            postpone.hand_back(runtime, claim_id, webhook_ids[index:])
            break
        trouble = _settle_one(runtime, webhook_id, claim_id)
        # A lock that one webhook waits for says nothing about the others.
        troubles = troubles + 1 if trouble not in (None, "lock") else 0
    return troubles < TROUBLES_MAX


def _settle_one(runtime: Runtime, webhook_id: uuid.UUID, claim_id: uuid.UUID) -> Trouble | None:
    """Settle a webhook in a transaction of its own; one that fails waits for its next attempt. Return the trouble."""
    try:
        _settle_retrying(runtime, [webhook_id], claim_id, is_single=True)
        return None
    except Exception as error:  # the body raised, or the database is in trouble
        trouble = find_trouble(error)
        if trouble is None:
            log.exception("webhook_failed", webhook_id=str(webhook_id))
            if postpone.try_again(runtime, claim_id, webhook_id, ATTEMPTS_MAX):
                return _end(runtime, webhook_id, claim_id, "raised", type(error).__name__)
            return None
    DATABASE_TROUBLE.labels("settle", trouble).inc()
    is_own_fault = postpone.may_be_own_fault(trouble)
    one = Postponement(claim_id, [webhook_id], trouble, stays_single=True, is_own_fault=is_own_fault)
    if postpone.postpone(runtime, one):
        return _end(runtime, webhook_id, claim_id, "attempts_exhausted", OWN_FAULT_DETAIL)
    return trouble


def _end(runtime: Runtime, webhook_id: uuid.UUID, claim_id: uuid.UUID, reason: Reason, detail: str) -> Trouble | None:
    """Make a webhook a dead letter; where the database is in trouble it stays due, and the trouble is returned."""
    try:
        with runtime.database.transaction("worker") as connection:
            dead = [(webhook, reason, detail) for webhook in _take(connection, [webhook_id], claim_id)]
            _write_verdicts(connection, _Verdicts(dead=dead), [])
    except SQLAlchemyError as error:
        return database_trouble.note_or_log(runtime, "settle", error, "webhook_not_ended", webhook_id=str(webhook_id))
    return None


def _settle_retrying(
    runtime: Runtime, webhook_ids: list[uuid.UUID], claim_id: uuid.UUID, *, is_single: bool = False
) -> None:
    by_keys: ByKeys = "few" if len(webhook_ids) <= FEW_ROWS else "many"
    for attempt in range(1, RETRIES_MAX + 1):
        try:
            with settlement.open(runtime, "worker", by_keys=by_keys, is_single=is_single) as batch:
                verdicts = _settle(runtime, batch, webhook_ids, claim_id)
            break
        except DBAPIError as error:
            if attempt == RETRIES_MAX or read_sqlstate(error) not in RETRIED_SQLSTATES:
                raise
    if verdicts.settled:
        postpone.note_settled()
    for provider_id, problem in verdicts.unusable.items():
        provider_trouble.note(runtime, provider_id, problem)
    for verdict, count in Counter(verdict for _, _, verdict, _ in verdicts.settled).items():
        WEBHOOKS_SETTLED.labels(verdict).inc(count)
    if verdicts.during_pause:
        breaker.note_webhooks(runtime, verdicts.during_pause)


def _settle(runtime: Runtime, batch: Batch, webhook_ids: list[uuid.UUID], claim_id: uuid.UUID) -> _Verdicts:
    webhooks, verdicts, events = _take(batch.connection, webhook_ids, claim_id), _Verdicts(), Events(batch.connection)
    verdicts.during_pause = [webhook.id for webhook in webhooks if webhook.is_any_paused]
    for webhook in webhooks:
        if webhook.attempts > ATTEMPTS_MAX:
            verdicts.dead.append((webhook, "attempts_exhausted", f"not settled in {ATTEMPTS_MAX} attempts"))
            continue
        try:
            events.add(webhook, translate(runtime, webhook))
        except Exception as error:  # a body that cannot be read must not fail the batch
            _judge_untranslated(webhook, error, verdicts)
    events.note(batch.settle(events.list_items()))
    for webhook, results in events.by_webhook():
        _judge(webhook, results, verdicts)
    _write_verdicts(batch.connection, verdicts, events.alerts)
    return verdicts


def _judge_untranslated(webhook: StoredWebhook, error: Exception, verdicts: _Verdicts) -> None:
    if isinstance(error, Unusable):
        verdicts.dead.append((webhook, "unusable", redact(str(error))))
    elif isinstance(error, ProviderUnusable):
        verdicts.unusable[webhook.provider_id] = str(error)
        verdicts.waiting.append((webhook, webhook.attempts - 1, UNUSABLE_SECONDS))
    elif webhook.attempts >= ATTEMPTS_MAX:
        verdicts.dead.append((webhook, "raised", type(error).__name__))
    else:
        log.error("webhook_not_translated", webhook_id=str(webhook.id), exc_info=error)
        verdicts.waiting.append((webhook, webhook.attempts, retry_seconds(webhook.attempts + 1)))


def _take(connection: Connection, webhook_ids: list[uuid.UUID], claim_id: uuid.UUID) -> list[StoredWebhook]:
    """Delete the work rows that the claim still holds; return their webhooks in the order of arrival."""
    wanted = {"ids": uuid_array(webhook_ids), "first": min(webhook_ids), "last": max(webhook_ids), "claim_id": claim_id}
    return [
        StoredWebhook(webhook_id, tenant_id, provider_id, path, bytes(body), *rest)
        for webhook_id, tenant_id, provider_id, path, body, *rest in read(connection, _TAKE, wanted)
    ]


def _judge(webhook: StoredWebhook, results: Sequence[EventResult], verdicts: _Verdicts) -> None:
    is_last = webhook.attempts >= ATTEMPTS_MAX
    if is_last:
        for result in results:
            result.leave_to_others()
    unknown = next((result for result in results if result.verdict is None), None)
    first = next((result for result in results if result.payment_id is not None), None)
    # A webhook never belongs to a payment of the tenant's other provider.
    payment_id = None if first is None or (is_last and first.is_foreign) else first.payment_id
    if payment_id != webhook.payment_id:
        webhook = replace(webhook, payment_id=payment_id)
        verdicts.renamed.append((webhook.id, payment_id))
    # What nobody signed is no work for a person: it is let go.
    if unknown is not None and not (is_last and webhook.path == POKE_PATH):
        # Those of its events that were settled are not settled again.
        if is_last:
            verdicts.dead.append((webhook, "unknown_payment", str(NotYet())))
        else:
            verdicts.waiting.append((webhook, webhook.attempts, retry_seconds(webhook.attempts + 1)))
        return
    verdict, reason = sum_up(results)
    status = "failed" if verdict is Verdict.DEAD_LETTER else "processed"
    verdicts.settled.append((webhook.id, status, str(verdict), reason))


def _write_verdicts(connection: Connection, verdicts: _Verdicts, alarms: Sequence[AlertRow]) -> None:
    for webhook, reason, detail in verdicts.dead:
        verdicts.settled.append((webhook.id, "failed", str(Verdict.DEAD_LETTER), f"{reason}: {detail}"))
    if verdicts.settled:
        buffer(connection, _WRITE_SETTLED, _SETTLED.encode(verdicts.settled))
    postpone.wait(connection, verdicts.waiting)
    inbox.rename_payments(connection, verdicts.renamed)
    dead_letters.write(connection, [to_dead_letter(*dead) for dead in verdicts.dead])
    letters = [
        AlertRow("webhook_dead_letter", dead.tenant_id, {"webhook_id": dead.id, "reason": reason}, str(dead.id))
        for dead, reason, _ in verdicts.dead
    ]
    alerts.write(connection, [*letters, *alarms])
