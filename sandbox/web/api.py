"""The payment API for merchants and payers: `/v1/payments`."""

from __future__ import annotations

import json
import re
import sqlite3
from typing import Any, NamedTuple

from flask import Blueprint, Response, current_app, request

from sandbox.delivery.courier import Courier
from sandbox.payments import lifecycle, merchants
from sandbox.protocols import orders, registry
from sandbox.protocols import payment as payments
from sandbox.protocols.orders import PaymentOrder
from sandbox.protocols.payment import ProviderPayment
from sandbox.scripting import scripts
from sandbox.settings import SandboxSettings
from sandbox.storage.store import Store
from sandbox.values import amounts, json_input, timestamps
from sandbox.values.refusal import Refusal
from sandbox.web import answers, calls

blueprint = Blueprint("api", __name__, url_prefix="/v1/payments")

IDEMPOTENCY_KEY = re.compile(r"[ -~]{1,255}", re.ASCII)
# The receiver of a webhook has ten seconds, so an answer that waits for it waits no longer.
AFTER_WEBHOOK_SECONDS = 10.0
_DEFAULT_PAGE = 100
_LARGEST_PAGE = 500


class Parts(NamedTuple):
    """The parts of an application that its requests use."""

    store: Store
    settings: SandboxSettings
    courier: Courier


def parts() -> Parts:
    """Return the parts of the running application."""
    found: Parts = current_app.extensions["sandbox"]
    return found


@blueprint.post("")
def create() -> Response:
    """Create a payment, or return the stored answer of the same key and bytes."""
    store, settings, courier = parts()
    raw, key = request.get_data(), request.headers.get("Idempotency-Key", "")
    merchant = merchants.authenticate(store.reading(), request.headers.get("Authorization"))
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise Refusal(400, "idempotency_key_needed", "Idempotency-Key must be 1 to 255 printable ASCII characters")
    order = orders.read_order(raw)
    with store.writing() as connection:
        section = calls.record_create(connection, merchant, order, key, raw)
        is_new = False
        if answers.hides_effect(section):
            honest = answers.plain(201, b"{}")
        else:
            used = calls.UsedKey(merchant, key, calls.digest_of(raw))
            mismatch = answers.error(409, "idempotency_mismatch", "this key was used with other bytes")
            is_new, honest = calls.make_once(connection, used, mismatch, lambda: _insert(connection, merchant, order))
    if section is not None and section.get("after_webhook") and is_new:
        courier.wait_for_attempt(json.loads(honest.get_data())["reference"], AFTER_WEBHOOK_SECONDS)
    return answers.spoiled(section, answers.shown(section, honest), settings.public_url + "/v1/payments")


def _insert(connection: sqlite3.Connection, merchant: str, order: PaymentOrder) -> Response:
    payment = lifecycle.insert(connection, merchant, registry.NATIVE, order)
    return answers.plain(201, answers.encode(payment.as_json(parts().settings.public_url)))


@blueprint.get("/<reference>")
def fetch(reference: str) -> Response:
    """Return one payment of the calling merchant."""
    store, settings, _ = parts()
    merchant = merchants.authenticate(store.reading(), request.headers.get("Authorization"))
    payment = own(lifecycle.find(store.reading(), reference), merchant)
    section = calls.fetch_section(store, payment.merchant_reference, payment.metadata)
    honest = answers.ok(_shown(payment, section, settings.public_url))
    return answers.spoiled(section, honest, settings.public_url + "/v1/payments")


_LIST = " ".join(
    (
        *("SELECT seq,", payments.COLUMNS, "FROM payments WHERE merchant = :merchant AND seq > :cursor"),
        "AND (:wanted IS NULL OR merchant_reference = :wanted)",
        "AND (:after IS NULL OR created_at >= :after) AND (:before IS NULL OR created_at < :before)",
        "ORDER BY seq LIMIT :limit",
    )
)


@blueprint.get("")
def listing() -> Response:
    """Return payments of the calling merchant, oldest first, one page at a time."""
    store, settings, _ = parts()
    connection = store.reading()
    merchant = merchants.authenticate(connection, request.headers.get("Authorization"))
    after, before = (_moment(name) for name in ("created_after", "created_before"))
    wanted, limit = request.args.get("merchant_reference"), _limit(request.args.get("limit"))
    values = {"merchant": merchant, "cursor": _cursor(), "wanted": wanted, "after": after, "before": before}
    rows = connection.execute(_LIST, values | {"limit": limit + 1}).fetchall()
    found = [payments.from_row(row) for row in rows[:limit]]
    section = None if wanted is None else calls.fetch_section(store, wanted, found[0].metadata if found else {})
    paired = [
        (payment, section if wanted is not None else calls.listed_section(connection, payment)) for payment in found
    ]
    shown = [_shown(payment, said, settings.public_url) for payment, said in paired if not calls.hides_payment(said)]
    next_cursor = str(rows[limit - 1]["seq"]) if len(rows) > limit else None
    honest = answers.ok({"data": shown, "next_cursor": next_cursor})
    # A reference that no payment has is an empty list, not an error.
    return (
        honest
        if calls.hides_payment(section)
        else answers.spoiled(section, honest, settings.public_url + "/v1/payments")
    )


def _shown(payment: ProviderPayment, section: dict[str, Any] | None, public_url: str) -> dict[str, object]:
    return payment.as_json(public_url) | ({} if section is None else section.get("show", {}))


@blueprint.post("/<reference>/pay")
def pay(reference: str) -> Response:
    """Pay the open rest, or the amount and currency of the body."""
    body = json_input.read_object(request.get_data(), ("amount", "currency", "even_if_ended"))
    late = body.get("even_if_ended", False)
    if not isinstance(late, bool):
        raise Refusal(422, "invalid_field", "even_if_ended must be true or false")
    with parts().store.writing() as connection:
        payment = reachable(connection, reference)
        currency = None if body.get("currency") is None else amounts.parse_currency(body["currency"])
        minor = _minor(body, currency or payment.received_currency or payment.currency)
        paid = lifecycle.capture(connection, payment, minor, currency, even_if_ended=late)
    return _answer(paid)


@blueprint.post("/<reference>/decline")
def decline(reference: str) -> Response:
    """End an open payment as declined, with the body's message if it has one."""
    message = json_input.read_object(request.get_data(), ("message",)).get("message")
    if message is not None and not isinstance(message, str):
        raise Refusal(422, "invalid_field", "message must be a text")
    with parts().store.writing() as connection:
        declined = lifecycle.decline(connection, reachable(connection, reference), message)
    return _answer(declined)


@blueprint.post("/<reference>/commit")
def commit(reference: str) -> Response:
    """Let the customer commit to a method that settles days later."""
    json_input.read_object(request.get_data())
    with parts().store.writing() as connection:
        committed = lifecycle.commit(connection, reachable(connection, reference))
    return _answer(committed)


@blueprint.post("/<reference>/cancel")
def cancel(reference: str) -> Response:
    """End an open payment as cancelled; a cancelled one is given as it is."""
    store, settings, _ = parts()
    json_input.read_object(request.get_data())
    with store.writing() as connection:
        payment = reachable(connection, reference)
        section = calls.section_of(scripts.take(connection, "cancel", payment.merchant_reference, payment.metadata))
        honest = _cancelled(connection, payment, section)
    return answers.spoiled(section, honest, settings.public_url + "/v1/payments")


def _cancelled(connection: sqlite3.Connection, payment: ProviderPayment, section: dict[str, Any] | None) -> Response:
    """Cancel as the script allows; a refusal is an answer here, so that earlier writes are committed."""
    if section is not None and section.get("capture") and payment.status in lifecycle.PAYABLE:
        payment = lifecycle.capture(connection, payment)
    elif answers.hides_effect(section):
        return answers.plain(200, b"{}")
    try:
        payment = lifecycle.cancel(connection, payment)
    except Refusal as refusal:
        return answers.error(refusal.status, refusal.code, refusal.message)
    return _answer(payment)


def _answer(payment: ProviderPayment) -> Response:
    return answers.ok(payment.as_json(parts().settings.public_url))


def reachable(connection: sqlite3.Connection, reference: str) -> ProviderPayment:
    """Return the payment a customer, or the merchant whose key was sent, may act on. Raise Refusal 401 or 404."""
    merchant = merchants.from_key(connection, request.headers.get("Authorization"))
    payment = lifecycle.find(connection, reference)
    return own(payment, payment.merchant if merchant is None and payment is not None else merchant)


def own(payment: ProviderPayment | None, merchant: str | None) -> ProviderPayment:
    """Return the payment where it is the merchant's. Raise Refusal 404."""
    if payment is None or payment.merchant != merchant:
        raise Refusal(404, "not_found", "no such payment")
    return payment


def _minor(body: dict[str, object], currency: str) -> int | None:
    return None if body.get("amount") is None else amounts.parse(body["amount"], currency)


def _moment(name: str) -> str | None:
    text = request.args.get(name)
    return None if text is None else timestamps.parse(text, name)


def _limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT_PAGE
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _LARGEST_PAGE:
        raise Refusal(422, "invalid_field", f"limit must be 1 to {_LARGEST_PAGE}")
    return int(text)


def _cursor() -> int:
    text = request.args.get("cursor", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refusal(422, "invalid_field", "cursor must be one this API gave")
    return int(text)
