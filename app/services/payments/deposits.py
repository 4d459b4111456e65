"""Make deposits: one payment for each idempotency key, with its hold, its due call and its audit row."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import LargeBinary, Text, bindparam, select
from sqlalchemy.dialects.postgresql import JSONB

from app.core.errors import RequestRejected
from app.core.payment import Payment
from app.core.validation.origins import read_origin
from app.providers.deposit_limits import NEEDED, Wanted, describe_limits, find_refusals
from app.runtime.group_commit import GroupCommit
from app.runtime.runtime import Runtime
from app.services.access.callers import Caller
from app.services.payments.queries import SHOWN
from app.services.payments.rows import STORED, read_payment
from models import Database, Row, new_id, single, tables
from models.array_params import rows_of
from models.sql import columns, sql


@dataclass(frozen=True, slots=True)
class Deposit:
    """A checked request for a deposit: columns of its payment.

    `request_sha256` is over the request as it was made, to compare repeats. `customer` and `description` are encrypted
    before they are written.
    """

    user_id: str
    amount_minor: int
    currency: str
    provider_id: uuid.UUID | None
    success_url: str | None
    failure_url: str | None
    metadata: dict[str, str]
    idempotency_key: str
    request_sha256: bytes
    customer: Mapping[str, str] = field(default_factory=dict, repr=False)
    description: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Creation:
    """A payment, and whether an earlier request with the same key had made it."""

    payment: Payment
    is_replayed: bool


# The errors that the statement finds in a request: field and message.
REFUSALS = {
    "provider_id": ("provider_id", "is not a provider of yours that takes deposits from you"),
    "currency": ("currency", "is not one that this provider takes"),
    "amount": ("amount", "is above your limit"),
    "success_url": ("success_url", "must be of one of your allowed origins"),
    "failure_url": ("failure_url", "must be of one of your allowed origins"),
    "success_url_needed": ("success_url", NEEDED),
    "failure_url_needed": ("failure_url", NEEDED),
    "too_short": ("provider_id", "keeps payments open for longer than yours have to be paid"),
    "too_long": ("provider_id", "keeps payments open for a shorter time than yours have to be paid"),
}
# Those that say something of the provider.
OF_PROVIDER = frozenset({"success_url_needed", "failure_url_needed", "too_short", "too_long"})

_PAYMENTS = tables.payment_transactions
_DEPOSIT_COLUMNS = [each.name for each in fields(Deposit) if each.name in _PAYMENTS.c]
_read_columns = attrgetter(*_DEPOSIT_COLUMNS)
_ASKED = rows_of(
    _PAYMENTS,
    "id",
    *_DEPOSIT_COLUMNS,
    "idempotency_scope",
    success_origin=Text,
    failure_origin=Text,
    actor=Text,
    details_encrypted=LargeBinary,
    refusals=JSONB,
)

# The tenant's and the provider's limits are read by the statement that inserts: there is no copy that could be old. A
# key that another process inserts at this moment is waited for; keys go in their order, so that two statements that
# share some wait for each other one way only. No row is made for a key that is taken.
_CREATE = single(
    sql(
        """
    with asked as (
        select r.*, p.id as found_provider_id, p.route_position,
               t.payment_seconds, t.default_success_url, t.default_failure_url,
               array_remove(array[
                   case when p.id is null or (r.provider_id <> t.default_provider_id
                                              and r.idempotency_scope <> '' and not p.client_selectable)
                        then 'provider_id' when r.currency <> all (p.currencies) then 'currency' end,
                   case when r.amount_minor > t.amount_minor_max then 'amount' end,
                   case when r.success_url is not null and r.success_origin <> all (t.allowed_origins)
                        then 'success_url' end,
                   case when r.failure_url is not null and r.failure_origin <> all (t.allowed_origins)
                        then 'failure_url' end], null) || coalesce(p.refused, '{{}}') as refused,
               r.refusals -> p.adapter as refused_there
        from {asked}
        join tenants t on t.id = cast(:tenant_id as uuid)
        -- The provider that the deposit names; else the first of its currency's route, one that takes the deposit
        -- before others and of these one that is not paused; else the default.
        left join lateral (
            select a.id, a.adapter, a.currencies, a.client_selectable, s.position as route_position, own.refused
            from payment_providers a
            cross join lateral (
                select array_remove(array[
                    case when coalesce(r.success_url, t.default_success_url) is null
                              and cast(:limits as jsonb) -> a.adapter -> 'needs' @> '["success_url"]'
                         then 'success_url_needed' end,
                    case when coalesce(r.failure_url, t.default_failure_url) is null
                              and cast(:limits as jsonb) -> a.adapter -> 'needs' @> '["failure_url"]'
                         then 'failure_url_needed' end,
                    case when t.payment_seconds < cast(cast(:limits as jsonb) -> a.adapter ->> 'shortest' as integer)
                         then 'too_short'
                         when t.payment_seconds > cast(cast(:limits as jsonb) -> a.adapter ->> 'longest' as integer)
                         then 'too_long' end], null) as refused
                offset 0  -- found once, for the order and for the answer
            ) as own
            left join provider_routes s on r.provider_id is null and s.tenant_id = a.tenant_id
                and s.currency = r.currency and s.provider_id = a.id
            left join provider_breakers b on s.provider_id is not null and b.provider_id = s.provider_id
            where a.tenant_id = t.id and a.disabled_at is null and case
                when r.provider_id is not null then a.id = r.provider_id
                when exists (select from provider_routes o where o.tenant_id = t.id and o.currency = r.currency)
                    then s.provider_id is not null and (a.currencies is null or r.currency = any(a.currencies))
                else a.id = t.default_provider_id end
            order by own.refused <> '{{}}' or r.refusals -> a.adapter is not null,
                coalesce(b.paused_until > now(), false), s.position limit 1
        ) as p on true
    ), made as (
        insert into payment_transactions (id, tenant_id, user_id, amount_minor, currency, provider_id, success_url,
            failure_url, metadata, idempotency_scope, idempotency_key, request_sha256, expires_at)
        select id, cast(:tenant_id as uuid), user_id, amount_minor, currency, found_provider_id,
            coalesce(success_url, default_success_url), coalesce(failure_url, default_failure_url), metadata,
            idempotency_scope, idempotency_key, request_sha256,
            now() + make_interval(secs => payment_seconds)
        from asked where refused = '{{}}' and refused_there is null order by idempotency_scope, idempotency_key
        on conflict (tenant_id, idempotency_scope, idempotency_key) do nothing
        returning {stored}
    ), held as (
        insert into wallet_temp_logs (payment_id, tenant_id, user_id, currency, amount_minor)
        select id, tenant_id, user_id, currency, amount_minor from made
    ), detailed as (
        insert into payment_details (payment_id, tenant_id, details_encrypted)
        select m.id, m.tenant_id, a.details_encrypted
        from made m join asked a on a.id = m.id where a.details_encrypted is not null
    ), due as (
        insert into payment_work (payment_id, tenant_id, provider_id, action, route_position)
        select m.id, m.tenant_id, m.provider_id, 'create', a.route_position from made m join asked a on a.id = m.id
    ), audited as (
        insert into audit_logs (tenant_id, actor, kind, payment_id, payment_version, detail)
        select m.tenant_id, a.actor, 'payment_created', m.id, m.version, jsonb_build_object(
            'amount_minor', m.amount_minor, 'currency', m.currency, 'user_id', m.user_id,
            'provider_id', m.provider_id, 'to', m.status)
        from made m join asked a on a.id = m.id order by m.id
    )
    select a.id as asked_id, a.refused, a.refused_there, {made} from asked a left join made m on m.id = a.id
    """,
        asked=_ASKED.source,
        stored=columns(_PAYMENTS, *STORED),
        made=columns(_PAYMENTS.alias("m"), *STORED),
    )
)

_FIND_BY_KEY = single(
    select(*SHOWN, _PAYMENTS.c.request_sha256).where(
        _PAYMENTS.c.tenant_id == bindparam("tenant_id"),
        _PAYMENTS.c.idempotency_scope == bindparam("scope"),
        _PAYMENTS.c.idempotency_key == bindparam("key"),
    )
)


def create_deposit(runtime: Runtime, caller: Caller, deposit: Deposit) -> Creation:
    """Make the payment of an idempotency key, or find the one it made; it is committed when this returns.

    A parallel request with the same key waits here for the first one's commit. Raise RequestRejected (422) for
    another body under the same key, an unusable provider, a return URL of a foreign origin, too large an amount, or
    what the provider does not take.
    """
    # The values of _ASKED.
    asked = (
        new_id(),
        *_read_columns(deposit),
        _scope(caller),
        deposit.success_url and _origin(deposit.success_url),
        deposit.failure_url and _origin(deposit.failure_url),
        caller.actor,
        _encrypt_details(runtime, deposit),
        # Of every adapter: which one it is, the statement finds.
        find_refusals(runtime.registry.capabilities, _wanted(deposit)) or None,
    )
    size = sum(map(len, deposit.metadata.values()))
    write = functools.partial(_insert, runtime.database, caller.tenant_id, _encode_limits(runtime))
    row = _commits(runtime.database, caller.tenant_id).commit(asked, size, write)
    if row.version is not None:
        runtime.doorbells.ring("provider")
        return Creation(read_payment(row._asdict()), is_replayed=False)
    existing = find_earlier(runtime, caller, deposit)
    if existing is None:
        # A key whose first request was refused is not used up, so this comes after the query for it.
        raise RequestRejected(422, "The request has errors.", _describe_refusals(row))
    return existing


def find_earlier(runtime: Runtime, caller: Caller, deposit: Deposit) -> Creation | None:
    """Return the payment that an earlier request with this idempotency key made, or None.

    Raise RequestRejected (422) where that request had another body.
    """
    wanted = {"tenant_id": caller.tenant_id, "scope": _scope(caller), "key": deposit.idempotency_key}
    for row in runtime.database.run_single("web", _FIND_BY_KEY, wanted, caller.tenant_id):
        if bytes(row.request_sha256) != deposit.request_sha256:
            message = "This Idempotency-Key was used with another body."
            raise RequestRejected(422, message, code="idempotency_key_reused")
        return Creation(read_payment(row._asdict()), is_replayed=True)
    return None


def _describe_refusals(row: Row) -> list[dict[str, str]]:
    """Return the errors of a request; of two about a field the first.

    Of a provider that the caller may not name nothing is said.
    """
    is_found = "provider_id" not in row.refused
    own = [REFUSALS[name] for name in row.refused if is_found or name not in OF_PROVIDER]
    there = row.refused_there if is_found else None
    found = dict(reversed([*own, *(there or {}).items()]))
    return [{"field": name, "message": message} for name, message in reversed(found.items())]


def _wanted(deposit: Deposit) -> Wanted:
    return Wanted(deposit.amount_minor, deposit.currency, deposit.metadata, deposit.customer, deposit.description)


@functools.lru_cache(maxsize=16)
def _encode_limits(runtime: Runtime) -> str:
    return orjson.dumps(describe_limits(runtime.registry.capabilities)).decode()


def _encrypt_details(runtime: Runtime, deposit: Deposit) -> bytes | None:
    if not deposit.customer and deposit.description is None:
        return None
    details = {"customer": dict(deposit.customer), "description": deposit.description}
    return runtime.vault.encrypt_bytes(orjson.dumps(details))


def _scope(caller: Caller) -> str:
    return "" if caller.user_id is None else f"user:{caller.user_id}"


# A tenant's commits at present, some hundred bytes; one that was forgotten is made anew.
@functools.lru_cache(maxsize=10_000)
def _commits(_database: Database, _tenant_id: uuid.UUID) -> GroupCommit[tuple[Any, ...], Row]:
    """Return the group commit of one tenant's deposits: a transaction of the role web sees one tenant's rows."""
    return GroupCommit()


def _insert(database: Database, tenant_id: uuid.UUID, limits: str, asked: Sequence[tuple[Any, ...]]) -> list[Row]:
    """Make the payments that may be made; return a row for each request, in their order."""
    parameters = _ASKED.encode(asked) | {"tenant_id": tenant_id, "limits": limits}
    by_id = {row.asked_id: row for row in database.run_single("web", _CREATE, parameters, tenant_id)}
    return [by_id[payment_id] for payment_id, *_ in asked]


def _origin(url: str) -> str:
    """Return the origin, as browsers send it, of a URL that was checked to have scheme and host."""
    scheme, _, rest = url.partition("://")
    return _normal_origin(f"{scheme}://{rest.split('/', 1)[0].split('?', 1)[0].split('#', 1)[0]}".lower())


@functools.lru_cache(maxsize=1_024)  # tenants have a few origins each; to parse one costs more than the rest of a row
def _normal_origin(origin: str) -> str:
    return read_origin(origin) or origin
