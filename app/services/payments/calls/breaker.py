"""The circuit breaker of a provider: calls that fail in a row pause it for all workers, in PostgreSQL.

A provider that works has no row, and its calls write none. After FAILURES_MAX failed calls in a row it is paused. After
the pause the breaker is half-open: a single call (the probe) is made, and only its answer lets the others follow. Work
that is due meanwhile is postponed and uses no attempt. A verified webhook that arrives during a pause ends it, and so
does a list that reconciliation reads: the probe follows at once. Once the provider has answered, calls that wait for a
retry are due at once.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence

import structlog
from sqlalchemy import ColumnElement, Connection, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.core.errors import ProviderCallFailed, ProviderRefusedUs, Throttled, UnexpectedAnswer
from app.core.facts import Command, CommandKind
from app.core.schedule import pause_seconds, throttle_seconds
from app.runtime.runtime import Runtime
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from app.services.payments.calls import routing
from app.services.payments.settlement import Batch
from app.services.records import alerts, audit, database_trouble
from app.services.records.alerts import AlertRow
from app.services.records.audit import AuditRow
from models import Row, buffer, find_trouble, prepared, read, tables
from models.database import Role

log = structlog.get_logger(__name__)

_BREAKERS, _WORK, _WEBHOOKS = tables.provider_breakers, tables.payment_work, tables.payment_webhooks

# One payment's retries reach this after a quarter of a minute, a busy provider's outage within its first calls.
FAILURES_MAX = 5

# Postponed work comes back within this time after the pause, not all in one moment.
SPREAD_SECONDS = 2.0
# A call whose probe failed is due this long after the pause: after postponed calls and the sweep that finds them, so
# that another call is the next probe and a single bad call cannot keep its provider paused.
PROBE_AGAIN_SECONDS = 4.0
# Webhooks can continue while a provider's API is down: beyond the first pause they end one only after this time.
WEBHOOK_PAUSE_SECONDS_MIN = 2.0

# One statement's worth of work to postpone or to resume, and of payments to expire in one transaction.
POSTPONED_ROWS_MAX = 1_000
EXPIRE_ROWS_MAX = 100


def note_failure(
    runtime: Runtime,
    tenant_id: uuid.UUID,
    provider_id: uuid.UUID,
    error: ProviderCallFailed,
    is_half_open: bool,
    call_seconds: float = 0.0,
) -> float | None:
    """Count a failed call, in a transaction of its own, and pause the provider where it was one too many.

    A refusal of our credentials is an answer, and so is one that cannot be used, which raises an alarm. A request
    for fewer calls pauses the provider for the time it named and counts no failure. Return the pause in seconds where
    the failures led to one.
    """
    if isinstance(error, Throttled):
        with runtime.database.transaction("worker") as connection:
            pause(connection, tenant_id, provider_id, error, throttle_seconds(error.retry_after_seconds))
    elif isinstance(error, ProviderRefusedUs | UnexpectedAnswer):
        note_answer(runtime, provider_id)
        if isinstance(error, UnexpectedAnswer):
            detail = {"provider_id": provider_id, "field": error.field, "error": str(error)}
            alarm = AlertRow("provider_answer_unexpected", tenant_id, detail, f"{provider_id} {error.field}")
            with runtime.database.transaction("worker") as connection:
                alerts.write(connection, [alarm])
    else:
        with runtime.database.transaction("worker") as connection:
            failure = insert(_BREAKERS).values(
                provider_id=provider_id, tenant_id=tenant_id, failures=1, error=str(error)
            )
            changed = {"failures": _BREAKERS.c.failures + 1, "error": str(error), "changed_at": func.now()}
            counted = failure.on_conflict_do_update(index_elements=["provider_id"], set_=changed)
            row = connection.execute(counted.returning(_BREAKERS)).one()
            # Calls that were under way when the pause began do not make it longer; the single call after it does.
            if is_half_open or (row.opens == 0 and row.failures >= FAILURES_MAX):
                return _open(connection, row, call_seconds)
    return None


def _open(connection: Connection, row: Row, call_seconds: float) -> float:
    """Pause the provider of this row of `provider_breakers` for its failures; return the pause in seconds."""
    opens, seconds = row.opens + 1, pause_seconds(row.opens + 1, call_seconds)
    until = func.now() + datetime.timedelta(seconds=seconds)
    paused = update(_BREAKERS).where(_BREAKERS.c.provider_id == row.provider_id)
    connection.execute(paused.values(opens=opens, probe_until=None, changed_at=func.now(), paused_until=until))
    log.warning("provider_paused", provider_id=str(row.provider_id), seconds=seconds, failures=row.failures)
    if row.opens == 0:
        detail = {"provider_id": row.provider_id, "failures": row.failures, "error": row.error}
        alerts.write(connection, [AlertRow("provider_breaker_open", row.tenant_id, detail, str(row.provider_id))])
    return seconds


def pause(
    connection: Connection, tenant_id: uuid.UUID, provider_id: uuid.UUID, error: Exception, seconds: float
) -> None:
    """Pause a provider without counting a failure; a longer pause that it has already stays."""
    until = func.now() + datetime.timedelta(seconds=seconds)
    row = insert(_BREAKERS).values(provider_id=provider_id, tenant_id=tenant_id, error=str(error), paused_until=until)
    changed = {
        "error": row.excluded.error,
        "changed_at": func.now(),
        "probe_until": None,
        "paused_until": func.greatest(_BREAKERS.c.paused_until, row.excluded.paused_until),
    }
    connection.execute(row.on_conflict_do_update(index_elements=["provider_id"], set_=changed))


def note_answer(runtime: Runtime, provider_id: uuid.UUID) -> None:
    """Forget the failures of a provider that has answered; calls that wait for a retry are due at once."""
    # A pause that the provider asked for lasts, whatever calls under way still bring.
    is_over = or_(_BREAKERS.c.opens > 0, _BREAKERS.c.paused_until.is_(None), _BREAKERS.c.paused_until <= func.now())
    answered = delete(_BREAKERS).where(_BREAKERS.c.provider_id == provider_id, is_over).returning(_BREAKERS.c.opens)
    with runtime.database.transaction("worker") as connection:
        opens = connection.execute(answered).scalar()
        if opens:
            _resume(connection, provider_id)
    if opens:
        log.info("provider_back", provider_id=str(provider_id))
        runtime.doorbells.ring("provider")


def note_webhooks(runtime: Runtime, webhook_ids: list[uuid.UUID]) -> None:
    """End the pauses of providers that sent these verified webhooks since they began; a probe is due at once.

    The breaker stays half-open: a provider that sends webhooks may still not answer calls. Raise nothing: the webhooks
    are settled, and without this the pause ends by itself.
    """
    least = func.now() - datetime.timedelta(seconds=WEBHOOK_PAUSE_SECONDS_MIN)
    is_sent = exists().where(
        _WEBHOOKS.c.id.in_(webhook_ids),
        _WEBHOOKS.c.provider_id == _BREAKERS.c.provider_id,
        _WEBHOOKS.c.received_at > _BREAKERS.c.changed_at,
    )
    try:
        _end_pauses(runtime, "worker", None, or_(_BREAKERS.c.opens == 1, _BREAKERS.c.changed_at < least), is_sent)
    except SQLAlchemyError as error:
        log.warning("pause_not_ended", error=type(error).__name__)


def note_listed(runtime: Runtime, tenant_id: uuid.UUID, provider_id: uuid.UUID, seconds: float) -> None:
    """End a pause that began before the provider was asked, `seconds` ago, for a list that it gave; a probe follows."""
    asked_at = func.now() - datetime.timedelta(seconds=seconds)
    is_older = _BREAKERS.c.changed_at < asked_at
    _end_pauses(runtime, "clerk", tenant_id, _BREAKERS.c.provider_id == provider_id, is_older)


def _end_pauses(runtime: Runtime, role: Role, tenant_id: uuid.UUID | None, *conditions: ColumnElement[bool]) -> None:
    """End the pauses for failures that meet the conditions; their calls are due at once, the first as a probe."""
    paused = update(_BREAKERS).where(_BREAKERS.c.opens > 0, _BREAKERS.c.paused_until > func.now(), *conditions)
    with runtime.database.transaction(role, tenant_id) as connection:
        ended = paused.values(paused_until=func.now()).returning(_BREAKERS.c.provider_id)
        provider_ids = connection.execute(ended).scalars().all()
        for provider_id in provider_ids:
            _resume(connection, provider_id)
    if provider_ids:
        runtime.doorbells.ring("provider")


def _resume(connection: Connection, provider_id: uuid.UUID) -> None:
    """Make the provider's calls due that wait for a retry or were postponed.

    Creates and captures are never planned ahead: one that is due later has failed or was postponed, like all that used
    an attempt.
    """
    waiting = (
        select(_WORK.c.payment_id)
        .where(_WORK.c.provider_id == provider_id, _WORK.c.due_at > func.now(), _WORK.c.claim_id.is_(None))
        .where(or_(_WORK.c.action.in_(("create", "advance")), _WORK.c.attempts > 0))
        .order_by(_WORK.c.due_at)
        .limit(POSTPONED_ROWS_MAX)
        .with_for_update(skip_locked=True)
    )
    connection.execute(update(_WORK).where(_WORK.c.payment_id.in_(waiting)).values(due_at=func.now()))


_EXPIRED = prepared(
    """
    select w.tenant_id, w.payment_id, b.provider_id, b.error from provider_breakers b
    cross join (values (false), (true)) as kind(is_later)
    join payment_work w on w.provider_id = b.provider_id and (w.action in ('poll', 'close')) = kind.is_later
        and w.due_at <= now()
    join payment_transactions p on p.tenant_id = w.tenant_id and p.id = w.payment_id
    where b.paused_until > now() and p.status in ('pending', 'processing') and p.expires_at <= now()
      and (p.committed_until is null or p.committed_until <= now())
      and (p.approved_until is null or p.approved_until <= now()) and p.capture_sent_at is null
    order by w.due_at limit :rows
    """
)
_POSTPONE = prepared(
    """
    with waiting as (
        select w.payment_id, b.paused_until
        from provider_breakers b cross join (values (false), (true)) as kind(is_later) cross join lateral (
            select payment_id from payment_work
            where provider_id = b.provider_id and (action in ('poll', 'close')) = kind.is_later and due_at <= now()
            order by due_at limit :rows for update skip locked) as w
        where b.paused_until > now()
    )
    update payment_work w set claim_id = null, due_at = least(
        waiting.paused_until + random() * make_interval(secs => :spread),
        case when p.status in ('pending', 'processing') and p.expires_at > now() then p.expires_at end)
    from waiting, payment_transactions p
    where w.payment_id = waiting.payment_id and p.id = w.payment_id
    """
)


def postpone_calls(runtime: Runtime) -> None:
    """Postpone due calls of paused providers: until the pause ends, or until the payment expires.

    A routed payment that the provider was never called for goes to the next provider instead.
    An open payment that has expired is cancelled without a call to the paused provider; money that arrives for it
    later is still credited.
    """
    try:
        with settlement.open(runtime, "worker") as batch:
            expired = read(batch.connection, _EXPIRED, {"rows": EXPIRE_ROWS_MAX})
            _expire(batch, expired, routing.list_moves_of_waiting(runtime, batch.connection, EXPIRE_ROWS_MAX))
            buffer(batch.connection, _POSTPONE, {"rows": POSTPONED_ROWS_MAX, "spread": SPREAD_SECONDS})
    except DBAPIError as error:
        if find_trouble(error) not in ("lock", "timeout"):
            raise
        database_trouble.note(runtime, "provider", error)
        _postpone_each(runtime)


def _postpone_each(runtime: Runtime) -> None:
    """Expire payments one by one: one that is locked is left to the next run and does not delay the others."""
    with runtime.database.transaction("worker", by_keys="few") as connection:
        rows = read(connection, _EXPIRED, {"rows": EXPIRE_ROWS_MAX})
    for row in rows:
        try:
            with settlement.open(runtime, "worker", is_single=True) as batch:
                _expire(batch, [row])
        except DBAPIError as error:
            if find_trouble(error) not in ("lock", "timeout"):
                raise
    with runtime.database.transaction("worker", by_keys="few") as connection:
        buffer(connection, _POSTPONE, {"rows": POSTPONED_ROWS_MAX, "spread": SPREAD_SECONDS})


def _expire(batch: Batch, rows: list[Row], others: Sequence[Item] = ()) -> None:
    """Expire the payments in `rows`, and settle `others` with them: a batch settles once."""
    command, audited = Command(CommandKind.EXPIRE), []
    expired = [Item(row.tenant_id, row.payment_id, command, "system", row.provider_id) for row in rows]
    batch.settle([*expired, *others])
    for row in rows:
        call = {"action": "poll", "outcome": "paused", "error": row.error}
        audited.append(AuditRow(row.tenant_id, f"provider:{row.provider_id}", "provider_call", call, row.payment_id))
    audit.write(batch.connection, audited)
