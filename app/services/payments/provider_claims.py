"""Claim provider calls that are due: one at a time, creates first, up to each provider's limit."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.core.errors import ProviderUnusable
from app.core.money import format_amount
from app.core.payment import OPEN, format_time
from app.core.validation.return_urls import with_payment_id
from app.providers import Account, Order
from app.runtime.runtime import Runtime
from app.services.payments import set_aside
from app.services.payments.provider_trouble import read_api_key
from app.services.payments.set_aside import ClaimedCall
from models import Row, buffer, find_trouble, new_id, prepared, read
from models.array_params import uuid_array

# Three times the longest call: a slow answer still finds its claim, a killed worker's row is free again soon.
LEASE_SECONDS = 30
# Claims hold each other up for milliseconds. A longer lock on a payment's row delays only its own call.
LOCK_MS = 500
_SHORT_WAIT = prepared("select set_config('lock_timeout', :lock_timeout, true)")
# First half of the advisory lock's key, so that it meets no other use of advisory locks.
_LOCK_SPACE = 0x63616C6C

# Providers are read one by one, each up to its limit of calls at once; creates of any provider go first. A provider
# that failed and whose pause is over gets a single call: the worker that sets `probe_until` makes it. The columns are
# the fields of ClaimedCall.
_CLAIM = prepared(
    """
    with candidate as (
        select w.payment_id, b.provider_id is not null as has_failures, coalesce(b.opens, 0) as opens
        from payment_providers p
        left join provider_breakers b on b.provider_id = p.id
        cross join lateral (
            select payment_id, due_at from payment_work
            where provider_id = p.id and (action <> 'create') = :is_later and due_at <= now()
            order by due_at limit 1 for update skip locked) as w
        where (select count(*) from payment_work c
               where c.provider_id = p.id and c.claim_id is not null and c.due_at > now()) < p.calls_max
          and (b.paused_until is null or b.paused_until <= now()) and (b.probe_until is null or b.probe_until <= now())
          and p.tenant_id <> all(cast(:full_tenants as uuid[]))
        order by w.due_at limit 1
    ), probe as (
        update provider_breakers b set probe_until = now() + make_interval(secs => :lease)
        from candidate c join payment_work w on w.payment_id = c.payment_id
        where c.opens > 0 and b.provider_id = w.provider_id and b.opens > 0
          and (b.paused_until is null or b.paused_until <= now()) and (b.probe_until is null or b.probe_until <= now())
        returning b.provider_id
    )
    update payment_work w set attempts = w.attempts + 1, claim_id = :claim_id,
        due_at = now() + make_interval(secs => :lease)
    from candidate c where w.payment_id = c.payment_id and (c.opens = 0 or exists (select from probe))
    returning w.claim_id, w.payment_id, w.tenant_id, w.provider_id, w.action, w.attempts, w.polls, c.has_failures,
              c.opens
    """
)
# Claims of the same moment do not see each other: each counts again under the provider's lock, and is rolled back where
# it exceeds the limit.
_READ_CLAIMED = prepared(
    "select pg_advisory_xact_lock(:space, hashtext(:provider_key))",
    """
    select p.id, p.amount_minor, p.currency, p.status, p.provider_reference, p.provider_request, p.provider_request_at,
           p.success_url, p.failure_url, p.metadata, p.expires_at, p.expires_at <= now() as is_expired,
           extract(epoch from now() - p.provider_request_at) as request_age_seconds,
           (select count(*) from payment_work c
            where c.provider_id = a.id and c.claim_id is not null and c.due_at > now()) > a.calls_max as is_over,
           exists (select from payment_work where due_at <= now()) as is_more_due,
           a.adapter, a.api_base_url, a.api_key_encrypted, a.attempts_max
    from payment_transactions p
    join payment_providers a on a.tenant_id = p.tenant_id and a.id = p.provider_id
    where p.tenant_id = :tenant_id and p.id = :payment_id
    """,
)
_KEEP_REQUEST = prepared(
    """
    update payment_transactions set provider_request = :request, provider_request_at = now()
    where tenant_id = :tenant_id and id = :payment_id and provider_request is null
    """
)


@dataclass(frozen=True, slots=True)
class Claim(ClaimedCall):
    """A claimed call and all that is needed to make it without another query."""

    attempts_max: int
    adapter: str
    account: Account
    reference: str | None
    request: bytes
    is_open: bool
    is_expired: bool
    key_is_alive: bool

    @property
    def is_half_open(self) -> bool:
        """Whether this is the single call that tests whether a paused provider answers again."""
        return self.opens > 0


@dataclass(frozen=True, slots=True)
class _Unready:
    """A claimed call that cannot be made, and why."""

    call: ClaimedCall
    error: Exception


class _OneTooMany(Exception):
    """The provider has all the calls that it may have, by claims of the same moment."""


def claim_call(runtime: Runtime, full_tenants: Sequence[uuid.UUID] = ()) -> tuple[Claim | None, bool]:
    """Claim one due call, creates before all others; return it and whether more are due.

    Calls of `full_tenants`, which have all the calls under way that they may have in this process, are left out. A call
    that cannot be made because of its own rows is set aside, and the next one is claimed. Raise DBAPIError where
    nothing can be claimed.
    """
    while True:
        # The next query sees the claims that this one did not.
        with contextlib.suppress(_OneTooMany):
            found, is_more_due = _claim_call(runtime, full_tenants)
            if not isinstance(found, _Unready):
                return found, is_more_due
            set_aside.set_aside(runtime, found.call, found.error)


def _claim_call(runtime: Runtime, full_tenants: Sequence[uuid.UUID]) -> tuple[Claim | _Unready | None, bool]:
    row = None
    try:
        with runtime.database.transaction("worker", by_keys="few") as connection:
            buffer(connection, _SHORT_WAIT, {"lock_timeout": str(LOCK_MS)})
            wanted = {"claim_id": new_id(), "lease": LEASE_SECONDS, "full_tenants": uuid_array(full_tenants)}
            for is_later in (False, True):
                for row in read(connection, _CLAIM, wanted | {"is_later": is_later}):
                    return _read_claim(runtime, connection, row)
    except DBAPIError as error:
        # The claim is rolled back, and its row would be the next one to be claimed again.
        if row is None or find_trouble(error) not in ("lock", "timeout"):
            raise
        return _Unready(ClaimedCall(*row), error), True
    return None, False


def _read_claim(runtime: Runtime, connection: Connection, row: Row) -> tuple[Claim | _Unready, bool]:
    """Return the claim and whether more calls are due. Raise _OneTooMany, and DBAPIError.

    Whatever else goes wrong is the row's own: the claim is committed all the same, and the row set aside.
    """
    ids = {"tenant_id": row.tenant_id, "payment_id": row.payment_id}
    turn = {"space": _LOCK_SPACE, "provider_key": str(row.provider_id)}
    (payment,) = read(connection, _READ_CLAIMED, turn | ids)
    if payment.is_over:
        raise _OneTooMany
    try:
        return _prepare(runtime, connection, row, payment), payment.is_more_due
    except SQLAlchemyError:
        raise
    except Exception as error:  # one bad row must stop neither its queue nor this worker
        return _Unready(ClaimedCall(*row), error), payment.is_more_due


def _prepare(runtime: Runtime, connection: Connection, row: Row, payment: Row) -> Claim:
    adapter = runtime.adapters.get(payment.adapter)
    if adapter is None:
        raise ProviderUnusable(f"its adapter {payment.adapter!r} is not known here")
    account = Account(row.provider_id, payment.api_base_url, read_api_key(runtime, payment.api_key_encrypted))
    request = payment.provider_request
    if request is None and row.action == "create":
        # Kept before the first try, in the claim's own commit, so that every try sends the same bytes.
        request = adapter.build_request(_order(runtime, row, payment))
        kept = {"tenant_id": row.tenant_id, "payment_id": row.payment_id, "request": request}
        buffer(connection, _KEEP_REQUEST, kept)
    age = payment.request_age_seconds or 0
    return Claim(
        **row._asdict(),
        attempts_max=payment.attempts_max,
        adapter=payment.adapter,
        account=account,
        reference=payment.provider_reference,
        request=bytes(request or b""),
        is_open=payment.status in OPEN,
        is_expired=payment.is_expired,
        key_is_alive=age < adapter.idempotency_key_seconds,
    )


def _order(runtime: Runtime, row: Row, payment: Row) -> Order:
    base = runtime.settings.public_url + "/webhooks"
    return Order(
        payment_id=payment.id,
        amount=format_amount(payment.amount_minor, payment.currency),
        currency=payment.currency,
        callback_urls={
            "success": f"{base}/payment-success",
            "failed": f"{base}/payment-failed",
            "callback": f"{base}/payment-callback",
            "provider": f"{base}/{row.provider_id}",
        },
        success_url=with_payment_id(payment.success_url, payment.id),
        failure_url=with_payment_id(payment.failure_url, payment.id),
        expires_at=str(format_time(payment.expires_at)),
        # The caller's pairs and no others: fifty are allowed, and a provider may take no more. An adapter sends our id
        # in the provider's own field for it.
        metadata=payment.metadata,
    )
