"""Routing of deposits over several providers: the next one in order takes a payment that surely no provider has.

A deposit that names no provider goes to the first one of its currency's route that is not paused. It moves to the next
one where its create call was surely not sent, or where it waits for a provider that is paused and was never called for
it. `payment_work.route_position` says that it may move: a claim clears it, so that it stays clear whatever becomes of
the call, and only a call that was surely not sent sets it again.
"""

from __future__ import annotations

import uuid

from sqlalchemy import Connection

from app.core.facts import Command, CommandKind
from app.services.payments.batch_decisions import Item
from models import Row, prepared, read

# The first provider after {position} that is enabled, takes the currency and is not paused.
_NEXT = """
    select w.tenant_id, w.payment_id, n.provider_id
    from payment_work w
    join payment_transactions p on p.tenant_id = w.tenant_id and p.id = w.payment_id
    cross join lateral (
        select r.provider_id from provider_routes r
        join payment_providers a on a.tenant_id = r.tenant_id and a.id = r.provider_id and a.disabled_at is null
        left join provider_breakers b on b.provider_id = r.provider_id
        where r.tenant_id = w.tenant_id and r.currency = p.currency and r.position > {position}
          and (a.currencies is null or r.currency = any(a.currencies))
          and (b.paused_until is null or b.paused_until <= now())
        order by r.position limit 1
    ) as n
    where w.action = 'create' and p.status = 'pending' and p.expires_at > now() and {condition}
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


def list_moves(connection: Connection, payment_id: uuid.UUID, position: int) -> list[Item]:
    """Return the command that moves a payment to the provider after `position`, where there is one."""
    wanted = {"payment_id": payment_id, "position": position}
    return [_move(row) for row in read(connection, _NEXT_OF_PAYMENT, wanted)]


def list_moves_of_waiting(connection: Connection, rows_max: int) -> list[Item]:
    """Return the commands that move payments which wait for a paused provider that was never called for them."""
    return [_move(row) for row in read(connection, _NEXT_OF_WAITING, {"rows": rows_max})]


def _move(row: Row) -> Item:
    return Item(row.tenant_id, row.payment_id, Command(CommandKind.REROUTE, provider_id=row.provider_id), "system")
