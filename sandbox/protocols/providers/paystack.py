"""Paystack: transactions named by the merchant's reference, refunds, disputes, and events signed with the API key.

Events about refunds have no id of the refund, and its amount as text. Read in no document: the status that an unknown
reference is answered with (404 here, as the published specification has it).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Any

from sandbox.protocols.emulated import Call, EmulatedCall, EmulatedProtocol, Page, PageQuery, RefundOrder
from sandbox.protocols.orders import PaymentOrder
from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.protocols.protocol import FORM, Event, Notice, Occurrence, Unsigned
from sandbox.protocols.providers import paystack_objects as objects
from sandbox.protocols.request_parts import read_form
from sandbox.values import amounts, json_input, timestamps
from sandbox.values import fields as read
from sandbox.values.refusal import Refusal

# 48 bits: the digits are the transaction's number, which JSON carries exactly.
_REFERENCE_BYTES = 6
_CURRENCIES = frozenset(("GHS", "KES", "NGN", "USD", "ZAR"))
_REFERENCE = re.compile(r"[A-Za-z0-9.=-]{1,100}", re.ASCII)
_LONGEST_TEXT = 255
_MOST_PAGES = 10**6

# Paystack says nothing of attempts that failed, and nothing of transactions that nobody paid.
_EVENTS: dict[Event, str] = {
    "success": "charge.success",
    "refunded": "refund.processed",
    "refund_failed": "refund.failed",
    "disputed": "charge.dispute.create",
    "dispute_won": "charge.dispute.resolve",
    "dispute_lost": "charge.dispute.resolve",
    "stray": "customeridentification.success",
}
# By the sandbox's code: status and code of Paystack's error.
_ERRORS = {
    "unauthenticated": (401, "invalid_Key"),
    "not_found": (404, "transaction_not_found"),
    "duplicate_reference": (400, "duplicate_reference"),
    "wrong_state": (400, "invalid_params"),
    "refund_too_large": (400, "invalid_params"),
    "invalid_amount": (400, "invalid_params"),
    "invalid_field": (400, "invalid_params"),
}


class PaystackProtocol(EmulatedProtocol):
    """What the sandbox speaks at `/paystack`."""

    name = "paystack"
    title = "Paystack"
    decline_ends = False
    cancel_ends = False
    is_reference_unique = True
    refunds_at_once = False
    key_prefixes = ("sk_test_",)
    calls = (
        EmulatedCall("POST", "/transaction/initialize", Call.CREATE),
        EmulatedCall("GET", "/transaction/verify/<payment_id>", Call.FETCH),
        EmulatedCall("GET", "/transaction", Call.LIST),
        EmulatedCall("POST", "/refund", Call.REFUND),
        EmulatedCall("GET", "/refund", Call.LIST_REFUNDS),
        EmulatedCall("GET", "/refund/<refund_id>", Call.FETCH_REFUND),
        EmulatedCall("GET", "/dispute", Call.LIST_DISPUTES),
        EmulatedCall("GET", "/balance", Call.CHECK),
    )

    def new_reference(self) -> str:
        return objects.PREFIX + secrets.token_hex(_REFERENCE_BYTES)

    def new_secret(self) -> str:
        return "sk_test_" + secrets.token_hex(20)

    def default_secret(self, api_key: str) -> str:
        return api_key

    def idempotency_key(self, headers: Mapping[str, str]) -> None:
        """Return nothing: Paystack has no such keys."""

    def read_body(self, raw: bytes, content_type: str) -> dict[str, Any]:
        return read_form(raw) if content_type.startswith(FORM) else json_input.read_object(raw)

    def read_order(self, fields: dict[str, Any]) -> PaymentOrder:
        email = read.text(fields, "email", _LONGEST_TEXT, needed=True) or ""
        if "@" not in email:
            raise read.refuse("email", "Invalid Email Address Passed")
        currency = fields.get("currency") or "NGN"
        if currency not in _CURRENCIES:
            raise read.refuse("currency", "Currency not supported by merchant", "unsupported_currency")
        reference = read.text(fields, "reference", _LONGEST_TEXT)
        if reference is not None and not _REFERENCE.fullmatch(reference):
            raise read.refuse("reference", "Only -, ., = and alphanumeric characters are allowed")
        metadata = fields.get("metadata")
        back = read.url(fields, "callback_url")
        return PaymentOrder(
            amount_minor=read.number(fields, "amount", None, amounts.MAX_MINOR),
            currency=currency,
            merchant_reference=reference or read.unnamed(),
            success_url=back,
            failure_url=back,
            callback_urls={},
            metadata={k: v for k, v in metadata.items() if isinstance(v, str)} if isinstance(metadata, dict) else {},
            expires_at=None,
            request={"email": email, "metadata": metadata},
        )

    def created(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        access = {"access_code": payment.reference, "reference": payment.merchant_reference}
        return _answer("Authorization URL created", {"authorization_url": redirect_url, **access})

    def render(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        return _answer("Verification successful", objects.transaction(payment))

    def render_listed(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        return objects.transaction(payment)

    def name_payment(self, text: str) -> tuple[str, str]:
        """Name a payment by Paystack's number, or by the merchant's reference."""
        if text.isascii() and text.isdigit() and len(text) < 18:
            return "reference", f"{objects.PREFIX}{int(text):0{2 * _REFERENCE_BYTES}x}"
        return "merchant_reference", text

    def read_query(self, query: Mapping[str, str]) -> PageQuery:
        limit = read.number(query, "perPage" if "perPage" in query else "per_page", 50, 100)
        page = read.number(query, "page", 1, _MOST_PAGES)
        return PageQuery(
            limit=limit,
            start=query.get("next"),
            start_included=True,
            after=_read_time(query, "from"),
            before=_read_time(query, "to"),
            offset=(page - 1) * limit,
        )

    def render_list(self, query: PageQuery, page: Page) -> dict[str, Any]:
        seen = query.offset + len(page.rows)
        meta = {
            "next": page.following,
            "previous": None,
            "total": seen + (page.following is not None),
            "total_volume": sum(row["amount"] for row in page.rows),
            "skipped": query.offset,
            "perPage": query.limit,
            "page": query.offset // query.limit + 1,
            "pageCount": query.offset // query.limit + 1 + (page.following is not None),
        }
        return _answer("Transactions retrieved", page.rows) | {"meta": meta}

    def read_refund(self, fields: dict[str, Any], payment: str | None) -> RefundOrder:
        amount = None if fields.get("amount") is None else read.number(fields, "amount", None, amounts.MAX_MINOR)
        notes = {name: read.text(fields, name, _LONGEST_TEXT) for name in ("merchant_note", "customer_note")}
        return RefundOrder(str(fields.get("transaction")), amount, notes)

    def render_refund(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        return objects.refund(payment, back)

    def answer_refund(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        shown = self.render_refund(payment, back) | {"transaction": objects.transaction(payment)}
        return _answer("Refund has been queued for processing", shown)

    def refund_token(self, refund_id: str) -> str:
        return f"{int(refund_id):012x}" if refund_id.isascii() and refund_id.isdigit() else refund_id

    def refunds_of(self, query: Mapping[str, str]) -> str | None:
        return query.get("transaction") or query.get("reference")

    def render_refunds(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return _answer("Refunds retrieved", rows)

    def render_dispute(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        return objects.dispute(payment, back)

    def render_disputes(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return _answer("Disputes retrieved", rows)

    def check(self, merchant: str) -> dict[str, Any]:
        return _answer("Balances retrieved", [{"currency": "NGN", "balance": 0}])

    def error(self, refusal: Refusal) -> tuple[int, dict[str, Any]]:
        status, code = _ERRORS.get(refusal.code, (refusal.status, refusal.code))
        kind = "api_error" if status >= 500 else "validation_error"
        return status, {"status": False, "message": refusal.message, "meta": {}, "type": kind, "code": code}

    def notices(self, occurrence: Occurrence, *, to_endpoint: bool) -> list[Notice]:
        event = _EVENTS.get(occurrence.event)
        if event is None:
            return []
        payment, back = occurrence.payment, occurrence.money_back
        if back is None:
            data = objects.transaction(payment)
        elif back.kind == "refund":
            data = objects.refund_in_event(payment, back)
        else:
            data = self.render_dispute(payment, back)
        return [Notice(event, {"event": event, "data": data})]

    def sign(self, unsigned: Unsigned) -> dict[str, str]:
        """Sign with the API key, of which there is one."""
        made = hmac.new(unsigned.secrets[0].encode(), unsigned.body, hashlib.sha512).hexdigest()
        return {"x-paystack-signature": made}

    def return_query(self, payment: ProviderPayment) -> dict[str, str]:
        return dict.fromkeys(("trxref", "reference"), payment.merchant_reference)


def _answer(message: str, data: Any) -> dict[str, Any]:
    return {"status": True, "message": message, "data": data}


def _read_time(query: Mapping[str, str], name: str) -> str | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return timestamps.parse(text if "T" in text else f"{text}T00:00:00Z", name)
    except Refusal as refusal:
        raise read.refuse(name, refusal.message) from None
