"""Stripe: Checkout Sessions, refunds, disputes, and signed events."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from typing import Any, ClassVar

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
from sandbox.protocols.providers import stripe_objects as objects
from sandbox.protocols.request_parts import read_basic, read_form
from sandbox.values import fields as read
from sandbox.values import timestamps
from sandbox.values.refusal import Refusal

_VERSION = "2026-08-26.dahlia"
_REFERENCE_BYTES = 16
_SHORTEST_LIFE_SECONDS = 30 * 60
_LONGEST_LIFE_SECONDS = 24 * 3600
# A request takes a moment to arrive, which counts in neither bound.
_SLACK_SECONDS = 60
_LARGEST_AMOUNT = 99_999_999
_LONGEST_REFERENCE = 200

# https://docs.stripe.com/currencies: these have no minor units, although some have in ISO 4217.
_ZERO = ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF")
# Whole amounts that are sent with two digits all the same.
_TWO = ("ISK", "UGX")
# Sent with three digits, of which the last must be 0.
_TENS = frozenset(("BHD", "JOD", "KWD", "OMR", "TND"))

# By event: Stripe's names of it, and which object each shows.
_EVENTS: dict[Event, tuple[tuple[str, str], ...]] = {
    "success": (("checkout.session.completed", "session"),),
    "failed": (("checkout.session.async_payment_failed", "session"),),
    "cancelled": (("checkout.session.expired", "session"),),
    "expired": (("checkout.session.expired", "session"),),
    "processing": (("checkout.session.completed", "session"),),
    "attempt_failed": (("payment_intent.payment_failed", "intent"),),
    "refunded": (("refund.created", "refund"), ("charge.refunded", "charge")),
    "refund_failed": (("refund.failed", "refund"),),
    "disputed": (("charge.dispute.created", "dispute"), ("charge.dispute.funds_withdrawn", "dispute")),
    "dispute_won": (("charge.dispute.funds_reinstated", "dispute"), ("charge.dispute.closed", "dispute")),
    "dispute_lost": (("charge.dispute.closed", "dispute"),),
    "stray": (("product.updated", "product"),),
}
_SETTLED_LATER = (("checkout.session.async_payment_succeeded", "session"),)
# By the sandbox's code: status, type and code of Stripe's error.
_ERRORS = {
    "unauthenticated": (401, "invalid_request_error", None),
    "not_found": (404, "invalid_request_error", "resource_missing"),
    "idempotency_mismatch": (400, "idempotency_error", None),
    "wrong_state": (400, "invalid_request_error", None),
    "already_captured": (400, "invalid_request_error", None),
    "refund_too_large": (400, "invalid_request_error", None),
    "charge_already_refunded": (400, "invalid_request_error", "charge_already_refunded"),
    "invalid_amount": (400, "invalid_request_error", "parameter_invalid_integer"),
    "invalid_field": (400, "invalid_request_error", "parameter_invalid"),
}
_FIELDS = {"refund_too_large": "amount"}
_BY_STATUS = {402: ("card_error", "card_declined"), 429: ("invalid_request_error", "rate_limit")}
_PARAMETERS = frozenset(
    (
        *("mode", "line_items", "success_url", "cancel_url", "client_reference_id", "metadata", "payment_intent_data"),
        *("expires_at", "customer_email", "locale", "payment_method_types", "submit_type", "expand", "ui_mode"),
    )
)


class StripeProtocol(EmulatedProtocol):
    """What the sandbox speaks at `/stripe/v1`."""

    name = "stripe"
    title = "Stripe"
    decline_ends = False
    cancel_ends = False
    calls = (
        EmulatedCall("POST", "/v1/checkout/sessions", Call.CREATE),
        EmulatedCall("GET", "/v1/checkout/sessions", Call.LIST),
        EmulatedCall("GET", "/v1/checkout/sessions/<payment_id>", Call.FETCH),
        EmulatedCall("POST", "/v1/checkout/sessions/<payment_id>/expire", Call.CANCEL),
        EmulatedCall("POST", "/v1/refunds", Call.REFUND),
        EmulatedCall("GET", "/v1/refunds", Call.LIST_REFUNDS),
        EmulatedCall("GET", "/v1/refunds/<refund_id>", Call.FETCH_REFUND),
        EmulatedCall("GET", "/v1/disputes", Call.LIST_DISPUTES),
        EmulatedCall("POST", "/v1/webhook_endpoints", Call.CONNECT),
        EmulatedCall("GET", "/v1/webhook_endpoints/<endpoint_id>", Call.FETCH_ENDPOINT),
        EmulatedCall("GET", "/v1/account", Call.CHECK),
    )
    replay_headers: ClassVar[Mapping[str, str]] = {"Idempotent-Replayed": "true"}
    exponents: ClassVar[Mapping[str, int]] = dict.fromkeys(_ZERO, 0) | dict.fromkeys(_TWO, 2)
    refund_codes: ClassVar[Mapping[str, str]] = {"wrong_state": "charge_already_refunded"}
    key_prefixes = ("sk_test_", "rk_test_")

    def new_reference(self) -> str:
        return objects.SESSION + secrets.token_hex(_REFERENCE_BYTES)

    def read_key(self, headers: Mapping[str, str]) -> str | None:
        basic = read_basic(headers)
        return super().read_key(headers) if basic is None else basic.partition(":")[0]

    def read_body(self, raw: bytes, content_type: str) -> dict[str, Any]:
        return read_form(raw)

    def read_order(self, fields: dict[str, Any]) -> PaymentOrder:
        for name in fields:
            if name not in _PARAMETERS:
                raise read.refuse(name, f"Received unknown parameter: {name}", "parameter_unknown")
        if fields.get("mode") != "payment":
            raise read.refuse("mode", "The sandbox takes mode=payment only.")
        amount, currency = self._read_items(read.table(fields, "line_items"))
        own = read.text(fields, "client_reference_id", _LONGEST_REFERENCE)
        metadata = read.texts(fields, "metadata")
        intent = read.texts(read.table(fields, "payment_intent_data"), "metadata")
        return PaymentOrder(
            amount_minor=amount,
            currency=currency,
            merchant_reference=own or metadata.get("payment_id") or read.unnamed(),
            success_url=read.url(fields, "success_url", needed=True),
            failure_url=read.url(fields, "cancel_url"),
            callback_urls={},
            metadata=metadata,
            expires_at=_read_expiry(fields),
            request={"client_reference_id": own, "intent_metadata": intent, "email": fields.get("customer_email")},
        )

    def _read_items(self, items: dict[str, Any]) -> tuple[int, str]:
        """Return the total and the currency of the line items; each has its price with it."""
        total, currencies = 0, set()
        for number in items:
            item = read.table(items, number)
            price = read.table(item, "price_data")
            if not read.table(price, "product_data").get("name"):
                raise read.refuse(f"line_items[{number}]", "The sandbox needs price_data with product_data[name].")
            currencies.add(str(price.get("currency", "")).upper())
            quantity = read.number(item, "quantity", None, _LARGEST_AMOUNT)
            total += quantity * read.number(price, "unit_amount", None, _LARGEST_AMOUNT)
        if len(currencies) != 1 or total > _LARGEST_AMOUNT:
            raise read.refuse("line_items", "The line items must have one currency and a total of 1 to 99999999.")
        (currency,) = currencies
        if not currency.isalpha() or len(currency) != 3:
            raise read.refuse("line_items[0][price_data][currency]", f"Invalid currency: {currency.lower()}.")
        if currency in _TENS and total % 10:
            raise read.refuse("line_items", f"The total must end in 0 in {currency}.", "parameter_invalid_integer")
        return self.to_minor(total, currency), currency

    def render(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        return objects.session(payment, redirect_url, self.of_minor)

    def name_payment(self, text: str) -> tuple[str, str]:
        """Name a payment by session, payment intent or charge, which share their digits."""
        return "reference", objects.SESSION + text.rpartition("_")[2]

    def read_query(self, query: Mapping[str, str]) -> PageQuery:
        return PageQuery(
            limit=read.number(query, "limit", 10, 100),
            start=query.get("starting_after"),
            after=read.epoch(query, "created[gte]"),
            before=read.epoch(query, "created[lt]"),
        )

    def render_list(self, query: PageQuery, page: Page) -> dict[str, Any]:
        return objects.page("/v1/checkout/sessions", page.rows, has_more=page.following is not None)

    def read_refund(self, fields: dict[str, Any], payment: str | None) -> RefundOrder:
        target = fields.get("payment_intent") or fields.get("charge")
        if not isinstance(target, str):
            raise read.refuse("payment_intent", "One of charge or payment_intent is needed.", "parameter_missing")
        amount = None if fields.get("amount") is None else read.number(fields, "amount", None, _LARGEST_AMOUNT)
        return RefundOrder(target, amount, {"metadata": read.texts(fields, "metadata"), "reason": fields.get("reason")})

    def render_refund(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        return objects.refund(payment, back, self.of_minor)

    def refunds_of(self, query: Mapping[str, str]) -> str | None:
        return query.get("payment_intent") or query.get("charge")

    def render_refunds(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return objects.page("/v1/refunds", rows, has_more=False)

    def render_dispute(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        return objects.dispute(payment, back, self.of_minor)

    def render_disputes(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return objects.page("/v1/disputes", rows, has_more=False)

    def read_endpoint(self, fields: dict[str, Any]) -> EndpointOrder:
        events = [str(event) for event in read.table(fields, "enabled_events").values()]
        if not events:
            raise read.refuse("enabled_events", "Missing required param: enabled_events.", "parameter_missing")
        return EndpointOrder(read.url(fields, "url", needed=True) or "", "*" if "*" in events else " ".join(events))

    def render_endpoint(self, endpoint_id: str, order: EndpointOrder, secret: str) -> dict[str, Any]:
        return {
            "id": f"we_{endpoint_id}",
            "object": "webhook_endpoint",
            "api_version": _VERSION,
            "enabled_events": order.events.split(),
            "livemode": False,
            "metadata": {},
            "secret": secret,
            "status": "enabled",
            "url": order.url,
        }

    def check(self, merchant: str) -> dict[str, Any]:
        return {"id": "acct_sandbox", "object": "account", "charges_enabled": True, "email": f"{merchant}@example.com"}

    def error(self, refusal: Refusal) -> tuple[int, dict[str, Any]]:
        kind, code = _BY_STATUS.get(refusal.status, ("invalid_request_error", refusal.code))
        if refusal.status >= 500:
            kind = "api_error"
        status, kind, known = _ERRORS.get(refusal.code, (refusal.status, kind, code))
        error = {
            "type": kind,
            "code": known,
            "message": refusal.message,
            "param": refusal.field or _FIELDS.get(refusal.code),
        }
        return status, {"error": {name: value for name, value in error.items() if value is not None}}

    def notices(self, occurrence: Occurrence, *, to_endpoint: bool) -> list[Notice]:
        """Return the events of an occurrence, each with its object as it is now."""
        is_late = occurrence.event == "success" and occurrence.was == "processing"
        named = _SETTLED_LATER if is_late else _EVENTS[occurrence.event]
        return [self._notice(occurrence, *each, index) for index, each in enumerate(named)]

    def _notice(self, occurrence: Occurrence, event_type: str, shows: str, index: int) -> Notice:
        shown = self._object(occurrence, shows)
        body = {
            # One occurrence may be several events.
            "id": f"{occurrence.event_id}{index or ''}",
            "object": "event",
            "api_version": _VERSION,
            "created": timestamps.to_epoch(occurrence.payment.updated_at),
            "data": {"object": shown},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": event_type,
        }
        return Notice(event_type, body)

    def _object(self, occurrence: Occurrence, shows: str) -> dict[str, Any]:
        payment, back = occurrence.payment, occurrence.money_back
        if shows == "session":
            return objects.session(payment, "", self.of_minor) | {"url": None}
        if shows == "intent":
            return objects.intent(payment, self.of_minor)
        if shows == "charge":
            return objects.charge(payment, self.of_minor)
        if back is None:
            return {"id": "prod_sandbox", "object": "product", "livemode": False}
        return self.render_refund(payment, back) if shows == "refund" else self.render_dispute(payment, back)

    def sign(self, unsigned: Unsigned) -> dict[str, str]:
        """Sign with every secret: while one is being replaced, both are good."""
        signed = str(unsigned.timestamp).encode() + b"." + unsigned.body
        made = (hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in unsigned.secrets)
        parts = [f"t={unsigned.timestamp}", *(f"v1={signature}" for signature in made)]
        return {"Stripe-Signature": ",".join(parts)}

    def fill_url(self, url: str, payment: ProviderPayment) -> str:
        return url.replace("{CHECKOUT_SESSION_ID}", payment.reference)


def _read_expiry(fields: dict[str, Any]) -> str:
    """Return when the session ends: as asked, 30 minutes to 24 hours from now, or after 24 hours."""
    now = int(time.time())
    latest = now + _LONGEST_LIFE_SECONDS
    at = read.number(fields, "expires_at", latest, 10**11)
    if not now + _SHORTEST_LIFE_SECONDS - _SLACK_SECONDS <= at <= latest + _SLACK_SECONDS:
        raise read.refuse("expires_at", "expires_at must be 30 minutes to 24 hours from now")
    return timestamps.from_epoch(at)
