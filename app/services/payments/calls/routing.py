"""Routing of deposits over several providers: the next one in order takes a payment that surely no provider has.

A deposit that names no provider goes to the first one of its currency's route that takes it and is not paused; where
none takes it, the caller gets the errors of the first one. It moves to the next one where its create call was surely
not sent, or where it waits for a provider that is paused and was never called for it. `payment_work.route_position`
says that it may move: a claim clears it, so that it stays clear whatever becomes of the call, and only a call that
was surely not sent sets it again. A provider whose adapter does not take the deposit is passed over, and a deposit
whose details cannot be read stays where it is.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import orjson
import structlog
from sqlalchemy import Connection

from app.core.facts import Command, CommandKind
from app.providers.deposit_limits import Wanted, takes
from app.runtime.runtime import Runtime
from app.runtime.vault import VaultError
from app.services.payments.batch_decisions import Item
from models import Row, prepared, read

log = structlog.get_logger(__name__)

# The providers after {position} that are enabled, take the currency and are not paused, in order, and what the deposit
# asks for.
_NEXT = """
    select w.tenant_id, w.payment_id, n.providers, p.amount_minor, p.currency, p.metadata, p.success_url, p.failure_url,
           cast(extract(epoch from p.expires_at - p.created_at) as integer) as life_seconds, d.details_encrypted
    from payment_work w
    join payment_transactions p on p.tenant_id = w.tenant_id and p.id = w.payment_id
    left join payment_details d on d.tenant_id = w.tenant_id and d.payment_id = w.payment_id
    cross join lateral (
        select jsonb_agg(jsonb_build_array(r.provider_id, a.adapter) order by r.position) as providers
        from provider_routes r
        join payment_providers a on a.tenant_id = r.tenant_id and a.id = r.provider_id and a.disabled_at is null
        left join provider_breakers b on b.provider_id = r.provider_id
        where r.tenant_id = w.tenant_id and r.currency = p.currency and r.position > {position}
          and (a.currencies is null or r.currency = any(a.currencies))
          and (b.paused_until is null or b.paused_until <= now())
    ) as n
    where n.providers is not null
      and w.action = 'create' and p.status = 'pending' and p.expires_at > now() and {condition}
"""
_NEXT_OF_PAYMENT = prepared(
    _NEXT.format(position="cast(:position as smallint)", condition="w.payment_id = :payment_id")
)
_IS_WAITING = """
    w.route_position is not null and w.claim_id is null and w.due_at <= now() and exists (
        select from provider_breakers b where b.provider_id = w.provider_id and b.paused_until > now())
    order by w.due_at limit :rows
"""
_NEXT_OF_WAITING = prepared(_NEXT.format(position="w.route_position", condition=_IS_WAITING))


def list_moves(runtime: Runtime, connection: Connection, payment_id: uuid.UUID, position: int) -> list[Item]:
    """Return the command that moves a payment to the next provider after `position` that takes it, where one does."""
    wanted = {"payment_id": payment_id, "position": position}
    return list(_list(runtime, read(connection, _NEXT_OF_PAYMENT, wanted)))


def list_moves_of_waiting(runtime: Runtime, connection: Connection, rows_max: int) -> list[Item]:
    """Return the commands that move payments which wait for a paused provider that was never called for them."""
    return list(_list(runtime, read(connection, _NEXT_OF_WAITING, {"rows": rows_max})))


def _list(runtime: Runtime, rows: list[Row]) -> Iterator[Item]:
    for row in rows:
        try:
            wanted = _read_wanted(runtime, row)
        except (VaultError, ValueError):
            # Its own call shows the trouble; the calls that are settled with it must not share it.
            log.warning("route_unreadable", payment_id=str(row.payment_id))
            continue
        for provider_id, adapter in row.providers:
            # One that is not installed here takes nothing.
            capabilities = runtime.registry.capabilities.get(adapter)
            if capabilities is not None and takes(capabilities, wanted, _list_urls(row), row.life_seconds):
                command = Command(CommandKind.REROUTE, provider_id=uuid.UUID(provider_id))
                yield Item(row.tenant_id, row.payment_id, command, "system")
                break


def _read_wanted(runtime: Runtime, row: Row) -> Wanted:
    details = {} if row.details_encrypted is None else orjson.loads(runtime.vault.decrypt_bytes(row.details_encrypted))
    about = row.amount_minor, row.currency, row.metadata, details.get("customer", {}), details.get("description")
    return Wanted(*about)


def _list_urls(row: Row) -> set[str]:
    return {name for name in ("success_url", "failure_url") if getattr(row, name) is not None}
