"""Webhooks that were claimed and not settled: postponed by the database's trouble, or waiting for their next attempt.

Trouble of the database uses no attempt: the one that the claim counted is given back, and the webhook is due later.

One webhook can itself cause the timeout or end its connection (a poison message). That differs from lasting trouble:
for an hour, in at least OWN_FAULT_POSTPONEMENTS isolated attempts, it failed so while the same process settled others.
Then it is a dead letter. A lock is never counted, however long it is held.
"""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Double, Update, and_, func, update

from app.core.schedule import POSTPONE_SECONDS_MAX, POSTPONE_TIMEOUT_SECONDS_MAX, postpone_seconds, retry_seconds
from app.runtime.runtime import Runtime
from app.services.queues.release import due_after, give_back
from app.services.webhooks.translate import StoredWebhook
from models import Trouble, buffer, prepared, tables
from models.array_params import rows_of
from models.sql import sql

# Longer than reindexing or a failover takes; attempts come at least once a minute meanwhile.
OWN_FAULT_SECONDS = 3_600
OWN_FAULT_POSTPONEMENTS = 20
OWN_FAULT_DETAIL = (
    f"ran into a time limit or lost its connection for {OWN_FAULT_SECONDS // 3_600} hour,"
    f" in at least {OWN_FAULT_POSTPONEMENTS} tries, while others were settled"
)
# A failure counts against its webhook only where others were settled within this time before.
OTHERS_SECONDS = 600.0
# A lock, a full disk or a read-only server is never the fault of one row.
_OWN_FAULTS: frozenset[Trouble] = frozenset({"timeout", "connection"})
# Postponements beyond these do not make the wait longer.
_TIMES_MAX = 12

_WORK = tables.webhook_work
_WAITING = rows_of(_WORK, "webhook_id", "tenant_id", "payment_id", "attempts", wait=Double)
_WAIT = prepared(
    sql(
        """
        insert into webhook_work (webhook_id, tenant_id, payment_id, attempts, due_at)
        select webhook_id, tenant_id, payment_id, attempts, now() + make_interval(secs => wait) from {waiting}
        """,
        waiting=_WAITING.source,
    )
)
# The attempt that the claim counted is given back.
_ATTEMPTS_BEFORE = func.greatest(_WORK.c.attempts - 1, 0)


@dataclass(frozen=True, slots=True)
class Postponement:
    """Webhooks of one claim that are postponed. `stays_single`: each failed in isolation and is retried so."""

    claim_id: uuid.UUID
    webhook_ids: Sequence[uuid.UUID]
    trouble: Trouble
    stays_single: bool = False
    is_own_fault: bool = False


_settled_at: float | None = None


def forget_settled() -> None:
    """Forget that this process settled webhooks; for tests."""
    global _settled_at
    _settled_at = None


def note_settled() -> None:
    """Record that this process settled webhooks just now."""
    global _settled_at  # one moment per process
    _settled_at = time.monotonic()


def may_be_own_fault(trouble: Trouble) -> bool:
    """Return whether trouble of one webhook counts against it: this process settled others recently."""
    is_recent = _settled_at is not None and time.monotonic() - _settled_at < OTHERS_SECONDS
    return is_recent and trouble in _OWN_FAULTS


def wait(connection: Connection, waiting: Sequence[tuple[StoredWebhook, int, float]]) -> None:
    """Put webhooks of this transaction back into the queue, with the attempts that count and the seconds to wait."""
    if waiting:
        rows = [
            (webhook.id, webhook.tenant_id, webhook.payment_id, attempts, seconds)
            for webhook, attempts, seconds in waiting
        ]
        buffer(connection, _WAIT, _WAITING.encode(rows))


def postpone(runtime: Runtime, postponement: Postponement) -> bool:
    """Postpone webhooks and give their attempts back; return whether one has had its last attempt. Raise nothing."""
    ceiling = POSTPONE_TIMEOUT_SECONDS_MAX if postponement.trouble == "timeout" else POSTPONE_SECONDS_MAX
    waits = [postpone_seconds(times, ceiling) for times in range(1, _TIMES_MAX + 1)]
    # The first of the postponements in a row that may be the webhook's own fault.
    since = func.coalesce(_WORK.c.postponed_since, func.now()) if postponement.is_own_fault else None
    kept_since = func.now() - datetime.timedelta(seconds=OWN_FAULT_SECONDS)
    is_over = and_(_WORK.c.postponed >= OWN_FAULT_POSTPONEMENTS, _WORK.c.postponed_since < kept_since)
    statement = (
        _of_claim(postponement.claim_id, postponement.webhook_ids)
        .values(attempts=_ATTEMPTS_BEFORE, postponed=_WORK.c.postponed + 1, postponed_since=since)
        .values(due_at=due_after(_WORK.c.postponed + 1, waits))
        .returning(is_over.label("is_over"))
    )
    if not postponement.stays_single:
        statement = statement.values(claim_id=None)
    return any(row.is_over for row in give_back(runtime, statement))


def hand_back(runtime: Runtime, claim_id: uuid.UUID, webhook_ids: Sequence[uuid.UUID]) -> None:
    """Give back webhooks that were claimed and not tried; they are due at once. Raise nothing."""
    # claim_id is kept: a due row that has one is retried in isolation.
    give_back(runtime, _of_claim(claim_id, webhook_ids).values(attempts=_ATTEMPTS_BEFORE, due_at=func.now()))


def try_again(runtime: Runtime, claim_id: uuid.UUID, webhook_id: uuid.UUID, attempts_max: int) -> bool:
    """Let a webhook whose settling raised wait for its next attempt; return whether it has had them all."""
    waits = [retry_seconds(attempts + 1) for attempts in range(1, attempts_max + 1)]
    statement = _of_claim(claim_id, [webhook_id]).values(due_at=due_after(_WORK.c.attempts, waits))
    is_over = (_WORK.c.attempts >= attempts_max).label("is_over")
    return any(row.is_over for row in give_back(runtime, statement.returning(is_over)))


def _of_claim(claim_id: uuid.UUID, webhook_ids: Sequence[uuid.UUID]) -> Update:
    """Return the update that ends the lease of the webhooks' work rows where the claim still holds them."""
    ours = _WORK.c.webhook_id.in_(webhook_ids), _WORK.c.claim_id == claim_id
    return update(_WORK).where(*ours).values(leased_until=None)
