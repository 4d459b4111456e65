"""PayPal: orders with a capture, refunds, the report of transactions, and webhooks signed by certificate.

Read in no document: the event of a refund that failed; how an order that expired is shown (here VOIDED); whether a key
that comes with other parameters is refused. Answers are always whole, as with `Prefer: return=representation`.
"""

from __future__ import annotations

import base64
import secrets
import string
import zlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

from sandbox.protocols.certificates import signer_of
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
from sandbox.protocols.protocol import Event, Notice, Occurrence, Unsigned
from sandbox.protocols.providers import paypal_objects as objects
from sandbox.protocols.request_parts import read_basic
from sandbox.values import amounts, timestamps
from sandbox.values import fields as read
from sandbox.values.refusal import Refusal

_SIGNER = "messageverificationcerts.sandbox.paypal.com"
_TOKEN_PREFIX, _TOKEN_SECONDS = "A21AA", 32_400
_LONGEST_ID = 127
_ROWS = 500
_LETTERS = string.ascii_uppercase + string.digits

_EVENTS: dict[Event, tuple[str, ...]] = {
    "approved": ("CHECKOUT.ORDER.APPROVED",),
    "success": ("PAYMENT.CAPTURE.COMPLETED",),
    "processing": ("PAYMENT.CAPTURE.PENDING",),
    "failed": ("PAYMENT.CAPTURE.DENIED",),
    "refunded": ("PAYMENT.CAPTURE.REFUNDED",),
    "refund_failed": ("PAYMENT.REFUND.FAILED",),
    "disputed": ("CUSTOMER.DISPUTE.CREATED",),
    "dispute_won": ("CUSTOMER.DISPUTE.RESOLVED",),
    "dispute_lost": ("CUSTOMER.DISPUTE.RESOLVED", "PAYMENT.CAPTURE.REVERSED"),
    "stray": ("CHECKOUT.ORDER.SAVED",),
}
_APPROVAL_REVERSED = "CHECKOUT.PAYMENT-APPROVAL.REVERSED"
# By the sandbox's code: status, name and issue.
_ISSUES = {
    "not_approved": (422, "UNPROCESSABLE_ENTITY", "ORDER_NOT_APPROVED"),
    "already_captured": (422, "UNPROCESSABLE_ENTITY", "ORDER_ALREADY_CAPTURED"),
    "capture_declined": (422, "UNPROCESSABLE_ENTITY", "INSTRUMENT_DECLINED"),
    "refund_too_large": (422, "UNPROCESSABLE_ENTITY", "REFUND_AMOUNT_EXCEEDED"),
    "wrong_state": (422, "UNPROCESSABLE_ENTITY", "INVALID_RESOURCE_STATE"),
    "invalid_amount": (422, "UNPROCESSABLE_ENTITY", "DECIMAL_PRECISION"),
    "invalid_field": (400, "INVALID_REQUEST", "INVALID_PARAMETER_VALUE"),
    "not_found": (404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID"),
    "unauthenticated": (401, "AUTHENTICATION_FAILURE", "INVALID_TOKEN"),
}
# A token is the credential, sealed for a while with a key of this process.
_tokens = Fernet(Fernet.generate_key())


class PayPalProtocol(EmulatedProtocol):
    """What the sandbox speaks at `/paypal`."""

    name = "paypal"
    title = "PayPal"
    calls = (
        EmulatedCall("POST", "/v1/oauth2/token", Call.AUTHORIZE),
        EmulatedCall("POST", "/v2/checkout/orders", Call.CREATE),
        EmulatedCall("GET", "/v2/checkout/orders/<payment_id>", Call.FETCH),
        EmulatedCall("POST", "/v2/checkout/orders/<payment_id>/capture", Call.CAPTURE),
        EmulatedCall("GET", "/v2/payments/captures/<payment_id>", Call.FETCH_MONEY),
        EmulatedCall("POST", "/v2/payments/captures/<payment_id>/refund", Call.REFUND),
        EmulatedCall("GET", "/v2/payments/refunds/<refund_id>", Call.FETCH_REFUND),
        EmulatedCall("GET", "/v1/reporting/transactions", Call.LIST),
        EmulatedCall("POST", "/v1/notifications/webhooks", Call.CONNECT),
        EmulatedCall("GET", "/v1/notifications/webhooks", Call.LIST_ENDPOINTS),
        EmulatedCall("GET", "/v1/notifications/webhooks-event-types", Call.CHECK),
        EmulatedCall("GET", "/v1/notifications/certs/CERT-<certificate_id>", Call.CERTIFICATE),
    )
    created_status = 201
    refunded_status = 201
    decline_ends = False
    cancel_ends = False
    captures = True
    shows_money_back = True

    def new_reference(self) -> str:
        return "O" + "".join(secrets.choice(_LETTERS) for _ in range(16))

    def new_secret(self) -> str:
        """Return the id of a webhook, which is part of what is signed."""
        return "".join(secrets.choice(_LETTERS) for _ in range(17))

    def check_account(self, api_key: str, secret: str) -> None:
        client_id, _, client_secret = api_key.partition(":")
        if not client_id or not client_secret:
            raise Refusal(422, "invalid_field", "api_key must be client id and secret, divided by a colon")

    def read_client(self, headers: Mapping[str, str]) -> str | None:
        return read_basic(headers)

    def render_token(self, api_key: str) -> dict[str, Any]:
        return {
            "scope": "https://uri.paypal.com/services/payments/payment",
            "access_token": _TOKEN_PREFIX + _tokens.encrypt(api_key.encode()).decode(),
            "token_type": "Bearer",
            "app_id": "APP-80W284485P519543T",
            "expires_in": _TOKEN_SECONDS,
            "nonce": secrets.token_hex(16),
        }

    def read_key(self, headers: Mapping[str, str]) -> str | None:
        token = super().read_key(headers) or ""
        try:
            return _tokens.decrypt(token.removeprefix(_TOKEN_PREFIX), ttl=_TOKEN_SECONDS).decode()
        except InvalidToken:
            return None

    def idempotency_key(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("Paypal-Request-Id") or None

    def name_payment(self, text: str) -> tuple[str, str]:
        """Return the order that a capture's id names, or an order's own."""
        return "reference", "O" + text[1:]

    def read_order(self, fields: dict[str, Any]) -> PaymentOrder:
        units = fields.get("purchase_units")
        if fields.get("intent") != "CAPTURE" or not isinstance(units, list) or len(units) != 1:
            raise read.refuse("intent", "An order here has the intent CAPTURE and one purchase unit")
        unit = units[0] if isinstance(units[0], dict) else {}
        minor, currency = _read_money(read.table(unit, "amount"))
        source = read.table(read.table(fields, "payment_source"), "paypal")
        context = read.table(source, "experience_context") or read.table(fields, "application_context")
        named = read.text(unit, "custom_id", _LONGEST_ID)
        # With a payment source the payer's step is an action that is asked for.
        link = "payer-action" if source else "approve"
        return PaymentOrder(
            amount_minor=minor,
            currency=currency,
            merchant_reference=named or read.unnamed(),
            success_url=read.url(context, "return_url"),
            failure_url=read.url(context, "cancel_url"),
            callback_urls={},
            metadata={},
            expires_at=None,
            request={"description": read.text(unit, "description", _LONGEST_ID), "approval_link": link},
        )

    def render(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        return objects.render_order(payment, redirect_url)

    def render_money(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        return objects.render_single_capture(payment)

    def read_query(self, query: Mapping[str, str]) -> PageQuery:
        size, page = read.number(query, "page_size", 100, _ROWS), read.number(query, "page", 1, 10_000)
        after, before = (_read_time(query, name) for name in ("start_date", "end_date"))
        return PageQuery(limit=size, offset=size * (page - 1), after=after, before=before)

    def render_listed(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        """Return the capture; what nobody has paid is no transaction."""
        return objects.render_transaction(payment) if payment.received_minor else {}

    def render_list(self, query: PageQuery, page: Page) -> dict[str, Any]:
        number = query.offset // query.limit + 1
        rows = [row for row in page.rows if row]
        return {
            "transaction_details": rows,
            "account_number": "SANDBOX",
            "page": number,
            "total_items": len(rows),
            "total_pages": number + 1 if page.following else number,
            "last_refreshed_datetime": objects.render_time(timestamps.now()),
            "links": [{"href": page.url, "rel": "self", "method": "GET"}],
        }

    def read_refund(self, fields: dict[str, Any], payment: str | None) -> RefundOrder:
        request = {name: read.text(fields, name, _LONGEST_ID) for name in ("custom_id", "invoice_id")}
        return RefundOrder(str(payment), fields.get("amount"), request)

    def read_amount(self, value: Any, currency: str) -> int:
        minor, named = _read_money(value if isinstance(value, dict) else {})
        if named != currency:
            raise read.refuse("currency_code", f"The payment is in {currency}")
        return minor

    def render_refund(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        return objects.render_refund(payment, back)

    def refund_token(self, refund_id: str) -> str:
        return refund_id[1:]

    def read_endpoint(self, fields: dict[str, Any]) -> EndpointOrder:
        return EndpointOrder(read.url(fields, "url", needed=True) or "", objects.read_event_names(fields))

    def render_endpoint(self, endpoint_id: str, order: EndpointOrder, secret: str) -> dict[str, Any]:
        return {"id": secret, "url": order.url, "event_types": [{"name": name} for name in order.events.split()]}

    def render_endpoints(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {"webhooks": rows}

    def check(self, merchant: str) -> dict[str, Any]:
        return {"event_types": [{"name": name} for names in _EVENTS.values() for name in names]}

    def error(self, refusal: Refusal) -> tuple[int, dict[str, Any]]:
        if refusal.code == "invalid_client":
            return 401, {"error": "invalid_client", "error_description": refusal.message}
        name = HTTPStatus(refusal.status).phrase.upper().replace(" ", "_")
        status, name, issue = _ISSUES.get(refusal.code, (refusal.status, name, refusal.code.upper()))
        detail = {"issue": issue, "description": refusal.message}
        detail |= {} if refusal.field is None else {"field": f"/{refusal.field}"}
        body = {"name": name, "message": refusal.message, "debug_id": secrets.token_hex(6)}
        return status, body | {"details": [detail], "links": []}

    def notices(self, occurrence: Occurrence, *, to_endpoint: bool) -> list[Notice]:
        types = _EVENTS.get(occurrence.event, ())
        if occurrence.event == "expired" and occurrence.was == "approved":
            types = (_APPROVAL_REVERSED,)
        return [self._notice(occurrence, name, number) for number, name in enumerate(types)]

    def _notice(self, occurrence: Occurrence, name: str, number: int) -> Notice:
        payment, back = occurrence.payment, occurrence.money_back
        kind, resource = "checkout-order", objects.render_order(payment, "")
        if name == _APPROVAL_REVERSED:
            resource = {"order_id": payment.reference, "purchase_units": resource["purchase_units"]}
        elif name.startswith("CUSTOMER.DISPUTE.") and back is not None:
            kind, resource = "dispute", objects.render_dispute(payment, back)
        elif back is not None:
            kind, resource = "refund", objects.render_refund(payment, back)
        elif name.startswith("PAYMENT.CAPTURE."):
            kind, resource = "capture", objects.render_single_capture(payment)
        body = {
            "id": f"WH-{occurrence.event_id.removeprefix('evt_').upper()}{number or ''}",
            "event_version": "1.0",
            "create_time": objects.render_time(payment.updated_at),
            "resource_type": kind,
            "event_type": name,
            "summary": name.replace(".", " ").capitalize(),
            "resource": resource,
            "links": [],
        }
        return Notice(name, body)

    def sign(self, unsigned: Unsigned) -> dict[str, str]:
        signer, headers = signer_of(_SIGNER), self.unsigned_headers(unsigned)
        moment, webhook_id = headers["PAYPAL-TRANSMISSION-TIME"], unsigned.secrets[0]
        text = f"{unsigned.webhook_id}|{moment}|{webhook_id}|{zlib.crc32(unsigned.body)}"
        signature = base64.b64encode(signer.sign(text.encode())).decode()
        url = f"{unsigned.own_url}/{self.name}/v1/notifications/certs/CERT-{signer.certificate_id}"
        return headers | {
            "PAYPAL-TRANSMISSION-SIG": signature,
            "PAYPAL-CERT-URL": url,
            "PAYPAL-AUTH-ALGO": "SHA256withRSA",
        }

    def unsigned_headers(self, unsigned: Unsigned) -> dict[str, str]:
        moment = timestamps.from_epoch(unsigned.timestamp)
        return {
            "PAYPAL-TRANSMISSION-ID": unsigned.webhook_id,
            "PAYPAL-TRANSMISSION-TIME": objects.render_time(moment),
        }

    def read_certificate(self, certificate_id: str) -> bytes:
        signer = signer_of(_SIGNER)
        if certificate_id != signer.certificate_id:
            raise Refusal(404, "not_found", "There is no such certificate")
        return signer.chain


def _read_money(amount: Mapping[str, Any]) -> tuple[int, str]:
    """Return minor units and currency of `{"currency_code", "value"}`."""
    try:
        currency = amounts.parse_currency(amount.get("currency_code"), "currency_code")
        minor = amounts.parse(amount.get("value"), currency, "value")
    except Refusal as refusal:
        raise read.refuse("amount", refusal.message) from None
    if currency in objects.WHOLE and "." in str(amount.get("value")):
        raise read.refuse("amount", f"{currency} has no decimals", "invalid_amount")
    return minor, currency


def _read_time(query: Mapping[str, str], name: str) -> str:
    try:
        return timestamps.parse(query.get(name), name)
    except Refusal as refusal:
        raise read.refuse(name, refusal.message) from None
