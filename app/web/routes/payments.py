"""Deposits and payments (CONTRACT section 3)."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import uuid

from flask import Blueprint, Response, jsonify, request

from app.core.errors import RequestRejected
from app.core.money import parse_amount
from app.core.payment import Payment, Status, present_payment
from app.http import draining
from app.http.capacity import Bounds
from app.runtime.runtime import runtime
from app.services.access.callers import USER_ID
from app.services.payments import deposits, queries, timeline
from app.services.payments.deposits import Creation, Deposit
from app.services.payments.queries import Filters
from app.web.card_numbers import card_errors
from app.web.gate import caller
from app.web.long_poll import WAIT_SECONDS_MAX, Waiters
from app.web.parsing import (
    field_error,
    page,
    read_body,
    read_choice,
    read_cursor,
    read_integer,
    read_known,
    read_limit,
    read_matching,
    read_path_id,
    read_time,
    write_cursor,
)
from app.web.schemas.payments import DepositRequest

blueprint = Blueprint("payments", __name__)

# Each waiting request reads its payment once a second: this many take an eighth of a process, and the others are
# answered.
WAITING_MAX = 150
# One tenant leaves a third of the places to others.
WAITING_PER_TENANT_MAX = 100
# One user has some tabs on some devices open; the rest is a loop, and must leave its tenant's places to other users.
WAITING_PER_USER_MAX = 10
# One device leaves half of them to the user's others.
WAITING_PER_TOKEN_MAX = 5
# A backend leaves a quarter of its tenant's places to the tenant's other keys and to its users.
WAITING_PER_KEY_MAX = 75

_IDEMPOTENCY_KEY = re.compile(r"[ -~]{1,255}", re.ASCII)
# Longer waits count as the longest; the bound is far below the number of digits that int() refuses.
_PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,100})\"?\s*(?:$|[,;])", re.ASCII | re.IGNORECASE)


@functools.cache
def waiters() -> Waiters:
    """Return this process's waiting requests."""
    bounds = Bounds(
        total=WAITING_MAX,
        tenant=WAITING_PER_TENANT_MAX,
        user=WAITING_PER_USER_MAX,
        token=WAITING_PER_TOKEN_MAX,
        key=WAITING_PER_KEY_MAX,
    )
    made = Waiters(runtime().settings.required("redis_url"), bounds)
    draining.at_begin(made.release)
    return made


@blueprint.post("/api/payments/deposit")
def create_deposit() -> Response:
    """Make a deposit, or find the one that this idempotency key made."""
    key = request.headers.get("Idempotency-Key", "")
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise field_error("Idempotency-Key", "is required: 1 to 255 printable ASCII characters", status=400)
    body = read_body(DepositRequest)
    deposit = _check_deposit(key, body)
    creation = _find_refused(body, deposit) or deposits.create_deposit(runtime(), caller(), deposit)
    seconds = _prefer_wait()
    if seconds is None:
        return _answer(creation, creation.payment, 202)
    payment = creation.payment
    if not _is_decided(payment):
        read = functools.partial(queries.get_payment, runtime().database, caller(), payment.id)
        payment = waiters().wait(payment, read, _is_decided, seconds, caller())
    response = _answer(creation, payment, 201 if _has_redirect_or_ended(payment) else 202)
    response.headers["Preference-Applied"] = f"wait={seconds}"
    return response


def _find_refused(body: DepositRequest, deposit: Deposit) -> Creation | None:
    """Return the payment of a body with a card number in it that was accepted before such bodies were refused.

    None for a body without one. Raise RequestRejected (422) for all others.
    """
    errors = card_errors(runtime(), caller().tenant_id, body, deposit.idempotency_key)
    if not errors:
        return None
    earlier = deposits.find_earlier(runtime(), caller(), deposit)
    if earlier is None:
        raise RequestRejected(422, "The request has errors.", errors)
    return earlier


def _check_deposit(key: str, body: DepositRequest) -> Deposit:
    who = caller()
    if body.user_id is None and who.user_id is None:
        raise field_error("user_id", "is required with a secret key")
    if who.user_id is not None and body.user_id not in (None, who.user_id):
        raise RequestRejected(403, "A client token makes deposits for its own user only.")
    user_id = who.user_id or str(body.user_id)
    amount_minor = parse_amount(body.amount, body.currency)
    provider_id = uuid.UUID(body.provider_id) if body.provider_id else None
    canonical = {**body.model_dump(), "user_id": user_id, "amount": amount_minor}
    if provider_id is not None:
        # The same in any letter case: a repeat that writes it otherwise is the same request.
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
    )


def _prefer_wait() -> int | None:
    match = _PREFER_WAIT.search(request.headers.get("Prefer", ""))
    return min(int(match.group(1)), WAIT_SECONDS_MAX) if match else None


def _has_redirect_or_ended(payment: Payment) -> bool:
    return payment.redirect_url is not None or not payment.is_open


def _is_decided(payment: Payment) -> bool:
    # Waiting longer is of no use where the provider is not called again before a person has acted.
    return _has_redirect_or_ended(payment) or payment.pending_reason is not None


def _answer(creation: Creation, payment: Payment, status: int) -> Response:
    response = jsonify(present_payment(payment))
    response.status_code = status
    response.headers["Location"] = f"/api/payments/{payment.id}"
    if creation.is_replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@blueprint.get("/api/payments")
def list_payments() -> Response:
    """List payments, newest first."""
    read_known("user_id", "status", "created_after", "created_before", "limit", "cursor")
    limit = read_limit()
    filters = Filters(
        user_id=read_matching("user_id", USER_ID, "must be 1-128 of [A-Za-z0-9_.:@-]"),
        status=read_choice("status", tuple(Status)),
        created_after=read_time("created_after"),
        created_before=read_time("created_before"),
        before=read_cursor(),
    )
    if caller().user_id is not None and filters.user_id not in (None, caller().user_id):
        return jsonify({"data": [], "next_cursor": None})
    rows = queries.list_payments(runtime().database, caller(), filters, limit + 1)
    rows, next_cursor = page(rows, limit, lambda payment: write_cursor(payment.created_at, payment.id))
    return jsonify({"data": [present_payment(payment) for payment in rows], "next_cursor": next_cursor})


@blueprint.get("/api/payments/<object:id>")
def get_payment(id: str) -> Response:  # the name in the path of the contract
    """Read a payment; with `wait` as soon as it has changed."""
    read_known("wait", "version", "until")
    payment_id = read_path_id(id)
    seconds = read_integer("wait", 0, 3600, 0) or 0
    version = read_integer("version", 1, 2**31 - 1)
    until = read_choice("until", ("ended",))

    def is_done(payment: Payment) -> bool:
        if until == "ended":
            return not payment.is_open
        return payment.status is not Status.PENDING if version is None else payment.version != version

    read = functools.partial(queries.get_payment, runtime().database, caller(), payment_id)
    seconds = min(seconds, WAIT_SECONDS_MAX)
    return jsonify(present_payment(waiters().wait(read(), read, is_done, seconds, caller())))


@blueprint.post("/api/payments/<object:id>/cancel")
def cancel_payment(id: str) -> Response:  # the name in the path of the contract
    """Cancel a payment that has not ended."""
    return jsonify(present_payment(queries.cancel_payment(runtime(), caller(), read_path_id(id))))


@blueprint.get("/api/payments/<object:id>/timeline")
def read_timeline(id: str) -> Response:  # the name in the path of the contract
    """List what happened to a payment, in order: everything, or for a client token its own states and entries."""
    who = caller()
    payment = queries.get_payment(runtime().database, who, read_path_id(id))
    return jsonify({"data": timeline.read_timeline(runtime().database, payment.tenant_id, payment.id, who.user_id)})
