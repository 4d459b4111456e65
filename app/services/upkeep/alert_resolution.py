"""Resolves open alarms whose reason is over, by the rows that say so.

What ends an alarm (a person's decision, a deposit, a provider's answer) writes nothing about it: housekeeping compares
the alarms that are open with the rows that they are about, and reads no more where none is. An alarm is locked before
its rows are read in a later snapshot: one that is raised meanwhile either is found to hold, or is written anew.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import structlog
from sqlalchemy import Connection, TextClause, select, text

from app.runtime.runtime import Runtime
from app.services.records.alerts import IS_OPEN
from app.services.records.database_trouble import EPISODE_SECONDS
from models import tables

log = structlog.get_logger(__name__)

_ALERTS = tables.alerts
# Alarms examined in one transaction; a run goes through all that are open.
CHUNK_ROWS = 500
# An answer that cannot be used is over once the provider has given none for a day: polls are daily at the least.
UNEXPECTED_SECONDS = 86_400.0

# Each finds which of the alarms `a` are over: their ids, since when, and by what. A dead letter may have been closed
# before the alarm about it was raised, where a person had decided already.
_CASES = """
    select a.id, d.closed_at, d.state || ' by ' || coalesce(d.closed_by, 'system')
    from a join dead_letters d on d.tenant_id = a.tenant_id and d.state <> 'open'
        and d.payment_id = cast(left(a.subject, 36) as uuid) and d.case_key = substr(a.subject, 38)
"""
_DIFFERENCES = """
    select a.id, d.closed_at, d.state || ' by ' || coalesce(d.closed_by, 'system')
    from a join dead_letters d on d.tenant_id = a.tenant_id and d.state <> 'open' and d.kind = 'reconciliation'
        and d.provider_id = cast(left(a.subject, 36) as uuid) and d.case_key = substr(a.subject, 38)
"""
# A webhook that was redriven and failed again has a dead letter for each time; one that is open sorts first.
_WEBHOOKS = """
    select a.id, d.closed_at, d.state || ' by ' || coalesce(d.closed_by, 'system')
    from a cross join lateral (
        select * from dead_letters where tenant_id = a.tenant_id and webhook_id = cast(a.subject as uuid)
        order by closed_at desc nulls first limit 1) as d
    where d.state <> 'open'
"""
_DISPUTES = """
    select a.id, d.closed_at, 'the dispute is ' || d.state
    from a join payment_disputes d on d.tenant_id = a.tenant_id and d.state <> 'opened'
        and d.payment_id = cast(left(a.subject, 36) as uuid) and d.dispute_id = substr(a.subject, 38)
"""
# The entry after the last one that left the wallet below zero, if there is one.
_WALLETS = """
    select a.id, n.at, replace(n.type, '_', ' ') || coalesce(' of payment ' || n.payment_id, ' of debit ' || n.debit_id)
    from a join wallets w on w.tenant_id = a.tenant_id and w.kind = 'user'
        and w.currency = left(a.subject, 3) and w.user_id = substr(a.subject, 5)
    cross join lateral (
        select wallet_version from wallet_transactions where wallet_id = w.id and balance_after_minor < 0
        order by wallet_version desc limit 1) as b
    join wallet_transactions n on n.wallet_id = w.id and n.wallet_version = b.wallet_version + 1
"""
_BREAKERS = """
    select a.id, now(), 'the provider answers' from a where not exists (
        select from provider_breakers b where b.provider_id = cast(a.subject as uuid) and b.opens > 0)
"""
_ENDPOINTS = """
    select a.id, now(), case when e.deleted_at is null then 'the endpoint is enabled' else 'the endpoint is deleted' end
    from a join webhook_endpoints e on e.tenant_id = a.tenant_id and e.id = cast(a.subject as uuid)
        and (e.disabled_at is null or e.deleted_at is not null)
"""
# While the secret of one cannot be decrypted its deliveries wait; they end where it is deleted.
_UNUSABLE_ENDPOINTS = """
    select a.id, now(), case when e.deleted_at is not null then 'the endpoint is deleted'
        when e.disabled_at is not null then 'the endpoint is disabled'
        when a.last_at < now() - make_interval(secs => {seconds}) then 'it was not met again'
        else 'no delivery waits for the endpoint' end
    from a join webhook_endpoints e on e.tenant_id = a.tenant_id and e.id = cast(a.subject as uuid)
        and (e.disabled_at is not null or a.last_at < now() - make_interval(secs => {seconds})
            or not exists (select from delivery_work w where w.endpoint_id = e.id))
"""
_QUIET = """
    select a.id, now(), 'it was not met again' from a where a.last_at < now() - make_interval(secs => {seconds})
"""
ENDS = {
    "reconciliation_difference": _DIFFERENCES,
    "webhook_dead_letter": _WEBHOOKS,
    "payment_disputed": _DISPUTES,
    "wallet_negative": _WALLETS,
    "provider_breaker_open": _BREAKERS,
    "endpoint_disabled": _ENDPOINTS,
    "endpoint_unusable": _UNUSABLE_ENDPOINTS.format(seconds=EPISODE_SECONDS),
    "database_trouble": _QUIET.format(seconds=EPISODE_SECONDS),
    "provider_answer_unexpected": _QUIET.format(seconds=UNEXPECTED_SECONDS),
}
# Those that raise them know all that holds, and resolve the others.
KEPT = ("work_overdue", "provider_unusable", "books_broken")
_RESOLVE = """
    with a as (select * from alerts where id = any(:ids)), over (id, at, by) as ({over})
    update alerts set resolved_at = greatest(over.at, alerts.at), resolved_by = over.by, due_at = now()
    from over where alerts.id = over.id
"""


def resolve_ended(runtime: Runtime) -> None:
    """Resolve the open alarms whose reason is over, a chunk in each transaction."""
    after: uuid.UUID | None = None
    while True:
        with runtime.database.transaction("worker") as connection:
            open_alarms = select(_ALERTS.c.id, _ALERTS.c.kind).where(IS_OPEN, _ALERTS.c.kind.not_in(KEPT))
            if after is not None:
                open_alarms = open_alarms.where(_ALERTS.c.id > after)
            locked = open_alarms.order_by(_ALERTS.c.id).limit(CHUNK_ROWS).with_for_update(skip_locked=True)
            rows = connection.execute(locked).all()
            by_statement: dict[str, list[uuid.UUID]] = {}
            for row in rows:
                by_statement.setdefault(ENDS.get(row.kind, _CASES), []).append(row.id)
            resolved = sum(_resolve(connection, over, ids) for over, ids in by_statement.items())
        if resolved:
            log.info("alerts_resolved", alerts=resolved)
        if len(rows) < CHUNK_ROWS:
            return
        after = rows[-1].id


def _resolve(connection: Connection, over: str, ids: Sequence[uuid.UUID]) -> int:
    statement: TextClause = text(_RESOLVE.format(over=over))
    return connection.execute(statement, {"ids": list(ids)}).rowcount
