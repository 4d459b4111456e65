"""Settles due webhooks in sets: claim, translate, decide, write, commit, until nothing is due."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from app.core.decision import Decision, Verdict
from app.core.errors import NotYet, Unusable
from app.core.redaction import redact
from app.core.schedule import retry_seconds
from app.metrics import WEBHOOKS_SETTLED
from app.runtime import Runtime
from app.services import alerts, dead_letters, settlement
from app.services.after_commit import number, tell
from app.services.alerts import AlertRow
from app.services.dead_letters import DeadLetterRow
from app.services.settlement import Outcome
from app.services.translation import StoredWebhook, translate
from app.services.webhook_claims import WebhookQueue
from models import ByKeys, prepared, read, write_later
from models.row_sets import encode_rows, row_set, uuid_array

log = structlog.get_logger(__name__)

# Up to here plans that are kept cost less than plans made for the batch: making those is nearly half of the work for
# one row, and little for a hundred; and joins row by row, which the kept ones are, grow with the square of the batch.
FEW_ROWS = 100
# One try in company, then alone; a webhook that kills its worker each time is a dead letter after five leases. One for
# a payment that is not there yet waits 2 + 4 + 8 + 16 seconds.
ATTEMPTS_MAX = 5
RING_SECONDS_MAX = 10.0
# Deadlock and serialization failure: the batch is decided anew.
RETRIED_SQLSTATES = ("40P01", "40001")
RETRIES_MAX = 3

# The work rows go first and in this transaction: what is not ours any more is not returned, and not settled.
# Between which ids they are keeps the months out of the plan, and unlocked, that have none of them. The ids themselves
# would be sorted anew for each webhook that is looked up: three quarters of the statement's time.
_TAKE = prepared(
    """
    with taken as (
        delete from webhook_work where webhook_id = any(cast(:ids as uuid[])) and claim_id = :claim_id
        returning webhook_id, attempts
    )
    select h.id, h.tenant_id, h.provider_id, h.path, h.body, h.headers, h.payment_id, taken.attempts, p.adapter
    from taken
    join payment_webhooks h on h.id = taken.webhook_id and h.id between :first and :last
    join payment_providers p on p.tenant_id = h.tenant_id and p.id = h.provider_id
    order by h.received_at, h.id
    """
)
_WAIT_COLUMNS = {
    "id": "uuid",
    "tenant_id": "uuid",
    "payment_id": "uuid",
    "attempts": "integer",
    "wait": "double precision",
}
_WAIT = prepared(
    f"""
    insert into webhook_work (webhook_id, tenant_id, payment_id, attempts, due_at)
    select id, tenant_id, payment_id, attempts, now() + make_interval(secs => wait) from {row_set(_WAIT_COLUMNS)}
    """  # noqa: S608  # constants
)
_MARK_COLUMNS = {"id": "uuid", "status": "text", "verdict": "text", "reason": "text"}
_MARK = prepared(
    f"""
    update payment_webhooks h set status = r.status, verdict = r.verdict, reason = r.reason, settled_at = now()
    from {row_set(_MARK_COLUMNS)} where h.id = r.id and h.id = any(cast(:id as uuid[]))
    """  # noqa: S608  # constants
)


@dataclass(slots=True)
class _Marks:
    """What becomes of the webhooks of a batch beside the settlement."""

    settled: list[tuple[uuid.UUID, str, str, str]] = field(default_factory=list)
    waiting: list[StoredWebhook] = field(default_factory=list)
    dead: list[tuple[StoredWebhook, str, str]] = field(default_factory=list)


def settle_due(runtime: Runtime) -> None:
    """Settles webhooks until none is due, at most for RING_SECONDS_MAX."""
    deadline = time.monotonic() + RING_SECONDS_MAX
    runtime.doorbells.take_down("settle")
    queue = WebhookQueue()
    while True:
        # Fairness can leave a batch short while rows are due; only an empty claim says that nothing is.
        if settle_batch(runtime, queue) == 0:
            return
        if time.monotonic() > deadline:
            runtime.doorbells.ring("settle")
            return


def settle_batch(runtime: Runtime, queue: WebhookQueue) -> int:
    """Claims and settles one batch; returns how many webhooks were claimed."""
    claim = queue.claim(runtime)
    together, alone = claim.together, list(claim.alone)
    if together:
        try:
            _settle_retrying(runtime, together, claim.id)
        except Exception:  # one of them spoils the batch: each gets a transaction of its own
            log.exception("batch_failed", webhooks=len(together))
            alone += together
    for webhook_id in alone:
        try:
            _settle_retrying(runtime, [webhook_id], claim.id)
        except Exception as error:  # the body raised: it waits for its next try, at the limit as a dead letter
            log.exception("webhook_failed", webhook_id=str(webhook_id))
            _give_back(runtime, webhook_id, claim.id, error)
    return len(claim)


def _settle_retrying(runtime: Runtime, webhook_ids: list[uuid.UUID], claim_id: uuid.UUID) -> None:
    by_keys: ByKeys = "few" if len(webhook_ids) <= FEW_ROWS else "many"
    for attempt in range(1, RETRIES_MAX + 1):
        try:
            with runtime.database.transaction("worker", by_keys=by_keys) as connection:
                outcomes, marks = _settle(runtime, connection, webhook_ids, claim_id)
                numbering = number(connection, outcomes)
            break
        except OperationalError as error:
            if attempt == RETRIES_MAX or getattr(error.orig, "pgcode", None) not in RETRIED_SQLSTATES:
                raise
    for verdict, count in Counter(verdict for _, _, verdict, _ in marks.settled).items():
        WEBHOOKS_SETTLED.labels(verdict).inc(count)
    tell(runtime, outcomes, numbering)


def _settle(
    runtime: Runtime, connection: Connection, webhook_ids: list[uuid.UUID], claim_id: uuid.UUID
) -> tuple[list[Outcome], _Marks]:
    webhooks = _take(connection, webhook_ids, claim_id)
    items, marks = [], _Marks()
    for webhook in webhooks:
        if webhook.attempts > ATTEMPTS_MAX:
            marks.dead.append((webhook, "attempts_exhausted", f"not settled in {ATTEMPTS_MAX} attempts"))
            continue
        try:
            items.append(translate(runtime, webhook))
        except Unusable as error:
            marks.dead.append((webhook, "unusable", redact(str(error))))
    outcomes = settlement.settle(connection, items) if items else []
    by_id = {webhook.id: webhook for webhook in webhooks}
    for outcome in outcomes:
        assert outcome.item.webhook_id is not None  # noqa: S101  # set by translate
        _judge(by_id[outcome.item.webhook_id], outcome.decision, marks)
    _write_marks(connection, marks)
    return outcomes, marks


def _take(connection: Connection, webhook_ids: list[uuid.UUID], claim_id: uuid.UUID) -> list[StoredWebhook]:
    """Takes the webhooks of a claim out of the work, in the order of their arrival; those that are still its own."""
    wanted = {"ids": uuid_array(webhook_ids), "first": min(webhook_ids), "last": max(webhook_ids), "claim_id": claim_id}
    return [
        StoredWebhook(webhook_id, tenant_id, provider_id, path, bytes(body), *rest)
        for webhook_id, tenant_id, provider_id, path, body, *rest in read(connection, _TAKE, wanted)
    ]


def _judge(webhook: StoredWebhook, decision: Decision | None, marks: _Marks) -> None:
    if decision is None:
        if webhook.attempts >= ATTEMPTS_MAX:
            marks.dead.append((webhook, "unknown_payment", str(NotYet())))
        else:
            marks.waiting.append(webhook)
        return
    is_held = decision.case is not None
    verdict = Verdict.DEAD_LETTER if is_held else decision.verdict
    status = "failed" if is_held else "processed"
    marks.settled.append((webhook.id, status, str(verdict), decision.reason))


def _write_marks(connection: Connection, marks: _Marks) -> None:
    for webhook, reason, detail in marks.dead:
        marks.settled.append((webhook.id, "failed", str(Verdict.DEAD_LETTER), f"{reason}: {detail}"))
    if marks.settled:
        write_later(connection, _MARK, encode_rows(_MARK_COLUMNS, marks.settled))
    if marks.waiting:
        rows = [
            (webhook.id, webhook.tenant_id, webhook.payment_id, webhook.attempts, retry_seconds(webhook.attempts + 1))
            for webhook in marks.waiting
        ]
        write_later(connection, _WAIT, encode_rows(_WAIT_COLUMNS, rows))
    dead_letters.write(connection, [_dead_letter(*dead) for dead in marks.dead])
    alerts.write(
        connection,
        [
            AlertRow("webhook_dead_letter", webhook.tenant_id, {"webhook_id": webhook.id, "reason": reason})
            for webhook, reason, _ in marks.dead
        ],
    )


def _dead_letter(webhook: StoredWebhook, reason: str, detail: str) -> DeadLetterRow:
    return DeadLetterRow(
        tenant_id=webhook.tenant_id,
        kind="webhook",
        reason=reason,
        detail=detail,
        payment_id=webhook.payment_id,
        provider_id=webhook.provider_id,
        webhook_id=webhook.id,
        body=webhook.body,
        headers=webhook.headers,
        attempts=webhook.attempts,
    )


# The claim stays with the row: it is what makes it suspect.
_GIVE_BACK = text(
    "update webhook_work set due_at = now() + make_interval(secs => :wait)"
    " where webhook_id = :id and claim_id = :claim_id returning attempts"
)


def _give_back(runtime: Runtime, webhook_id: uuid.UUID, claim_id: uuid.UUID, error: Exception) -> None:
    """Lets a webhook whose settling raised wait for its next try, or ends it as a dead letter."""
    with runtime.database.transaction("worker") as connection:
        attempts = connection.execute(
            text("select attempts from webhook_work where webhook_id = :id and claim_id = :claim_id"),
            {"id": webhook_id, "claim_id": claim_id},
        ).scalar()
        if attempts is None:
            return
        # A database that is away is no fault of the webhook's: it does not come nearer to its end by that.
        is_outage = isinstance(error, DBAPIError) and error.connection_invalidated
        if attempts < ATTEMPTS_MAX or is_outage:
            connection.execute(
                _GIVE_BACK, {"id": webhook_id, "claim_id": claim_id, "wait": retry_seconds(attempts + 1)}
            )
            return
        (webhook,) = _take(connection, [webhook_id], claim_id)
        marks = _Marks(dead=[(webhook, "raised", type(error).__name__)])
        _write_marks(connection, marks)
