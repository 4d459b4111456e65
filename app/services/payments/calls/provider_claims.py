"""Claims provider calls that are due, in sets: creates and captures first, up to the limits of provider and tenant."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, fields, replace
from typing import Any

import orjson
from sqlalchemy import Connection, func, update
from sqlalchemy.exc import DBAPIError

from app.core.payment import OPEN
from app.core.refunds.deciders import may_be_sent
from app.core.refunds.records import UNFINISHED
from app.core.validation.return_urls import with_payment_id
from app.providers import Account, Order, RefundSubject
from app.runtime.runtime import Runtime
from app.services.access.callback_urls import fill_in_token, list_callback_urls
from app.services.payments.calls.claim_statements import CLAIM_CALLS
from app.services.payments.calls.provider_trouble import read_credentials
from app.services.payments.calls.set_aside import ClaimedCall, OutcomeAwaited, PaymentLocked
from app.services.payments.rows import lock_payments
from app.services.queues.dispatcher import Claims, UnderWay
from models import Row, buffer, find_trouble, new_id, prepared, read, tables
from models.array_params import is_any, rows_of, uuid_array

# Three times the longest call: a slow answer still finds its claim, a killed worker's row is free again soon.
LEASE_SECONDS = 30
# No claim waits for another one; whatever else is locked for longer is a stranger's.
LOCK_MS = 500
# First half of the advisory lock's key, so that it meets no other use of advisory locks.
_LOCK_SPACE = 0x63616C6C

_REQUESTS = rows_of(tables.payment_transactions, "id", "provider_request")
_KEEP_REQUESTS = prepared(_REQUESTS.update("id").values(provider_request_at=func.now()))
_ENCRYPTED_REQUESTS = rows_of(tables.payment_details, "payment_id", "request_encrypted")
_KEEP_ENCRYPTED_REQUESTS = prepared(_ENCRYPTED_REQUESTS.update("payment_id"))
_PAYMENTS = tables.payment_transactions
_REFUNDS = rows_of(tables.refunds, "id", "provider_request")
# One that ended since the claim read it, before its payment was locked, is not sent.
_KEEP_REFUNDS = prepared(
    _REFUNDS.update("id")
    .values(sent_at=func.coalesce(tables.refunds.c.sent_at, func.now()), called_at=func.now())
    .where(tables.refunds.c.status.in_(UNFINISHED))
    .returning(tables.refunds.c.id)
)
_NOTE_CAPTURES = prepared(update(_PAYMENTS).where(is_any(_PAYMENTS.c.id, "ids")).values(capture_sent_at=func.now()))


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
    # What is sent: the request with the token of the URL for pokes in it, which is stored nowhere in the plain.
    sent_request: bytes = field(repr=False)
    is_open: bool
    is_expired: bool
    key_is_alive: bool
    approvals: int
    # The payment's, before the call.
    version: int
    # The refund that the call is for, where it is for one; `request` is its own then.
    refund: RefundSubject | None = None
    # Whether it may be sent once more where the provider turns out to have none.
    may_send_refund: bool = True

    @property
    def is_half_open(self) -> bool:
        """Whether this is the single call that tests whether a paused provider answers again."""
        return self.opens > 0


# A set of provider calls, those that cannot be made apart.
CallClaims = Claims[ClaimedCall, Claim]


def claim_calls(runtime: Runtime, room: int, under_way: UnderWay) -> CallClaims:
    """Claim up to `room` due calls, creates before all others. Raise DBAPIError where nothing can be claimed."""
    rows: list[Row] = []
    wanted = _parameters(room, under_way)
    try:
        with runtime.database.transaction("worker", by_keys="few") as connection:
            rows = read(connection, CLAIM_CALLS, wanted)
            return _prepare_all(runtime, connection, rows)
    except DBAPIError as error:
        # The claims are rolled back, and their rows would be the next ones to be claimed again.
        if not (rows and rows[0].claim_id) or find_trouble(error) not in ("lock", "timeout"):
            raise
        if room > 1:
            return claim_calls(runtime, 1, under_way)
        return CallClaims(unready=[(_claimed(rows[0]), error)], is_more_due=True)


def _parameters(room: int, under_way: UnderWay) -> dict[str, object]:
    return {
        "claim_id": new_id(),
        "room": room,
        "calls_max": under_way.calls_max,
        "busy_tenants": uuid_array(under_way.busy),
        "busy_calls": list(under_way.busy.values()),
        "answered_ids": uuid_array(claim.work_id for claim in under_way.answered),
        "answered_claims": uuid_array(claim.claim_id for claim in under_way.answered),
        "lease": LEASE_SECONDS,
        "space": _LOCK_SPACE,
        "lock_timeout": str(LOCK_MS),
    }


def _prepare_all(runtime: Runtime, connection: Connection, rows: list[Row]) -> CallClaims:
    """Prepare each claimed call; what goes wrong with one is its own: the claim is committed, and the row set aside."""
    claims = CallClaims(is_more_due=rows[0].is_more_due, is_contended=rows[0].is_contended)
    accounts: dict[uuid.UUID, Account] = {}
    first_tries: list[tuple[Row, Claim]] = []
    for row in rows:
        if row.claim_id is None:
            break
        try:
            claim = _prepare(runtime, row, accounts)
        except Exception as error:  # what one row holds stops neither its queue nor this worker
            claims.unready.append((_claimed(row), error))
            continue
        claims.calls.append(claim)
        if row.is_first_capture or (row.action == "create" and _stored_request(row) is None):
            first_tries.append((row, claim))
    _note_first_tries(runtime, connection, first_tries)
    _check_resent(connection, claims)
    _keep_refunds(connection, claims)
    return claims


def _keep_refunds(connection: Connection, claims: CallClaims) -> None:
    """Keep the requests of refunds and note that they are sent, in the claim's own commit."""
    sent = {claim.refund.refund_id: claim for claim in claims.calls if claim.refund is not None}
    if not sent:
        return
    kept = read(connection, _KEEP_REFUNDS, _REFUNDS.encode([(id_, claim.request) for id_, claim in sent.items()]))
    for ended in [sent[id_] for id_ in sent.keys() - {row.id for row in kept}]:
        claims.calls.remove(ended)
        claims.unready.append((ended, PaymentLocked()))


def _check_resent(connection: Connection, claims: CallClaims) -> None:
    """Note which refunds may not be sent again where a lookup shows none: their money went back, or is disputed."""
    looked_up = [one.payment_id for one in claims.calls if one.refund and not (one.refund.is_known or one.key_is_alive)]
    if looked_up:
        locked, _ = lock_payments(connection, looked_up)
        claims.calls = [
            replace(one, may_send_refund=may_be_sent(locked[one.payment_id].payment, one.refund.refund_id))
            if one.refund and one.payment_id in locked
            else one
            for one in claims.calls
        ]


def _note_first_tries(runtime: Runtime, connection: Connection, tries: list[tuple[Row, Claim]]) -> None:
    """Keep the requests of creates and note the captures that are sent for the first time, in the claim's own commit.

    So every try sends the same bytes, and a payment whose capture may have been sent says so, whatever happens next.
    """
    captures = [claim.payment_id for row, claim in tries if row.is_first_capture]
    creates = [claim for row, claim in tries if not row.is_first_capture]
    private = [(claim.payment_id, runtime.vault.encrypt_bytes(claim.request)) for claim in creates if claim.is_private]
    if captures:
        buffer(connection, _NOTE_CAPTURES, {"ids": uuid_array(captures)})
    if private:
        buffer(connection, _KEEP_ENCRYPTED_REQUESTS, _ENCRYPTED_REQUESTS.encode(private))
    if creates:
        kept = [(claim.payment_id, None if claim.is_private else claim.request) for claim in creates]
        buffer(connection, _KEEP_REQUESTS, _REQUESTS.encode(kept))


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
    can, age = adapter.capabilities, row.request_age_seconds or 0
    key_seconds = can.capture_key_seconds if row.action == "advance" else can.idempotency_key_seconds
    refund = _refund_subject(row)
    if refund is not None:
        if refund.is_known and not can.reads_refunds and row.refund_age_seconds < can.refund_key_seconds:
            raise OutcomeAwaited(can.refund_key_seconds - float(row.refund_age_seconds))
        request = row.refund_request or (adapter.build_refund(refund) if can.can_refund else b"")
        # Before the first try nothing is to be looked up.
        age, key_seconds = (
            (-1, 0) if row.refund_age_seconds is None else (row.refund_age_seconds, can.refund_key_seconds)
        )
    stored = bytes(request or b"")
    return Claim(
        **_values(row),
        attempts_max=row.attempts_max,
        adapter=row.adapter,
        account=account,
        reference=row.provider_reference,
        request=stored,
        is_private=is_private,
        sent_request=fill_in_token(runtime, stored, row.poke_tokens),
        is_open=row.status in OPEN,
        is_expired=row.is_expired,
        key_is_alive=age < key_seconds,
        approvals=row.approvals,
        version=row.version,
        refund=refund,
    )


def _refund_subject(row: Row) -> RefundSubject | None:
    if row.refund_id is None:
        return None
    return RefundSubject(
        refund_id=row.refund_id,
        payment_id=row.payment_id,
        payment_reference=row.refund_of,
        amount_minor=row.refund_minor,
        currency=row.refund_currency,
        reference=row.refund_reference,
        reason=row.refund_reason,
        is_known=row.refund_status == "processing",
        aliases=tuple(row.aliases or ()),
    )


def _stored_request(row: Row) -> Any:
    return row.provider_request if row.details_encrypted is None else row.request_encrypted


def _order(runtime: Runtime, row: Row) -> Order:
    details = {} if row.details_encrypted is None else orjson.loads(runtime.vault.decrypt_bytes(row.details_encrypted))
    return Order(
        payment_id=row.payment_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        callback_urls=list_callback_urls(runtime, row.provider_id, row.poke_tokens),
        success_url=with_payment_id(row.success_url, row.payment_id),
        failure_url=with_payment_id(row.failure_url, row.payment_id),
        created_at=row.created_at,
        expires_at=row.expires_at,
        # The caller's pairs alone, of which fifty are allowed: an adapter sends our id in the provider's field for it.
        metadata=row.metadata,
        customer=details.get("customer", {}),
        description=details.get("description"),
    )
