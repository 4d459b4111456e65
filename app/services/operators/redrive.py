"""Makes ended work due again (redrive). Its effect is decided again, so a second redrive is harmless."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from app.core.errors import ProviderUnusable, RequestRejected, Unusable
from app.core.payment import format_time
from app.core.refunds.policy_refunds import SUSPENSE
from app.runtime.runtime import Runtime
from app.services.operators import resolve
from app.services.operators.dead_letters import DeadLetterFilters, list_dead_letters
from app.services.operators.resolve import Operator
from app.services.payments import batch_decisions, settlement
from app.services.payments.batch_decisions import Item
from app.services.payments.settlement import Batch
from app.services.records import audit
from app.services.records.audit import AuditRow
from app.services.tenants.changes import name_reason
from app.services.webhooks.event_items import Events
from app.services.webhooks.translate import StoredWebhook, translate
from models import tables
from models.sql import columns

# Rows of one command come due at this rate, so that current work is not delayed.
REDRIVES_PER_SECOND = 50
# Rows per command; for more, the operator repeats it and sees the count go down.
REDRIVES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of a redrive, or of a dry run. `moves_money`: at this moment, its work would credit or reverse."""

    dead_letter_id: uuid.UUID
    is_redriven: bool
    effect: str
    moves_money: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """The effect that settling a webhook again would have at this moment."""

    effect: str
    moves_money: bool = False


_WEBHOOKS, _PROVIDERS = tables.payment_webhooks, tables.payment_providers
_VERDICT = ("status", "verdict", "reason", "settled_at")
_WEBHOOK = columns(_WEBHOOKS, "id", "tenant_id", "provider_id", "path", "body", "headers", "payment_id")
# The audit names the payment only where it is of the dead letter's provider: a provider may mention any other id.
_OWN_PAYMENT = text(
    "select id from payment_transactions"
    " where tenant_id = :tenant_id and id = :payment_id and provider_id = :provider_id"
)
# The next call as app.core.schedule.next_call chooses it, but due now, also where the schedule has ended. A completed
# payment is polled: the provider may have given money back since.
_NEXT_ACTION = text(
    """
    select case when status in ('pending', 'processing') and provider_reference is null and expires_at > now()
                    then 'create'
                when status in ('pending', 'processing') and committed_until is null
                        and (capture_sent_at is not null or approved_until > now())
                    then 'advance'
                when exists (select from refunds r where r.tenant_id = :tenant_id and r.payment_id = :payment_id
                             and r.status in ('pending', 'processing'))
                    then 'refund'
                when status in ('failed', 'cancelled') and provider_reference is not null and not session_closed
                    then 'close'
                else 'poll' end
    from payment_transactions where tenant_id = :tenant_id and id = :payment_id
    """
)
_CALL_DUE = text(
    """
    insert into payment_work (payment_id, tenant_id, provider_id, action, due_at)
    select id, tenant_id, provider_id, :action, now() + make_interval(secs => :wait)
    from payment_transactions where tenant_id = :tenant_id and id = :payment_id
    on conflict (payment_id) do update
        set action = excluded.action, due_at = excluded.due_at, attempts = 0, claim_id = null
    """
)


def redrive(
    runtime: Runtime,
    tenant_id: uuid.UUID,
    dead_letter_id: uuid.UUID,
    actor: str,
    is_dry_run: bool = False,
    reason: str | None = None,
) -> Effect:
    """Redrive one dead letter. Raise RequestRejected: 404, or 409 where it is closed or no work can be repeated."""
    by = Operator(actor, reason)
    with settlement.open(runtime, "clerk", tenant_id) as batch:
        effect = _redrive(runtime, batch, tenant_id, dead_letter_id, by, 0.0, is_dry_run)
    if effect.is_redriven:
        _ring(runtime)
    return effect


def redrive_many(
    runtime: Runtime,
    filters: DeadLetterFilters,
    limit: int,
    actor: str,
    is_dry_run: bool = False,
    reason: str | None = None,
) -> list[Effect]:
    """Redrive up to `limit` open dead letters that fit the filters, each in its own transaction, spread over time."""
    found = list_dead_letters(runtime.database, replace(filters, state="open"), min(limit, REDRIVES_MAX))
    effects: list[Effect] = []
    by = Operator(actor, reason)
    for index, row in enumerate(found):
        dead_letter_id, tenant_id = uuid.UUID(row["id"]), uuid.UUID(row["tenant_id"])
        wait = index / REDRIVES_PER_SECOND
        try:
            with settlement.open(runtime, "clerk", tenant_id) as batch:
                effect = _redrive(runtime, batch, tenant_id, dead_letter_id, by, wait, is_dry_run)
        except RequestRejected as rejection:
            # Another operator was faster, or there is no work to repeat: continue with the others.
            effect = Effect(dead_letter_id, False, str(rejection))
        effects.append(effect)
    if any(effect.is_redriven for effect in effects):
        _ring(runtime)
    return effects


def preview_webhook(runtime: Runtime, tenant_id: uuid.UUID, webhook_id: uuid.UUID) -> Preview:
    """Return the effect of settling a webhook again at this moment. Raise RequestRejected as `replay_webhook` does."""
    with runtime.database.transaction("clerk", tenant_id) as connection:
        preview, _ = _preview_webhook(runtime, connection, tenant_id, webhook_id)
    return preview


def replay_webhook(
    runtime: Runtime, tenant_id: uuid.UUID, webhook_id: uuid.UUID, actor: str, reason: str | None = None
) -> str:
    """Make a webhook due again, whatever its verdict; return the effect that it would have at this moment.

    Raise RequestRejected: 404, or 409 for a conflict (the same external id with other bytes), which is never settled.
    """
    with runtime.database.transaction("clerk", tenant_id) as connection:
        preview, item = _preview_webhook(runtime, connection, tenant_id, webhook_id)
        about = {"tenant_id": tenant_id, "payment_id": None, "provider_id": None}
        if item is not None:
            about |= {"payment_id": item.payment_id, "provider_id": item.provider_id}
        own = connection.execute(_OWN_PAYMENT, about).scalar()
        former = _put_webhook_back(connection, tenant_id, webhook_id, 0.0)
        detail = {"webhook_id": webhook_id, "former": former, **name_reason(reason)}
        audit.write(connection, [AuditRow(tenant_id, actor, "webhook_replayed", detail, own)])
    _ring(runtime)
    return preview.effect


def _ring(runtime: Runtime) -> None:
    runtime.doorbells.ring("settle")
    runtime.doorbells.ring("provider")


def _redrive(
    runtime: Runtime,
    batch: Batch,
    tenant_id: uuid.UUID,
    dead_letter_id: uuid.UUID,
    by: Operator,
    wait: float,
    is_dry_run: bool,
) -> Effect:
    connection = batch.connection
    row = resolve.lock_dead_letter(connection, tenant_id, dead_letter_id)
    if row["state"] == "redriven":
        return Effect(dead_letter_id, False, "redriven already")
    if row["state"] != "open":
        raise RequestRejected(409, f"The dead letter is not open any more: {row['state']}.")
    detail = {"dead_letter_id": dead_letter_id, "reason": row["reason"]}
    if row["reason"] == SUSPENSE:
        preview = Preview(resolve.refund_again(batch, row, by, is_dry_run))
    elif row["webhook_id"] is not None:
        preview, _ = _preview_webhook(runtime, connection, tenant_id, row["webhook_id"])
        if not is_dry_run:
            former = _put_webhook_back(connection, tenant_id, row["webhook_id"], wait)
            detail |= {"webhook_id": row["webhook_id"], "former": former}
    else:
        preview = Preview(_call_again(connection, row, wait, is_dry_run))
    if is_dry_run:
        return Effect(dead_letter_id, False, preview.effect, preview.moves_money)
    resolve.close(connection, row, by, "redriven", "open" if _stays_open(row) else "redriven")
    detail |= name_reason(by.reason)
    own = connection.execute(_OWN_PAYMENT, dict(row)).scalar()
    audit.write(connection, [AuditRow(tenant_id, by.actor, "dead_letter_redriven", detail, own)])
    return Effect(dead_letter_id, True, preview.effect, preview.moves_money)


def _stays_open(row: RowMapping) -> bool:
    """Return whether the case still waits for a decision: money and differences do, and a redrive is none."""
    if row["reason"] == SUSPENSE:
        return False
    return row["amount_minor"] is not None or row["reason"] in resolve.MOVED or row["kind"] == "reconciliation"


def _preview_webhook(
    runtime: Runtime, connection: Connection, tenant_id: uuid.UUID, webhook_id: uuid.UUID
) -> tuple[Preview, Item | None]:
    """Return the effect of the webhook at this moment, and its first item where it has any."""
    its_provider = (_PROVIDERS.c.tenant_id == _WEBHOOKS.c.tenant_id, _PROVIDERS.c.id == _WEBHOOKS.c.provider_id)
    query = select(*_WEBHOOK, *columns(_PROVIDERS, "adapter", "mode")).where(
        *its_provider, *_settleable(tenant_id, webhook_id)
    )
    found = connection.execute(query).mappings().first()
    if found is None:
        raise RequestRejected(409, "There is no such webhook to be settled; one with a used id is kept as a mark only.")
    values: dict[str, Any] = {**found, "body": bytes(found["body"]), "attempts": 0}
    events, webhook = Events(connection, is_anew=True), StoredWebhook(**values)
    try:
        events.add(webhook, translate(runtime, webhook))
    except (Unusable, ProviderUnusable) as error:
        return Preview(f"dead_letter: {error}"), None
    items = events.list_items()
    outcomes = batch_decisions.preview(connection, items)
    effects = [resolve.describe(outcomes)] if outcomes else [result.reason for result in events.results]
    return Preview("; then ".join(effects), resolve.moves_money(outcomes)), items[0] if items else None


def _settleable(tenant_id: uuid.UUID, webhook_id: uuid.UUID) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for a webhook that may be settled: one of the tenant, and no conflict."""
    return _WEBHOOKS.c.tenant_id == tenant_id, _WEBHOOKS.c.id == webhook_id, _WEBHOOKS.c.conflicts_with.is_(None)


def _put_webhook_back(
    connection: Connection, tenant_id: uuid.UUID, webhook_id: uuid.UUID, wait: float
) -> dict[str, Any] | None:
    """Make the webhook and all its events due again; return its verdict so far, None where it has none yet.

    The row holds the last verdict only. The audit keeps the former one, so that the timeline shows both in order.
    """
    which = _settleable(tenant_id, webhook_id)
    due_at = func.now() + datetime.timedelta(seconds=wait)
    work = select(*columns(_WEBHOOKS, "id", "tenant_id", "payment_id"), due_at).where(*which)
    names = ["webhook_id", "tenant_id", "payment_id", "due_at"]
    connection.execute(insert(tables.webhook_work).from_select(names, work).on_conflict_do_nothing())
    former = (
        connection.execute(select(*columns(_WEBHOOKS, *_VERDICT)).where(*which).with_for_update(key_share=True))
        .mappings()
        .one()
    )
    events = tables.webhook_events
    connection.execute(delete(events).where(events.c.tenant_id == tenant_id, events.c.webhook_id == webhook_id))
    pending = {"status": "pending", "verdict": None, "reason": None, "settled_at": None}
    connection.execute(update(_WEBHOOKS).where(*which).values(pending))
    if former["verdict"] is None:
        return None
    return {name: former[name] for name in _VERDICT} | {"settled_at": format_time(former["settled_at"])}


def _call_again(connection: Connection, row: RowMapping, wait: float, is_dry_run: bool) -> str:
    about = {"tenant_id": row["tenant_id"], "payment_id": row["payment_id"]}
    if row["payment_id"] is None:
        raise RequestRejected(409, "Only the provider knows this payment; there is nothing to be done again here.")
    action = connection.execute(_NEXT_ACTION, about).scalar()
    if action is None:
        raise RequestRejected(409, "There is no such payment; there is nothing to be done again here.")
    if not is_dry_run:
        connection.execute(_CALL_DUE, about | {"action": action, "wait": wait})
    return f"asks the provider: {action}"
