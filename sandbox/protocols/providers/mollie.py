"""Mollie: payments, refunds and chargebacks of API v2, classic unsigned webhooks and signed events.

Read in no document: whether an idempotency key that comes with other parameters is refused, and with which status.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from sandbox.protocols.emulated import (
    Call,
    EmulatedCall,
    EmulatedProtocol,
    Page,
    PageQuery,
    RefundOrder,
)
from sandbox.protocols.endpoints import EndpointOrder
from sandbox.protocols.orders import PaymentOrder
from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.protocols.protocol import FORM, Event, Notice, Occurrence, Unsigned
from sandbox.protocols.providers.mollie_objects import (
    API,
    HAL,
    PAGES,
    make_links,
    make_list,
    read_amount,
    render_amount,
    render_time,
)
from sandbox.values import fields as read
from sandbox.values.refusal import Refusal

_REFERENCE_BYTES = 8
_SECRET_BYTES = 16
_LONGEST_DESCRIPTION = 255
_LARGEST_METADATA = 1_024

_STATUS = {
    "open": "open",
    "processing": "pending",
    "underpaid": "paid",
    "paid": "paid",
    "declined": "failed",
    "cancelled": "canceled",
    "expired": "expired",
}
_EMBEDDED = {"refund": "refunds", "dispute": "chargebacks"}
_REFUND_STATUS = {"pending": "pending", "done": "refunded", "failed": "failed"}
# The events that classic webhooks and signed ones report; Mollie says nothing of an attempt that was declined.
_EVENTS: dict[Event, str] = {
    "success": "payment.paid",
    "failed": "payment.failed",
    "cancelled": "payment.canceled",
    "expired": "payment.expired",
    "processing": "payment.pending",
    "refunded": "refund.refunded",
    "refund_failed": "refund.failed",
    "disputed": "chargeback.received",
    "dispute_won": "chargeback.reversed",
    "stray": "payment-link.paid",
}
# By the sandbox's code, where its own status is not Mollie's.
_STATUSES = dict.fromkeys(
    ("wrong_state", "already_captured", "refund_too_large", "invalid_field", "invalid_amount"), 422
)


class MollieProtocol(EmulatedProtocol):
    """What the sandbox speaks at `/mollie/v2`."""

    name = "mollie"
    title = "Mollie"
    calls = (
        EmulatedCall("POST", "/v2/payments", Call.CREATE),
        EmulatedCall("GET", "/v2/payments", Call.LIST),
        EmulatedCall("GET", "/v2/payments/<payment_id>", Call.FETCH),
        EmulatedCall("DELETE", "/v2/payments/<payment_id>", Call.CANCEL),
        EmulatedCall("POST", "/v2/payments/<payment_id>/refunds", Call.REFUND),
        EmulatedCall("GET", "/v2/payments/<payment_id>/refunds", Call.LIST_REFUNDS),
        EmulatedCall("GET", "/v2/payments/<payment_id>/refunds/<refund_id>", Call.FETCH_REFUND),
        EmulatedCall("GET", "/v2/payments/<payment_id>/chargebacks", Call.LIST_DISPUTES),
        EmulatedCall("GET", "/v2/refunds", Call.LIST_REFUNDS),
        EmulatedCall("GET", "/v2/chargebacks", Call.LIST_DISPUTES),
        EmulatedCall("POST", "/v2/webhooks", Call.CONNECT),
        EmulatedCall("GET", "/v2/webhooks/<endpoint_id>", Call.FETCH_ENDPOINT),
        EmulatedCall("GET", "/v2/methods", Call.CHECK),
    )
    content_type = HAL
    created_status = 201
    refunded_status = 201
    refunds_at_once = False
    key_prefixes = ("test_",)

    def new_reference(self) -> str:
        return "tr_" + secrets.token_hex(_REFERENCE_BYTES)

    def new_secret(self) -> str:
        return secrets.token_hex(_SECRET_BYTES)

    def read_order(self, fields: dict[str, Any]) -> PaymentOrder:
        amount, currency = read_amount(fields)
        metadata = fields.get("metadata")
        if len(str(metadata)) > _LARGEST_METADATA:
            raise read.refuse("metadata", "The metadata may have 1024 bytes at most")
        texts = {k: v for k, v in metadata.items() if isinstance(v, str)} if isinstance(metadata, dict) else {}
        back = read.url(fields, "redirectUrl", needed=True)
        webhook = read.url(fields, "webhookUrl")
        return PaymentOrder(
            amount_minor=amount,
            currency=currency,
            merchant_reference=texts.get("payment_id") or read.unnamed(),
            success_url=back,
            failure_url=read.url(fields, "cancelUrl") or back,
            callback_urls={} if webhook is None else {"callback": webhook},
            metadata=texts,
            expires_at=None,
            request={
                "description": read.text(fields, "description", _LONGEST_DESCRIPTION, needed=True),
                "metadata": metadata,
                "cancelUrl": fields.get("cancelUrl"),
            },
        )

    def render(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        status = _STATUS.get(payment.status, payment.status)
        received, currency = payment.received_minor, payment.received_currency or payment.currency
        links = {"self": f"{API}/payments/{payment.reference}"}
        shown = {
            "resource": "payment",
            "id": payment.reference,
            "mode": "test",
            "createdAt": render_time(payment.created_at),
            "amount": render_amount(received or payment.amount_minor, currency),
            "description": payment.request.get("description", ""),
            "method": None,
            "metadata": payment.request.get("metadata"),
            "status": status,
            "isCancelable": status == "open",
            "profileId": "pfl_sandbox",
            "sequenceType": "oneoff",
            "redirectUrl": payment.success_url,
            "cancelUrl": payment.request.get("cancelUrl"),
            "webhookUrl": payment.callback_urls.get("callback"),
        }
        if received:
            gone = payment.reversed_minor
            shown |= {
                "paidAt": render_time(payment.updated_at),
                "amountRefunded": render_amount(payment.refunded_minor, currency),
                "amountRemaining": render_amount(received - gone, currency),
                "amountCaptured": render_amount(received, currency),
            }
        if payment.disputed_minor:
            shown["amountChargedBack"] = render_amount(payment.disputed_minor, currency)
        if status in ("canceled", "expired", "failed"):
            shown[f"{status}At"] = render_time(payment.updated_at)
        pages = {"dashboard": "https://my.mollie.com/dashboard"}
        if status == "open":
            pages["checkout"] = redirect_url
        return shown | {"_links": make_links(links) | make_links(pages, PAGES)}

    def embeds(self, query: Mapping[str, str]) -> tuple[str, ...]:
        wanted = query.get("embed", "").split(",")
        return tuple(kind for kind, name in _EMBEDDED.items() if name in wanted)

    def embed(self, payment: dict[str, Any], rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
        return payment | {"_embedded": {_EMBEDDED[kind]: found for kind, found in rows.items()}}

    def read_query(self, query: Mapping[str, str]) -> PageQuery:
        return PageQuery(limit=read.number(query, "limit", 50, 250), start=query.get("from"), start_included=True)

    def render_list(self, query: PageQuery, page: Page) -> dict[str, Any]:
        following = page.following and f"{page.url}?from={page.following}&limit={query.limit}"
        return make_list("payments", page.rows, following)

    def read_refund(self, fields: dict[str, Any], payment: str | None) -> RefundOrder:
        read_amount(fields)
        return RefundOrder(
            str(payment), fields["amount"], {name: fields.get(name) for name in ("metadata", "description")}
        )

    def read_amount(self, value: Any, currency: str) -> int:
        minor, named = read_amount({"amount": value})
        if named != currency:
            raise read.refuse("amount.currency", f"The payment is in {currency}")
        return minor

    def render_refund(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        own = f"{API}/payments/{payment.reference}"
        return {
            "resource": "refund",
            "id": f"re_{back.token}",
            "mode": "test",
            "description": back.request.get("description") or "",
            "amount": render_amount(back.amount_minor, back.currency),
            "metadata": back.request.get("metadata"),
            "paymentId": payment.reference,
            "status": _REFUND_STATUS[back.status],
            "createdAt": render_time(back.created_at),
            "_links": make_links({"self": f"{own}/refunds/re_{back.token}", "payment": own}),
        }

    def render_refunds(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return make_list("refunds", rows, None)

    def render_dispute(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        own = f"{API}/payments/{payment.reference}"
        return {
            "resource": "chargeback",
            "id": f"chb_{back.token}",
            "amount": render_amount(back.amount_minor, back.currency),
            "paymentId": payment.reference,
            "reason": {"code": "AC01", "description": str(back.request.get("reason"))},
            "createdAt": render_time(back.created_at),
            "reversedAt": render_time(back.updated_at) if back.status == "won" else None,
            "_links": make_links({"self": f"{own}/chargebacks/chb_{back.token}", "payment": own}),
        }

    def render_disputes(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return make_list("chargebacks", rows, None)

    def read_endpoint(self, fields: dict[str, Any]) -> EndpointOrder:
        wanted = fields.get("eventTypes")
        events = wanted if isinstance(wanted, list) else str(wanted or "").split(",")
        read.text(fields, "name", _LONGEST_DESCRIPTION, needed=True)
        return EndpointOrder(read.url(fields, "url", needed=True) or "", "*" if "*" in events else " ".join(events))

    def render_endpoint(self, endpoint_id: str, order: EndpointOrder, secret: str) -> dict[str, Any]:
        return {
            "resource": "webhook",
            "id": f"hook_{endpoint_id}",
            "url": order.url,
            "profileId": "pfl_sandbox",
            "createdAt": "2026-01-01T00:00:00+00:00",
            "name": "sandbox",
            "eventTypes": order.events.split(),
            "status": "enabled",
            "mode": "test",
            "webhookSecret": secret,
            "_links": make_links({"self": f"{API}/webhooks/hook_{endpoint_id}"}),
        }

    def check(self, merchant: str) -> dict[str, Any]:
        return make_list("methods", [], None)

    def error(self, refusal: Refusal) -> tuple[int, dict[str, Any]]:
        status = _STATUSES.get(refusal.code, refusal.status)
        error = {"status": status, "title": HTTPStatus(status).phrase, "detail": refusal.message}
        named = {} if refusal.field is None else {"field": refusal.field}
        return status, error | named | {"_links": make_links({})}

    def notices(self, occurrence: Occurrence, *, to_endpoint: bool) -> list[Notice]:
        """Return the signed event for an endpoint; the payment's own address only learns which payment to look up."""
        event_type = _EVENTS.get(occurrence.event)
        if event_type is None:
            return []
        payment, back = occurrence.payment, occurrence.money_back
        if not to_endpoint:
            return [Notice(event_type, {"id": payment.reference}, FORM)]
        entity = self.render(payment, "")
        if back is not None:
            entity = self.render_refund(payment, back) if back.kind == "refund" else self.render_dispute(payment, back)
        event_id = occurrence.event_id.replace("evt_", "event_")
        body = {
            "resource": "event",
            "id": event_id,
            "type": event_type,
            "entityId": entity["id"],
            "createdAt": render_time(payment.updated_at),
            "_embedded": {"entity": entity},
            "_links": make_links({"self": f"{API}/events/{event_id}", "entity": entity["_links"]["self"]["href"]}),
        }
        return [Notice(event_type, body)]

    def sign(self, unsigned: Unsigned) -> dict[str, str]:
        """Sign with every secret: while one is being replaced, both are good."""
        made = [hmac.new(secret.encode(), unsigned.body, hashlib.sha256).hexdigest() for secret in unsigned.secrets]
        return {"X-Mollie-Signature": ",".join(f"sha256={signature}" for signature in made)}
