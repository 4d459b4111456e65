"""Claims provider calls that are due, in sets: creates first, up to the limits of each provider and of each tenant."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import orjson
from sqlalchemy import Connection, func
from sqlalchemy.exc import DBAPIError

from app.core.payment import OPEN
from app.core.validation.return_urls import with_payment_id
from app.providers import Account, Order
from app.runtime.runtime import Runtime
from app.services.payments.calls.provider_trouble import read_credentials
from app.services.payments.calls.set_aside import ClaimedCall, PaymentLocked
from models import Row, buffer, find_trouble, new_id, prepared, read, tables
from models.array_params import rows_of, uuid_array

# Three times the longest call: a slow answer still finds its claim, a killed worker's row is free again soon.
LEASE_SECONDS = 30
# No claim waits for another one; whatever else is locked for longer is a stranger's.
LOCK_MS = 500
# First half of the advisory lock's key, so that it meets no other use of advisory locks.
_LOCK_SPACE = 0x63616C6C

# Claims of the same moment do not see each other, and could exceed a provider's limit together: only the transaction
# that has a provider's advisory lock claims its calls. Two statements in one message, since each sees what was
# committed before it began: calls under way are counted after the locks were granted.
#
# 1. Lock the providers that have due calls and that no other transaction claims for; note them in a setting. Scans of
#    bitmaps would read the dead entries that each claim leaves again and again: only other scans mark them.
_LOCK_PROVIDERS = """
    select set_config('lock_timeout', :lock_timeout, true), set_config('enable_bitmapscan', 'off', true),
        set_config('sluice.may_claim', coalesce((
        select array_agg(id)::text from (
            select p.id from payment_providers p
            where exists (
                select from (values (false), (true)) as kind(is_later) join payment_work w
                on w.provider_id = p.id and (w.action <> 'create') = kind.is_later and w.due_at <= now()) offset 0) as d
        where pg_try_advisory_xact_lock(:space, hashtext(id::text))), '{}'), true)
"""
# 2. Claim up to :room calls. :busy_tenants have :busy_calls under way in this process, which makes up to :calls_max.
#    The claims of :answered_ids, by :answered_claims, are not settled yet, but their calls are over.
_CLAIM = """
    with open as materialized (
        -- The locked providers and how many calls each may get now. One that failed and whose pause is over gets a
        -- single call, the probe. Claims are counted in the index of claims: that of due times has every planned poll.
        select p.id, b.provider_id is not null as has_failures, coalesce(b.opens, 0) as opens,
               least(case when b.opens > 0 then 1 end, p.calls_max - (
                   select count(*) from payment_work c
                   where c.provider_id = p.id and c.claim_id is not null and c.due_at + interval '0' > now()
                     and (c.payment_id, c.claim_id) not in (select * from unnest(
                         cast(:answered_ids as uuid[]), cast(:answered_claims as uuid[]))))) as room
        from unnest(cast(current_setting('sluice.may_claim') as uuid[])) as locked(id)
        join payment_providers p on p.id = locked.id
        left join provider_breakers b on b.provider_id = p.id
        where (b.paused_until is null or b.paused_until <= now()) and (b.probe_until is null or b.probe_until <= now())
    ), due as (
        -- The first due calls of each provider, creates and others apart: the index has them in this order.
        select w.*, kind.is_later, open.has_failures, open.opens, open.room
        from open cross join (values (false), (true)) as kind(is_later) cross join lateral (
            select payment_id, tenant_id, provider_id, due_at from payment_work
            where provider_id = open.id and (action <> 'create') = kind.is_later and due_at <= now()
            order by due_at limit greatest(least(open.room, :room), 0) for update skip locked
        ) as w
), busy as (
        select tenant_id, calls from unnest(cast(:busy_tenants as uuid[]), cast(:busy_calls as int[]))
            as b(tenant_id, calls)
    ), numbered as (
        -- Each call with its number among the calls of its tenant, those under way included.
        select d.*, coalesce(busy.calls, 0) + row_number() over (
            partition by d.tenant_id order by d.is_later, d.due_at) as number
        from (select *, row_number() over (partition by provider_id order by is_later, due_at) as nth from due) as d
        left join busy on busy.tenant_id = d.tenant_id
        where d.nth <= d.room
    ), chosen as (
        -- A tenant's share of the calls leaves as much for one tenant more than have calls now.
        select * from numbered
        where number <= greatest(1, :calls_max / (1 + (
            select count(*) from (select tenant_id from due union select tenant_id from busy) as t)))
        order by is_later, number, due_at limit :room
    ), probed as (
        update provider_breakers b set probe_until = now() + make_interval(secs => :lease)
        from chosen
        where chosen.opens > 0 and b.provider_id = chosen.provider_id and b.opens > 0
          and (b.paused_until is null or b.paused_until <= now()) and (b.probe_until is null or b.probe_until <= now())
        returning b.provider_id
    ), lockable as (
        -- Payments whose request is about to be kept. One that is locked elsewhere must not hold up the others.
        select p.id from chosen join payment_transactions p on p.id = chosen.payment_id
        where not chosen.is_later and p.provider_request_at is null for no key update of p skip locked
    ), claimed as (
        update payment_work w set attempts = w.attempts + 1, claim_id = :claim_id,
            due_at = now() + make_interval(secs => :lease)
        from chosen
        where w.payment_id = chosen.payment_id
          and (chosen.opens = 0 or chosen.provider_id in (select provider_id from probed))
        -- The fields of ClaimedCall.
        returning w.claim_id, w.payment_id, w.tenant_id, w.provider_id, w.action, w.attempts, w.polls,
                  chosen.has_failures, chosen.opens
    )
    select calls.*,
        -- Due calls that were not claimed, and whether those of some provider were left to another transaction.
        exists (select from payment_work where due_at <= now() and payment_id not in (select payment_id from claimed))
            as is_more_due,
        exists (
            select from payment_providers p cross join (values (false), (true)) as kind(is_later) join payment_work w
            on w.provider_id = p.id and (w.action <> 'create') = kind.is_later and w.due_at <= now()
            where p.id <> all(cast(current_setting('sluice.may_claim') as uuid[]))) as is_contended
    from (values (1)) as one left join (
        select claimed.*, p.amount_minor, p.currency, p.status, p.provider_reference, p.provider_request, p.success_url,
               p.failure_url, p.metadata, p.created_at, p.expires_at, p.expires_at <= now() as is_expired,
               extract(epoch from now() - p.provider_request_at) as request_age_seconds,
               p.provider_request_at is null and claimed.action = 'create' and p.id not in (select id from lockable)
                   as is_locked, d.details_encrypted, d.request_encrypted,
               a.adapter, a.api_base_url, a.credentials_encrypted, a.attempts_max
        from claimed
        join payment_transactions p on p.tenant_id = claimed.tenant_id and p.id = claimed.payment_id
        join payment_providers a on a.tenant_id = claimed.tenant_id and a.id = claimed.provider_id
        left join payment_details d
            on claimed.action = 'create' and d.tenant_id = claimed.tenant_id and d.payment_id = claimed.payment_id
    ) as calls on true
"""
_CLAIM_CALLS = prepared(_LOCK_PROVIDERS, _CLAIM)
_REQUESTS = rows_of(tables.payment_transactions, "id", "provider_request")
_KEEP_REQUESTS = prepared(_REQUESTS.update("id").values(provider_request_at=func.now()))
_ENCRYPTED_REQUESTS = rows_of(tables.payment_details, "payment_id", "request_encrypted")
_KEEP_ENCRYPTED_REQUESTS = prepared(_ENCRYPTED_REQUESTS.update("payment_id"))


@dataclass(frozen=True, slots=True)
class Claim(ClaimedCall):
    """A claimed call and all that is needed to make it without another query."""

    attempts_max: int
    adapter: str
    account: Account
    reference: str | None
    request: bytes = field(repr=False)
    # Whether the request has the payer's details in it, which are kept encrypted only.
    is_private: bool
    is_open: bool
    is_expired: bool
    key_is_alive: bool

    @property
    def is_half_open(self) -> bool:
        """Whether this is the single call that tests whether a paused provider answers again."""
        return self.opens > 0


@dataclass(frozen=True, slots=True)
class UnderWay:
    """How many calls this process makes at once, how many each tenant has under way, and what was answered since."""

    calls_max: int
    busy: Mapping[uuid.UUID, int] = field(default_factory=dict)
    answered: Sequence[ClaimedCall] = ()


@dataclass(slots=True)
class Claims:
    """A set of claimed calls; `unready` are claimed as well, and cannot be made, each with the reason.

    `is_more_due`: other calls are due. `is_contended`: another worker was claiming calls of some provider, and may have
    missed the newest of them.
    """

    calls: list[Claim] = field(default_factory=list)
    unready: list[tuple[ClaimedCall, Exception]] = field(default_factory=list)
    is_more_due: bool = False
    is_contended: bool = False


def claim_calls(runtime: Runtime, room: int, under_way: UnderWay) -> Claims:
    """Claim up to `room` due calls, creates before all others. Raise DBAPIError where nothing can be claimed."""
    rows: list[Row] = []
    wanted = _parameters(room, under_way)
    try:
        with runtime.database.transaction("worker", by_keys="few") as connection:
            rows = read(connection, _CLAIM_CALLS, wanted)
            return _prepare_all(runtime, connection, rows)
    except DBAPIError as error:
        # The claims are rolled back, and their rows would be the next ones to be claimed again.
        if not (rows and rows[0].claim_id) or find_trouble(error) not in ("lock", "timeout"):
            raise
        if room > 1:
            return claim_calls(runtime, 1, under_way)
        return Claims(unready=[(_claimed(rows[0]), error)], is_more_due=True)


def _parameters(room: int, under_way: UnderWay) -> dict[str, object]:
    return {
        "claim_id": new_id(),
        "room": room,
        "calls_max": under_way.calls_max,
        "busy_tenants": uuid_array(under_way.busy),
        "busy_calls": list(under_way.busy.values()),
        "answered_ids": uuid_array(claim.payment_id for claim in under_way.answered),
        "answered_claims": uuid_array(claim.claim_id for claim in under_way.answered),
        "lease": LEASE_SECONDS,
        "space": _LOCK_SPACE,
        "lock_timeout": str(LOCK_MS),
    }


def _prepare_all(runtime: Runtime, connection: Connection, rows: list[Row]) -> Claims:
    """Prepare each claimed call; what goes wrong with one is its own: the claim is committed, and the row set aside."""
    claims = Claims(is_more_due=rows[0].is_more_due, is_contended=rows[0].is_contended)
    accounts: dict[uuid.UUID, Account] = {}
    new_requests: list[tuple[uuid.UUID, bytes | None]] = []
    encrypted: list[tuple[uuid.UUID, bytes]] = []
    for row in rows:
        if row.claim_id is None:
            break
        try:
            claim = _prepare(runtime, row, accounts)
        except Exception as error:  # what one row holds stops neither its queue nor this worker
            claims.unready.append((_claimed(row), error))
            continue
        claims.calls.append(claim)
        if row.action == "create" and _stored_request(row) is None:
            new_requests.append((claim.payment_id, None if claim.is_private else claim.request))
            if claim.is_private:
                encrypted.append((claim.payment_id, runtime.vault.encrypt_bytes(claim.request)))
    if encrypted:
        buffer(connection, _KEEP_ENCRYPTED_REQUESTS, _ENCRYPTED_REQUESTS.encode(encrypted))
    if new_requests:
        # Kept before the first try, in the claim's own commit, so that every try sends the same bytes.
        buffer(connection, _KEEP_REQUESTS, _REQUESTS.encode(new_requests))
    return claims


def _claimed(row: Row) -> ClaimedCall:
    return ClaimedCall(**_values(row))


def _values(row: Row) -> dict[str, Any]:
    return {one.name: getattr(row, one.name) for one in fields(ClaimedCall)}


def _prepare(runtime: Runtime, row: Row, accounts: dict[uuid.UUID, Account]) -> Claim:
    if row.is_locked:
        raise PaymentLocked
    adapter = runtime.find_adapter(row.adapter)
    account = accounts.get(row.provider_id)
    if account is None:
        account = Account(row.provider_id, row.api_base_url, read_credentials(runtime, row.credentials_encrypted))
        accounts[row.provider_id] = account
    is_private, request = row.details_encrypted is not None, _stored_request(row)
    if request is None and row.action == "create":
        request = adapter.build_request(_order(runtime, row))
    elif request is not None and is_private:
        request = runtime.vault.decrypt_bytes(request)
    age = row.request_age_seconds or 0
    return Claim(
        **_values(row),
        attempts_max=row.attempts_max,
        adapter=row.adapter,
        account=account,
        reference=row.provider_reference,
        request=bytes(request or b""),
        is_private=is_private,
        is_open=row.status in OPEN,
        is_expired=row.is_expired,
        key_is_alive=age < adapter.capabilities.idempotency_key_seconds,
    )


def _stored_request(row: Row) -> Any:
    return row.provider_request if row.details_encrypted is None else row.request_encrypted


def _order(runtime: Runtime, row: Row) -> Order:
    base = runtime.settings.public_url + "/webhooks"
    details = {} if row.details_encrypted is None else orjson.loads(runtime.vault.decrypt_bytes(row.details_encrypted))
    return Order(
        payment_id=row.payment_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        callback_urls={
            "success": f"{base}/payment-success",
            "failed": f"{base}/payment-failed",
            "callback": f"{base}/payment-callback",
            "provider": f"{base}/{row.provider_id}",
        },
        success_url=with_payment_id(row.success_url, row.payment_id),
        failure_url=with_payment_id(row.failure_url, row.payment_id),
        created_at=row.created_at,
        expires_at=row.expires_at,
        # The caller's pairs and no others: fifty are allowed, and a provider may take no more. An adapter sends our id
        # in the provider's own field for it.
        metadata=row.metadata,
        customer=details.get("customer", {}),
        description=details.get("description"),
    )
