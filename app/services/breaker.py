"""The circuit breaker of a provider: calls that fail in a row pause it, for all workers, in PostgreSQL.

A provider that works has no row, and its calls write none. After FAILURES_MAX failed calls in a row it is paused;
after the pause a single call goes out, and only its answer lets the others follow. Waiting is not failing: what is due
meanwhile is put off, not tried.
"""

from __future__ import annotations

import uuid

import structlog
from sqlalchemy import Connection, text

from app.core.errors import ProviderCallFailed, ProviderRefusedUs, Throttled
from app.core.facts import Command, CommandKind
from app.core.schedule import pause_seconds, throttle_seconds
from app.runtime import Runtime
from app.services import alerts, audit, settlement
from app.services.after_commit import number, tell
from app.services.alerts import AlertRow
from app.services.audit import AuditRow
from app.services.settlement import Item
from models import prepared, read, write_later

log = structlog.get_logger(__name__)

# One payment's retries reach this after a quarter of a minute, a busy provider's outage within its first calls.
FAILURES_MAX = 5

# Work that was put off comes back within this time after the pause, not all in one moment.
SPREAD_SECONDS = 2.0

# One statement's worth of work to put off, and of payments to expire in one transaction.
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


def note_failure(
    runtime: Runtime, tenant_id: uuid.UUID, provider_id: uuid.UUID, error: ProviderCallFailed, is_probe: bool
) -> None:
    """Counts a failed call, in a transaction of its own, and pauses the provider where it was one too many.

    A refusal of our credentials is an answer, and so is the wish to be called less often: that pauses the provider for
    the time it named and counts no failure.
    """
    about = {"provider_id": provider_id, "tenant_id": tenant_id, "error": str(error)}
    if isinstance(error, ProviderRefusedUs):
        note_answer(runtime, provider_id)
        return
    with runtime.database.transaction("worker") as connection:
        if isinstance(error, Throttled):
            connection.execute(_THROTTLED, about | {"seconds": throttle_seconds(error.retry_after_seconds)})
        else:
            _count_failure(connection, about, is_probe)


def _count_failure(connection: Connection, about: dict[str, object], is_probe: bool) -> None:
    row = connection.execute(_FAILED, about).one()
    # Calls that were under way when the pause began do not make it longer; the single call after it does.
    if is_probe or (row.opens == 0 and row.failures >= FAILURES_MAX):
        seconds = pause_seconds(row.opens + 1)
        connection.execute(_PAUSE, about | {"opens": row.opens + 1, "seconds": seconds})
        log.warning("provider_paused", provider_id=str(about["provider_id"]), seconds=seconds, failures=row.failures)
        if row.opens == 0:
            detail = {"provider_id": about["provider_id"], "failures": row.failures, "error": about["error"]}
            alerts.write(connection, [AlertRow("provider_breaker_open", row.tenant_id, detail)])


def note_answer(runtime: Runtime, provider_id: uuid.UUID) -> None:
    """Forgets the failures of a provider that has answered, and rings for what waited for it."""
    with runtime.database.transaction("worker") as connection:
        opens = connection.execute(_ANSWERED, {"provider_id": provider_id}).scalar()
    if opens:
        log.info("provider_back", provider_id=str(provider_id))
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


def put_off(runtime: Runtime) -> None:
    """Puts off what is due at paused providers: until the pause ends, or until a payment's time is up.

    An open payment whose time is up is cancelled without asking a provider that cannot be asked; money that arrives
    for it all the same is still credited.
    """
    with runtime.database.transaction("worker", by_keys="few") as connection:
        rows = read(connection, _EXPIRED, {"rows": EXPIRE_ROWS_MAX})
        command = Command(CommandKind.EXPIRE)
        items = [Item(row.tenant_id, row.payment_id, command, "system", row.provider_id) for row in rows]
        outcomes = settlement.settle(connection, items) if items else []
        audit.write(
            connection,
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
        write_later(connection, _PUT_OFF, {"rows": PUT_OFF_ROWS_MAX, "spread": SPREAD_SECONDS})
        numbering = number(connection, outcomes)
    if outcomes:
        tell(runtime, outcomes, numbering)
