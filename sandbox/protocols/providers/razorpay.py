"""Razorpay: payment links, refunds of their payments, and signed events.

Read in no document: the filters `from` and `to` of the list and its pages. The signature in the query of the way back
is left out: the sandbox keeps no key secret.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from typing import Any

from sandbox.protocols.emulated import (
    Call,
    EmulatedCall,
    EmulatedProtocol,
    Page,
    PageQuery,
    RefundOrder,
)
from sandbox.protocols.orders import PaymentOrder
from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.protocols.protocol import Event, Notice, Occurrence, Unsigned
from sandbox.protocols.providers import razorpay_objects as objects
from sandbox.protocols.request_parts import read_basic
from sandbox.values import amounts, timestamps
from sandbox.values import fields as read
from sandbox.values.refusal import Refusal

_REFERENCE_BYTES = 7
_LONGEST_REFERENCE = 40
_LONGEST_TEXT = 2_048
_SHORTEST_LIFE_SECONDS = 15 * 60
# A request takes a moment to arrive.
_SLACK_SECONDS = 60
_MOST_NOTES = 15

# By event: Razorpay's name of it, and the entities that it contains.
_EVENTS: dict[Event, tuple[str, tuple[str, ...]]] = {
    "success": ("payment_link.paid", ("payment_link", "order", "payment")),
    "cancelled": ("payment_link.cancelled", ("payment_link",)),
    "expired": ("payment_link.expired", ("payment_link",)),
    "failed": ("payment.failed", ("payment",)),
    "attempt_failed": ("payment.failed", ("payment",)),
    "refunded": ("refund.processed", ("refund", "payment")),
    "refund_failed": ("refund.failed", ("refund", "payment")),
    "disputed": ("payment.dispute.created", ("payment", "dispute")),
    "dispute_won": ("payment.dispute.won", ("payment", "dispute")),
    "dispute_lost": ("payment.dispute.lost", ("payment", "dispute")),
    "stray": ("payment.downtime.started", ("payment",)),
}
_PARTIAL = ("payment_link.partially_paid", ("payment_link", "order", "payment"))


class RazorpayProtocol(EmulatedProtocol):
    """What the sandbox speaks at `/razorpay/v1`."""

    name = "razorpay"
    title = "Razorpay"
    decline_ends = False
    cancel_ends = False
    is_reference_unique = True
    # Key id and key secret, as basic authentication joins them.
    key_prefixes = ("rzp_test_",)
    calls = (
        EmulatedCall("POST", "/v1/payment_links", Call.CREATE),
        EmulatedCall("GET", "/v1/payment_links", Call.LIST),
        EmulatedCall("GET", "/v1/payment_links/<payment_id>", Call.FETCH),
        EmulatedCall("POST", "/v1/payment_links/<payment_id>/cancel", Call.CANCEL),
        EmulatedCall("POST", "/v1/payments/<payment_id>/refund", Call.REFUND),
        EmulatedCall("GET", "/v1/payments/<payment_id>/refunds", Call.LIST_REFUNDS),
        EmulatedCall("GET", "/v1/refunds/<refund_id>", Call.FETCH_REFUND),
        EmulatedCall("GET", "/v1/disputes", Call.LIST_DISPUTES),
        EmulatedCall("GET", "/v1/payments", Call.CHECK),
    )

    def new_reference(self) -> str:
        return objects.LINK + secrets.token_hex(_REFERENCE_BYTES)

    def read_key(self, headers: Mapping[str, str]) -> str | None:
        return read_basic(headers)

    def idempotency_key(self, headers: Mapping[str, str]) -> None:
        """Return nothing: links have no such keys, their `reference_id` is unique."""

    def read_order(self, fields: dict[str, Any]) -> PaymentOrder:
        try:
            currency = amounts.parse_currency(fields.get("currency", "INR"))
        except Refusal:
            raise read.refuse("currency", "The currency is invalid") from None
        amount = read.number(fields, "amount", None, amounts.MAX_MINOR)
        if amounts.digits(currency) == 3 and amount % 10:
            raise read.refuse("amount", f"The amount must end in 0 in {currency}")
        notes = read.texts(fields, "notes")
        if len(notes) > _MOST_NOTES:
            raise read.refuse("notes", f"notes may have {_MOST_NOTES} pairs at most")
        back = read.url(fields, "callback_url")
        if back is not None and fields.get("callback_method") != "get":
            raise read.refuse("callback_method", "The callback method must be get")
        reference = read.text(fields, "reference_id", _LONGEST_REFERENCE)
        return PaymentOrder(
            amount_minor=amount,
            currency=currency,
            merchant_reference=reference or read.unnamed(),
            success_url=back,
            failure_url=back,
            callback_urls={},
            metadata=notes,
            expires_at=_read_expiry(fields),
            request={
                "accept_partial": bool(fields.get("accept_partial")),
                "reference_id": reference or "",
                "description": read.text(fields, "description", _LONGEST_TEXT) or "",
                "customer": read.table(fields, "customer"),
            },
        )

    def render(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        return objects.link(payment, redirect_url)

    def name_payment(self, text: str) -> tuple[str, str]:
        """Name a payment by link, payment or order, which share their digits."""
        return "reference", objects.LINK + text.rpartition("_")[2]

    def read_query(self, query: Mapping[str, str]) -> PageQuery:
        skip = query.get("skip", "0")
        return PageQuery(
            limit=read.number(query, "count", 10, 100),
            after=read.epoch(query, "from"),
            before=read.epoch(query, "to"),
            merchant_reference=query.get("reference_id"),
            offset=int(skip) if skip.isascii() and skip.isdigit() and len(skip) < 10 else 0,
        )

    def render_list(self, query: PageQuery, page: Page) -> dict[str, Any]:
        return {"payment_links": page.rows}

    def read_refund(self, fields: dict[str, Any], payment: str | None) -> RefundOrder:
        amount = None if fields.get("amount") is None else read.number(fields, "amount", None, amounts.MAX_MINOR)
        words = {"receipt": read.text(fields, "receipt", _LONGEST_REFERENCE), "notes": read.texts(fields, "notes")}
        return RefundOrder(str(payment), amount, words)

    def render_refund(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        return objects.refund(payment, back)

    def render_refunds(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return _collection(rows)

    def render_dispute(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        return objects.dispute(payment, back)

    def render_disputes(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return _collection(rows)

    def check(self, merchant: str) -> dict[str, Any]:
        return _collection([])

    def error(self, refusal: Refusal) -> tuple[int, dict[str, Any]]:
        """Return the error; what does not exist is a bad request here."""
        status = {"unauthenticated": 401, "scripted": refusal.status}.get(refusal.code, 400)
        code = "BAD_REQUEST_ERROR"
        if refusal.status >= 500:
            status, code = refusal.status, "GATEWAY_ERROR" if refusal.status in (502, 504) else "SERVER_ERROR"
        error = {"code": code, "description": refusal.message, "reason": "input_validation_failed", "metadata": {}}
        return status, {"error": error | ({} if refusal.field is None else {"field": refusal.field})}

    def notices(self, occurrence: Occurrence, *, to_endpoint: bool) -> list[Notice]:
        if occurrence.event not in _EVENTS:
            return []
        payment = occurrence.payment
        is_partial = occurrence.event == "success" and payment.status == "underpaid"
        event, contains = _PARTIAL if is_partial else _EVENTS[occurrence.event]
        body = {
            "entity": "event",
            "account_id": "acc_sandbox",
            "event": event,
            "contains": list(contains),
            "payload": {name: {"entity": self._entity(name, payment, occurrence.money_back)} for name in contains},
            "created_at": timestamps.to_epoch(payment.updated_at),
        }
        return [Notice(event, body)]

    def _entity(self, name: str, payment: ProviderPayment, back: MoneyBack | None) -> dict[str, Any]:
        if name == "payment_link":
            return self.render(payment, "")
        if name == "refund" and back is not None:
            return self.render_refund(payment, back)
        if name == "dispute" and back is not None:
            return self.render_dispute(payment, back)
        return objects.payment_of(payment) if name == "payment" else objects.order_of(payment)

    def sign(self, unsigned: Unsigned) -> dict[str, str]:
        made = hmac.new(unsigned.secrets[0].encode(), unsigned.body, hashlib.sha256).hexdigest()
        return self.unsigned_headers(unsigned) | {"X-Razorpay-Signature": made}

    def unsigned_headers(self, unsigned: Unsigned) -> dict[str, str]:
        return {"x-razorpay-event-id": unsigned.webhook_id}

    def return_query(self, payment: ProviderPayment) -> dict[str, str]:
        return {
            "razorpay_payment_id": objects.id_of(payment, "pay_"),
            "razorpay_payment_link_id": payment.reference,
            "razorpay_payment_link_reference_id": payment.merchant_reference,
            "razorpay_payment_link_status": objects.status_of(payment),
        }


def _collection(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"entity": "collection", "count": len(rows), "items": rows}


def _read_expiry(fields: dict[str, Any]) -> str | None:
    if not fields.get("expire_by"):
        return None
    at = read.number(fields, "expire_by", None, 10**11)
    if at < time.time() + _SHORTEST_LIFE_SECONDS - _SLACK_SECONDS:
        raise read.refuse("expire_by", "expire_by should be at least 15 minutes after current time")
    return timestamps.from_epoch(at)
