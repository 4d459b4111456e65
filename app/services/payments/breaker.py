"""The circuit breaker of a provider: calls that fail in a row pause it, for all workers, in PostgreSQL.

A provider that works has no row, and its calls write none. After FAILURES_MAX failed calls in a row it is paused;
after the pause a single call (the probe) goes out, and only its answer lets the others follow. Waiting is not failing:
work due meanwhile is postponed. A verified webhook that arrives during a pause ends it, and so does a list
that reconciliation reads: the probe follows at once. Once the provider has answered, calls that wait for a retry are
due at once.
"""

from __future__ import annotations

import uuid

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.core.errors import ProviderCallFailed, ProviderRefusedUs, Throttled, UnexpectedAnswer
from app.core.facts import Command, CommandKind
from app.core.schedule import pause_seconds, throttle_seconds
from app.runtime.runtime import Runtime
from app.services.payments import settlement
from app.services.payments.batch_decisions import Item
from app.services.payments.settlement import Batch
from app.services.records import alerts, audit, database_trouble
from app.services.records.alerts import AlertRow
from app.services.records.audit import AuditRow
from models import Row, buffer, find_trouble, prepared, read
from models.array_params import uuid_array

log = structlog.get_logger(__name__)

# One payment's retries reach this after a quarter of a minute, a busy provider's outage within its first calls.
FAILURES_MAX = 5

# Postponed work comes back within this time after the pause, not all in one moment.
SPREAD_SECONDS = 2.0
# A call whose probe failed is due this long after the pause: after postponed calls and the sweep that finds them, so
# that another call is the next probe and a single bad call cannot keep its provider paused.
PROBE_AGAIN_SECONDS = 4.0
# Webhooks can continue while a provider's API is down: beyond the first pause they end one only after this time.
WEBHOOK_PAUSE_SECONDS_MIN = 2.0

# An answer that cannot be used raises one alarm in this time for each provider and part of the answer.
UNEXPECTED_ALARM_SECONDS = 86_400

# One statement's worth of work to postpone or to resume, and of payments to expire in one transaction.
PUT_OFF_ROWS_MAX = 1_000
EXPIRE_ROWS_MAX = 100

_FAILED = text(
    """
    insert into provider_breakers as b (provider_id, tenant_id, failures, error)
    values (:provider_id, :tenant_id, 1, :error)
    on conflict (provider_id) do update
        set failures = b.failures + 1, error = excluded.error, changed_at = now()
    returning failures, opens, tenant_id
    """
)
_PAUSE = text(
    """
    update provider_breakers set opens = :opens, probe_until = null, changed_at = now(),
        paused_until = now() + make_interval(secs => :seconds)
    where provider_id = :provider_id
    """
)
_THROTTLED = text(
    """
    insert into provider_breakers as b (provider_id, tenant_id, error, paused_until)
    values (:provider_id, :tenant_id, :error, now() + make_interval(secs => :seconds))
    on conflict (provider_id) do update set error = excluded.error, changed_at = now(), probe_until = null,
        paused_until = greatest(b.paused_until, excluded.paused_until)
    """
)
# A pause that the provider asked for lasts, whatever calls under way still bring.
_ANSWERED = text(
    """
    delete from provider_breakers
    where provider_id = :provider_id and (opens > 0 or paused_until is null or paused_until <= now())
    returning opens
    """
)
# Creates are never planned ahead: one that is due later has failed or was postponed, like whatever has used an attempt.
_RESUME = text(
    """
    update payment_work set due_at = now()
    where payment_id in (
        select payment_id from payment_work
        where provider_id = :provider_id and due_at > now() and claim_id is null and (action = 'create' or attempts > 0)
        order by due_at limit :rows for update skip locked)
    """
)
_END_PAUSES = text(
    """
    update provider_breakers b set paused_until = now()
    where b.opens > 0 and b.paused_until > now()
      and (b.opens = 1 or b.changed_at < now() - make_interval(secs => :least))
      and exists (
        select from payment_webhooks h
        where h.id = any(cast(:ids as uuid[])) and h.provider_id = b.provider_id and h.received_at > b.changed_at)
    returning b.provider_id
    """
)
_END_PAUSE = text(
    "update provider_breakers set paused_until = now() where provider_id = :provider_id and opens > 0"
    " and paused_until > now() and changed_at < now() - make_interval(secs => :seconds)"
)


def note_failure(
    runtime: Runtime,
    tenant_id: uuid.UUID,
    provider_id: uuid.UUID,
    error: ProviderCallFailed,
    is_half_open: bool,
    call_seconds: float = 0.0,
) -> float | None:
    """Count a failed call, in a transaction of its own, and pause the provider where it was one too many.

    A refusal of our credentials is an answer, and so is one that cannot be used, which raises an alarm. The wish to be
    called less often pauses the provider for the time it named and count no failure. Return the pause in seconds
    where the failures led to one.
    """
    about = {"provider_id": provider_id, "tenant_id": tenant_id, "error": str(error)}
    if isinstance(error, ProviderRefusedUs):
        note_answer(runtime, provider_id)
        return None
    if isinstance(error, UnexpectedAnswer):
        note_answer(runtime, provider_id)
        detail = {"provider_id": provider_id, "field": error.field, "error": str(error)}
        alarm = AlertRow("provider_answer_unexpected", tenant_id, detail)
        with runtime.database.transaction("worker") as connection:
            alerts.write_once(connection, [alarm], UNEXPECTED_ALARM_SECONDS, "provider_id", "field")
        return None
    with runtime.database.transaction("worker") as connection:
        if isinstance(error, Throttled):
            connection.execute(_THROTTLED, about | {"seconds": throttle_seconds(error.retry_after_seconds)})
            return None
        return _count_failure(connection, about, is_half_open, call_seconds)


def _count_failure(
    connection: Connection, about: dict[str, object], is_half_open: bool, call_seconds: float
) -> float | None:
    row = connection.execute(_FAILED, about).one()
    # Calls that were under way when the pause began do not make it longer; the single call after it does.
    if not is_half_open and (row.opens > 0 or row.failures < FAILURES_MAX):
        return None
    seconds = pause_seconds(row.opens + 1, call_seconds)
    connection.execute(_PAUSE, about | {"opens": row.opens + 1, "seconds": seconds})
    log.warning("provider_paused", provider_id=str(about["provider_id"]), seconds=seconds, failures=row.failures)
    if row.opens == 0:
        detail = {"provider_id": about["provider_id"], "failures": row.failures, "error": about["error"]}
        alerts.write(connection, [AlertRow("provider_breaker_open", row.tenant_id, detail)])
    return seconds


def note_answer(runtime: Runtime, provider_id: uuid.UUID) -> None:
    """Forget the failures of a provider that has answered; call that waited for it are due at once."""
    with runtime.database.transaction("worker") as connection:
        opens = connection.execute(_ANSWERED, {"provider_id": provider_id}).scalar()
        if opens:
            connection.execute(_RESUME, {"provider_id": provider_id, "rows": PUT_OFF_ROWS_MAX})
    if opens:
        log.info("provider_back", provider_id=str(provider_id))
        runtime.doorbells.ring("provider")


def note_webhooks(runtime: Runtime, webhook_ids: list[uuid.UUID]) -> None:
    """End the pauses of providers that sent these verified webhooks since they began; a probe is due at once.

    The breaker stays half-open: a provider that sends webhooks may still not answer calls. Raise nothing: the webhooks
    are settled, and without this the pause ends by itself.
    """
    values = {"ids": uuid_array(webhook_ids), "least": WEBHOOK_PAUSE_SECONDS_MIN}
    try:
        with runtime.database.transaction("worker") as connection:
            ended = list(connection.execute(_END_PAUSES, values).scalars())
            for provider_id in ended:
                connection.execute(_RESUME, {"provider_id": provider_id, "rows": PUT_OFF_ROWS_MAX})
    except SQLAlchemyError as error:
        log.warning("pause_not_ended", error=type(error).__name__)
        return
    if ended:
        runtime.doorbells.ring("provider")


def note_listed(runtime: Runtime, tenant_id: uuid.UUID, provider_id: uuid.UUID, seconds: float) -> None:
    """End a pause that began before the provider was asked, `seconds` ago, for a list that it gave; a probe follows."""
    with runtime.database.transaction("clerk", tenant_id) as connection:
        ended = connection.execute(_END_PAUSE, {"provider_id": provider_id, "seconds": seconds}).rowcount
        if ended:
            connection.execute(_RESUME, {"provider_id": provider_id, "rows": PUT_OFF_ROWS_MAX})
    if ended:
        runtime.doorbells.ring("provider")


_EXPIRED = prepared(
    """
    select w.tenant_id, w.payment_id, b.provider_id, b.error from provider_breakers b
    join payment_work w on w.provider_id = b.provider_id and w.due_at <= now()
    join payment_transactions p on p.tenant_id = w.tenant_id and p.id = w.payment_id
    where b.paused_until > now() and p.status in ('pending', 'processing') and p.expires_at <= now()
      and (p.committed_until is null or p.committed_until <= now())
    order by w.due_at limit :rows
    """
)
_PUT_OFF = prepared(
    """
    with waiting as (
        select w.payment_id, b.paused_until from provider_breakers b cross join lateral (
            select payment_id from payment_work where provider_id = b.provider_id and due_at <= now()
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
    """Postpone what is due at paused providers: until the pause ends, or until a payment's time is up.

    An open payment whose time is up is cancelled without asking a provider that cannot be asked; money that arrives
    for it all the same is still credited.
    """
    try:
        with settlement.open(runtime, "worker") as batch:
            _expire(batch, read(batch.connection, _EXPIRED, {"rows": EXPIRE_ROWS_MAX}))
            buffer(batch.connection, _PUT_OFF, {"rows": PUT_OFF_ROWS_MAX, "spread": SPREAD_SECONDS})
    except DBAPIError as error:
        if find_trouble(error) not in ("lock", "timeout"):
            raise
        database_trouble.note(runtime, "provider", error)
        _postpone_each(runtime)


def _postpone_each(runtime: Runtime) -> None:
    """Expire payments one by one: one that is locked is left to the next time, and keep no other from its end."""
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
        buffer(connection, _PUT_OFF, {"rows": PUT_OFF_ROWS_MAX, "spread": SPREAD_SECONDS})


def _expire(batch: Batch, rows: list[Row]) -> None:
    command = Command(CommandKind.EXPIRE)
    batch.settle([Item(row.tenant_id, row.payment_id, command, "system", row.provider_id) for row in rows])
    audit.write(
        batch.connection,
        [
            AuditRow(
                row.tenant_id,
                f"provider:{row.provider_id}",
                "provider_call",
                {"action": "poll", "outcome": "paused", "error": row.error},
                row.payment_id,
            )
            for row in rows
        ],
    )
