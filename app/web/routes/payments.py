"""Deposits and payments (CONTRACT section 3)."""

from __future__ import annotations

import functools
import hashlib
import json
import uuid
from typing import Any

from flask import Blueprint, Response, jsonify

from app.core.errors import RequestRejected
from app.core.money import parse_amount
from app.core.payment import Payment, Status, present_payment
from app.runtime.runtime import runtime
from app.services.access.callers import Caller
from app.services.payments import deposits, queries, timeline
from app.services.payments.deposits import Creation, Deposit
from app.services.payments.queries import Filters
from app.web.card_numbers import card_errors
from app.web.cursors import present_page
from app.web.gate import caller
from app.web.long_poll import payment_waiters
from app.web.parsing import field_error, handles
from app.web.routes.money_calls import answer_made
from app.web.schemas.bodies import DepositRequest
from app.web.schemas.parameters import DepositHeaders, PaymentQuery, PaymentsQuery

blueprint = Blueprint("payments", __name__)

# Longer waits count as this one (RFC 7240 lets a server choose); within what proxies allow a silent request.
WAIT_SECONDS_MAX = 10


@handles(blueprint, "POST", "/api/payments/deposit")
def create_deposit(headers: DepositHeaders, body: DepositRequest) -> Response:
    """Make a deposit, or find the one that this idempotency key made."""
    current, values = caller(), body.model_dump()
    deposit = _check_deposit(current, headers.idempotency_key, body, values)
    creation = _find_refused(current, values, deposit) or deposits.create_deposit(runtime(), current, deposit)
    if headers.wait_seconds is None:
        return _answer(creation, creation.payment, 202)
    payment, seconds = creation.payment, min(headers.wait_seconds, WAIT_SECONDS_MAX)
    if not _is_decided(payment):
        read = functools.partial(queries.get_payment, runtime().database, current, payment.id)
        payment = payment_waiters().wait(payment.id.hex, payment, read, _is_decided, seconds, current)
    response = _answer(creation, payment, 201 if _has_redirect_or_ended(payment) else 202)
    response.headers["Preference-Applied"] = f"wait={seconds}"
    return response


def _find_refused(current: Caller, values: dict[str, Any], deposit: Deposit) -> Creation | None:
    """Return the payment of a body with a card number in it that was accepted before such bodies were refused.

    None for a body without one. Raise RequestRejected (422) for all others.
    """
    errors = card_errors(runtime(), current.tenant_id, values, deposit.idempotency_key)
    if not errors:
        return None
    earlier = deposits.find_earlier(runtime(), current, deposit)
    if earlier is None:
        raise RequestRejected(422, "The request has errors.", errors)
    return earlier


def _check_deposit(current: Caller, key: str, body: DepositRequest, values: dict[str, Any]) -> Deposit:
    if body.user_id is None and current.user_id is None:
        raise field_error("user_id", "is required with a secret key")
    if current.user_id is not None and body.user_id not in (None, current.user_id):
        raise RequestRejected(403, "A client token makes deposits for its own user only.")
    user_id = current.user_id or str(body.user_id)
    amount_minor = parse_amount(body.amount, body.currency)
    provider_id = uuid.UUID(body.provider_id) if body.provider_id else None
    canonical = {**values, "user_id": user_id, "amount": amount_minor}
    for name in ("customer", "description"):
        # Keys that were used before there were such fields stay valid for the same body.
        if canonical[name] is None:
            del canonical[name]
    if provider_id is not None:
        # UUIDs are the same in any letter case: a repeat in another case is the same request.
        canonical["provider_id"] = str(provider_id)
    return Deposit(
        user_id=user_id,
        amount_minor=amount_minor,
        currency=body.currency,
        provider_id=provider_id,
        success_url=body.success_url,
        failure_url=body.failure_url,
        metadata=body.metadata,
        idempotency_key=key,
        request_sha256=hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).digest(),
        customer={} if body.customer is None else body.customer.model_dump(exclude_none=True),
        description=body.description,
    )


def _has_redirect_or_ended(payment: Payment) -> bool:
    return payment.redirect_url is not None or payment.next_action is not None or not payment.is_open


def _is_decided(payment: Payment) -> bool:
    # With a reason to stay pending, the provider is not called again before an operator acts.
    return _has_redirect_or_ended(payment) or payment.pending_reason is not None


def _answer(creation: Creation, payment: Payment, status: int) -> Response:
    return answer_made(present_payment(payment), status, "/api/payments", is_replayed=creation.is_replayed)


@handles(blueprint, "GET", "/api/payments")
def list_payments(query: PaymentsQuery) -> Response:
    """List payments, newest first."""
    if caller().user_id is not None and query.user_id not in (None, caller().user_id):
        return jsonify({"data": [], "next_cursor": None})
    filters = Filters(
        user_id=query.user_id,
        status=query.status,
        created_after=query.created_after,
        created_before=query.created_before,
        before=query.cursor,
    )
    found = queries.list_payments(runtime().database, caller(), filters, query.limit + 1)
    return jsonify(present_page([present_payment(payment) for payment in found], query.limit))


@handles(blueprint, "GET", "/api/payments/{id}")
def get_payment(id: uuid.UUID, query: PaymentQuery) -> Response:
    """Read a payment; with `wait` as soon as it has changed."""

    def is_done(payment: Payment) -> bool:
        if query.until == "ended":
            return not payment.is_open
        return payment.status is not Status.PENDING if query.version is None else payment.version != query.version

    read = functools.partial(queries.get_payment, runtime().database, caller(), id)
    seconds = min(query.wait, WAIT_SECONDS_MAX)
    return jsonify(present_payment(payment_waiters().wait(id.hex, read(), read, is_done, seconds, caller())))


@handles(blueprint, "POST", "/api/payments/{id}/cancel")
def cancel_payment(id: uuid.UUID) -> Response:
    """Cancel a payment that has not ended."""
    return jsonify(present_payment(queries.cancel_payment(runtime(), caller(), id)))


@handles(blueprint, "GET", "/api/payments/{id}/timeline")
def read_timeline(id: uuid.UUID) -> Response:
    """List what happened to a payment, in order: everything, or for a client token its own states and entries."""
    current = caller()
    payment = queries.get_payment(runtime().database, current, id)
    return jsonify({"data": timeline.read_timeline(runtime().database, payment.tenant_id, payment.id, current.user_id)})
