"""Emulated calls about payments: create, read, list, cancel."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Any

from flask import Response, request

from sandbox.payments import lifecycle, reversals
from sandbox.protocols import payment as payments
from sandbox.protocols.emulated import EmulatedProtocol, Page, PageQuery
from sandbox.protocols.orders import PaymentOrder
from sandbox.protocols.payment import ProviderPayment
from sandbox.scripting import scripts
from sandbox.values.refusal import Refusal
from sandbox.web import answers, calls
from sandbox.web.api import AFTER_WEBHOOK_SECONDS, parts
from sandbox.web.emulated_calls import (
    answer_with,
    error_answer,
    fields_of,
    find_payment,
    merchant_of,
    once,
    render,
    spoiled,
)

_LIST = " ".join(
    (
        *("SELECT", payments.COLUMNS, "FROM payments WHERE merchant = :merchant AND (:start IS NULL OR seq < :start)"),
        "AND (:after IS NULL OR created_at >= :after) AND (:before IS NULL OR created_at < :before)",
        "AND (:wanted IS NULL OR merchant_reference = :wanted) ORDER BY seq DESC LIMIT :limit OFFSET :offset",
    )
)


def create(protocol: EmulatedProtocol) -> Response:
    """Create a payment, or repeat the first answer of the same key."""
    store, _, courier = parts()
    merchant, raw = merchant_of(protocol), request.get_data()
    order = protocol.read_order(fields_of(protocol))
    with store.writing() as connection:
        key = protocol.idempotency_key(dict(request.headers)) or ""
        section = calls.record_create(connection, merchant, order, key, raw)
        if answers.hides_effect(section):
            is_new, honest = False, answers.plain(protocol.created_status, b"{}")
        else:
            is_new, honest = once(
                protocol, connection, merchant, partial(_insert, protocol, connection, merchant, order)
            )
    if section is not None and section.get("after_webhook") and is_new:
        reference = find_payment(store.reading(), merchant, ("merchant_reference", order.merchant_reference)).reference
        courier.wait_for_attempt(reference, AFTER_WEBHOOK_SECONDS)
    shows = {} if section is None else section.get("show", {})
    if shows and honest.status_code < 300:
        payment = find_payment(store.reading(), merchant, ("merchant_reference", order.merchant_reference))
        honest = answer_with(protocol, payment, protocol.created, protocol.created_status, shows)
    return spoiled(protocol, section, honest)


def _insert(protocol: EmulatedProtocol, connection: sqlite3.Connection, merchant: str, order: PaymentOrder) -> Response:
    """Create the payment; a refusal is an answer here, so that the call's record is committed."""
    if protocol.is_reference_unique and _exists(connection, merchant, order.merchant_reference):
        return error_answer(protocol, Refusal(400, "duplicate_reference", "The reference was used before."))
    payment = lifecycle.insert(connection, merchant, protocol, order)
    return answer_with(protocol, payment, protocol.created, protocol.created_status)


def _exists(connection: sqlite3.Connection, merchant: str, merchant_reference: str) -> bool:
    row = connection.execute(
        "SELECT 1 FROM payments WHERE merchant_reference = ? AND merchant = ?", (merchant_reference, merchant)
    ).fetchone()
    return row is not None


def fetch(protocol: EmulatedProtocol, payment_id: str) -> Response:
    """Return one payment of the calling merchant."""
    payment = find_payment(parts().store.reading(), merchant_of(protocol), protocol.name_payment(payment_id))
    section = calls.fetch_section(parts().store, payment.merchant_reference, payment.metadata)
    shows = {} if section is None else section.get("show", {})
    kinds = protocol.embeds(request.args)
    spell = partial(_with_money_back, protocol, kinds) if kinds else protocol.render
    return spoiled(protocol, section, answer_with(protocol, payment, spell, 200, shows))


def _with_money_back(
    protocol: EmulatedProtocol, kinds: tuple[str, ...], payment: ProviderPayment, redirect_url: str
) -> dict[str, Any]:
    """Return a payment with its refunds or disputes, newest first."""
    spell = {"refund": protocol.render_refund, "dispute": protocol.render_dispute}
    connection = parts().store.reading()
    rows = {
        kind: [spell[kind](payment, back) for back in reversals.listed(connection, payment.reference, kind)[::-1]]
        for kind in kinds
    }
    return protocol.embed(protocol.render(payment, redirect_url), rows)


def fetch_money(protocol: EmulatedProtocol, payment_id: str) -> Response:
    """Return the money of one payment, where it is an object of its own."""
    payment = find_payment(parts().store.reading(), merchant_of(protocol), protocol.name_payment(payment_id))
    if not payment.received_minor and payment.status in ("open", "approved", "cancelled", "expired"):
        raise Refusal(404, "not_found", f"No such payment: {payment_id}")
    section = calls.fetch_section(parts().store, payment.merchant_reference, payment.metadata)
    shows = {} if section is None else section.get("show", {})
    return spoiled(protocol, section, answer_with(protocol, payment, protocol.render_money, 200, shows))


def open_flow(protocol: EmulatedProtocol) -> Response:
    """Give a payment its ways back, and return the payer's page."""
    merchant = merchant_of(protocol)
    order = protocol.read_flow(fields_of(protocol))
    with parts().store.writing() as connection:
        payment = find_payment(connection, merchant, protocol.name_payment(order.payment))
        payment = lifecycle.set_return(connection, payment, order.success_url, order.failure_url)
    return answer_with(protocol, payment, protocol.render_flow, protocol.created_status)


def listing(protocol: EmulatedProtocol) -> Response:
    """Return payments of the calling merchant, newest first, one page at a time."""
    connection, merchant = parts().store.reading(), merchant_of(protocol)
    query = protocol.read_query(request.args)
    values = {"merchant": merchant, "after": query.after, "before": query.before, "offset": query.offset}
    values |= {"wanted": query.merchant_reference, "limit": query.limit + 1}
    rows = connection.execute(_LIST, values | {"start": _start(connection, merchant, query)}).fetchall()
    found = [payments.from_row(row) for row in rows]
    section = None
    if query.merchant_reference is not None:
        section = calls.fetch_section(parts().store, query.merchant_reference, found[0].metadata if found else {})
    shown = []
    for payment in found[: query.limit]:
        said = section if section is not None else calls.listed_section(connection, payment)
        if not calls.hides_payment(said):
            shown.append(
                render(protocol, payment, protocol.render_listed, {} if said is None else said.get("show", {}))
            )
    following = found[query.limit].reference if len(found) > query.limit else None
    page = Page(shown, following, request.base_url)
    honest = answers.ok(protocol.render_list(query, page))
    # A reference that no payment has is an empty list, not an error.
    return honest if calls.hides_payment(section) else spoiled(protocol, section, honest)


def _start(connection: sqlite3.Connection, merchant: str, query: PageQuery) -> int | None:
    """Return the number below which a page's payments are. Raise Refusal 404 for a cursor that names no payment."""
    if query.start is None:
        return None
    row = connection.execute(
        "SELECT seq FROM payments WHERE reference = ? AND merchant = ?", (query.start, merchant)
    ).fetchone()
    if row is None:
        raise Refusal(404, "not_found", f"No such payment: {query.start}")
    return int(row["seq"]) + query.start_included


def cancel(protocol: EmulatedProtocol, payment_id: str) -> Response:
    """End an open payment as cancelled."""
    merchant = merchant_of(protocol)
    with parts().store.writing() as connection:
        payment = find_payment(connection, merchant, protocol.name_payment(payment_id))
        section = calls.section_of(scripts.take(connection, "cancel", payment.merchant_reference, payment.metadata))
        honest = _cancelled(protocol, connection, payment, section)
    return spoiled(protocol, section, honest)


def _cancelled(
    protocol: EmulatedProtocol,
    connection: sqlite3.Connection,
    payment: ProviderPayment,
    section: dict[str, Any] | None,
) -> Response:
    """Cancel as the script allows; a refusal is an answer here, so that earlier writes are committed."""
    if section is not None and section.get("capture") and payment.status in lifecycle.PAYABLE:
        payment = lifecycle.capture(connection, payment)
    elif answers.hides_effect(section):
        return answers.plain(200, b"{}")
    try:
        if payment.status == "cancelled":
            raise Refusal(409, "wrong_state", "The payment is cancelled already.")
        payment = lifecycle.cancel(connection, payment)
    except Refusal as refusal:
        return error_answer(protocol, refusal)
    return answer_with(protocol, payment, protocol.cancelled, protocol.cancelled_status)
