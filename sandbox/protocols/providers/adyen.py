"""Adyen: payment links, refunds, and standard notifications whose items are signed one by one.

Read in no document: how an idempotency key that comes with other parameters is answered. An API key does not say
whether it is a test's, so any that has Adyen's form is taken. Adyen has no call that lists payments.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

from sandbox.protocols.emulated import Call, EmulatedCall, EmulatedProtocol, RefundOrder
from sandbox.protocols.endpoints import EndpointOrder
from sandbox.protocols.orders import PaymentOrder
from sandbox.protocols.payment import MoneyBack, ProviderPayment
from sandbox.protocols.protocol import Event, Notice, Occurrence, Unsigned
from sandbox.values import amounts, timestamps
from sandbox.values import fields as read
from sandbox.values.refusal import Refusal

_LINK, _WEBHOOK = "PL", "WBHK"
_REFERENCE_BYTES = 8
_KEY_BYTES = 32
_LONGEST_REFERENCE = 80
_LONGEST_LIFE_SECONDS = 70 * 86_400
_DEFAULT_LIFE_SECONDS = 86_400

_STATUS = {
    "open": "active",
    "processing": "paymentPending",
    **dict.fromkeys(("paid", "underpaid"), "completed"),
    **dict.fromkeys(("cancelled", "expired"), "expired"),
}
# By event: the event codes, and whether each succeeded.
_EVENTS: dict[Event, tuple[tuple[str, bool], ...]] = {
    "success": (("AUTHORISATION", True),),
    "failed": (("AUTHORISATION", False),),
    "attempt_failed": (("AUTHORISATION", False),),
    "processing": (("PENDING", True),),
    "cancelled": (("OFFER_CLOSED", True),),
    "expired": (("OFFER_CLOSED", True),),
    "refunded": (("REFUND", True),),
    "refund_failed": (("REFUND_FAILED", True),),
    "refund_refused": (("REFUND", False),),
    "disputed": (("NOTIFICATION_OF_CHARGEBACK", True), ("CHARGEBACK", True)),
    "dispute_won": (("CHARGEBACK_REVERSED", True),),
    "dispute_lost": (("DISPUTE_DEFENSE_PERIOD_ENDED", True),),
    "stray": (("REPORT_AVAILABLE", True),),
}
# By the sandbox's code: status, error code and type of Adyen's error.
_ERRORS = {
    "unauthenticated": (401, "000", "security"),
    "not_found": (404, "158", "validation"),
    "idempotency_mismatch": (422, "704", "validation"),
    "wrong_state": (422, "167", "validation"),
    "already_captured": (422, "167", "validation"),
    "refund_too_large": (422, "137", "validation"),
    "invalid_amount": (422, "137", "validation"),
    "invalid_field": (422, "702", "validation"),
}


class AdyenProtocol(EmulatedProtocol):
    """What the sandbox speaks at `/adyen/v71`."""

    name = "adyen"
    title = "Adyen"
    decline_ends = False
    cancel_ends = False
    refunds_at_once = False
    refuses_refunds_later = True
    created_status = 201
    refunded_status = 201
    calls = (
        EmulatedCall("POST", "/v71/paymentLinks", Call.CREATE),
        EmulatedCall("GET", "/v71/paymentLinks/<payment_id>", Call.FETCH),
        EmulatedCall("PATCH", "/v71/paymentLinks/<payment_id>", Call.CANCEL),
        EmulatedCall("POST", "/v71/payments/<payment_id>/refunds", Call.REFUND),
        EmulatedCall("POST", "/v71/paymentMethods", Call.CHECK),
        EmulatedCall("POST", "/v3/merchants/<account>/webhooks", Call.CONNECT),
        EmulatedCall("GET", "/v3/merchants/<account>/webhooks", Call.LIST_ENDPOINTS),
        EmulatedCall("POST", "/v3/merchants/<account>/webhooks/<endpoint_id>/generateHmac", Call.RENEW_SECRET),
    )
    exponents: ClassVar[Mapping[str, int]] = {"CVE": 0, "IDR": 0, "CLP": 2, "ISK": 2}
    key_prefixes = ("AQE",)

    def new_reference(self) -> str:
        return _LINK + secrets.token_hex(_REFERENCE_BYTES).upper()

    def new_secret(self) -> str:
        return secrets.token_hex(_KEY_BYTES).upper()

    def check_account(self, api_key: str, secret: str) -> None:
        super().check_account(api_key, secret)
        try:
            bytes.fromhex(secret)
        except ValueError:
            raise Refusal(422, "invalid_field", "webhook_secret must be hexadecimal") from None

    def read_key(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("X-Api-Key")

    def read_order(self, fields: dict[str, Any]) -> PaymentOrder:
        amount, currency = self._read_amount(fields)
        metadata = read.texts(fields, "metadata")
        back = read.url(fields, "returnUrl")
        account = read.text(fields, "merchantAccount", _LONGEST_REFERENCE, needed=True)
        return PaymentOrder(
            amount_minor=amount,
            currency=currency,
            merchant_reference=read.text(fields, "reference", _LONGEST_REFERENCE, needed=True) or "",
            success_url=back,
            failure_url=back,
            callback_urls={},
            metadata=metadata,
            expires_at=_read_expiry(fields),
            request={"merchantAccount": account, "description": fields.get("description")},
        )

    def _read_amount(self, fields: Mapping[str, Any]) -> tuple[int, str]:
        amount = read.table(fields, "amount")
        try:
            currency = amounts.parse_currency(amount.get("currency"))
        except Refusal:
            raise read.refuse("amount.currency", "Unsupported currency specified") from None
        return self.to_minor(read.number(amount, "value", None, amounts.MAX_MINOR), currency), currency

    def render(self, payment: ProviderPayment, redirect_url: str) -> dict[str, Any]:
        return {
            "id": payment.reference,
            "amount": self._amount(payment.amount_minor, payment.currency),
            "description": payment.request.get("description"),
            "expiresAt": _time(payment.expires_at or payment.created_at),
            "merchantAccount": payment.request.get("merchantAccount"),
            "metadata": payment.metadata,
            "reference": payment.merchant_reference,
            "returnUrl": payment.success_url,
            "status": _status(payment),
            "updatedAt": _time(payment.updated_at),
            "url": redirect_url,
        }

    def _amount(self, minor: int, currency: str) -> dict[str, Any]:
        return {"currency": currency, "value": self.of_minor(minor, currency)}

    def name_payment(self, text: str) -> tuple[str, str]:
        """Name a payment by its link or by its psp reference, which share their digits."""
        return "reference", _LINK + text.removeprefix(_LINK)

    def read_refund(self, fields: dict[str, Any], payment: str | None) -> RefundOrder:
        read.text(fields, "merchantAccount", _LONGEST_REFERENCE, needed=True)
        words = {"reference": read.text(fields, "reference", _LONGEST_REFERENCE)}
        return RefundOrder(str(payment), read.table(fields, "amount"), words)

    def read_amount(self, value: Any, currency: str) -> int:
        minor, named = self._read_amount({"amount": value})
        if named != currency:
            raise read.refuse("amount.currency", f"The payment is in {currency}")
        return minor

    def render_refund(self, payment: ProviderPayment, back: MoneyBack) -> dict[str, Any]:
        return {
            "merchantAccount": payment.request.get("merchantAccount"),
            "paymentPspReference": _psp(payment.reference),
            "pspReference": _psp(back.token),
            "reference": back.request.get("reference"),
            "status": "received",
            "amount": self._amount(back.amount_minor, back.currency),
        }

    def read_endpoint(self, fields: dict[str, Any]) -> EndpointOrder:
        for name, wanted in (("type", "standard"), ("communicationFormat", "json"), ("active", True)):
            if fields.get(name) != wanted:
                raise read.refuse(name, f"this sandbox knows only {wanted} for {name}")
        return EndpointOrder(read.url(fields, "url", needed=True) or "", "*")

    def render_endpoint(self, endpoint_id: str, order: EndpointOrder, secret: str) -> dict[str, Any]:
        shown = {"type": "standard", "communicationFormat": "json", "active": True}
        return {"id": _WEBHOOK + endpoint_id, "url": order.url, **shown}

    def endpoint_token(self, shown_id: str) -> str:
        return shown_id.removeprefix(_WEBHOOK)

    def render_endpoints(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {"itemsTotal": len(rows), "pagesTotal": 1, "data": rows}

    def render_new_secret(self, secret: str) -> dict[str, Any]:
        return {"hmacKey": secret}

    def check(self, merchant: str) -> dict[str, Any]:
        return {"paymentMethods": []}

    def error(self, refusal: Refusal) -> tuple[int, dict[str, Any]]:
        kind = "internal" if refusal.status >= 500 else "validation"
        status, code, kind = _ERRORS.get(refusal.code, (refusal.status, "905", kind))
        return status, {"status": status, "errorCode": code, "message": refusal.message, "errorType": kind}

    def notices(self, occurrence: Occurrence, *, to_endpoint: bool) -> list[Notice]:
        """Return one notification for each event code."""
        found = _EVENTS.get(occurrence.event, ())
        return [Notice(code, _notification([self._item(occurrence, code, success)])) for code, success in found]

    def _item(self, occurrence: Occurrence, code: str, success: bool) -> dict[str, Any]:
        payment, back = occurrence.payment, occurrence.money_back
        minor, currency = payment.received_minor or payment.amount_minor, payment.received_currency or payment.currency
        psp, original = _psp(payment.reference), {}
        if back is not None:
            minor, currency = back.amount_minor, back.currency
            psp, original = _psp(back.token), {"originalReference": psp}
        elif not success:
            # Each attempt has a reference of its own.
            psp = _psp(hashlib.sha256(f"{psp}{payment.updated_at}".encode()).hexdigest())
        named = back is not None and back.kind == "refund" and back.request.get("reference")
        return {
            "additionalData": {"paymentLinkId": payment.reference},
            "amount": self._amount(minor, currency),
            "eventCode": code,
            "eventDate": _time(payment.updated_at),
            "merchantAccountCode": payment.request.get("merchantAccount"),
            "merchantReference": named or payment.merchant_reference,
            "paymentMethod": "visa",
            "pspReference": psp,
            "reason": "" if success else "Refused",
            "success": "true" if success else "false",
        } | original

    def join(self, bodies: list[bytes]) -> bytes:
        """Return several notifications as one of several items."""
        items = [item["NotificationRequestItem"] for body in bodies for item in json.loads(body)["notificationItems"]]
        return json.dumps(_notification(items), ensure_ascii=False, separators=(",", ":")).encode()

    def seal(self, unsigned: Unsigned) -> bytes:
        """Return the notification with the signature of each item in it."""
        try:
            body = json.loads(unsigned.body)
        except ValueError:
            return unsigned.body
        for wrapped in body["notificationItems"]:
            item = wrapped["NotificationRequestItem"]
            signed = ":".join(str(each) for each in _signed_fields(item)).encode()
            made = hmac.new(bytes.fromhex(unsigned.secrets[0]), signed, hashlib.sha256).digest()
            item["additionalData"]["hmacSignature"] = base64.b64encode(made).decode()
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

    def sign(self, unsigned: Unsigned) -> dict[str, str]:
        """Return no headers: the signatures are in the body."""
        return {}


def _notification(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"live": "false", "notificationItems": [{"NotificationRequestItem": item} for item in items]}


def _signed_fields(item: Mapping[str, Any]) -> list[Any]:
    amount = item.get("amount") or {}
    names = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference")
    money = [amount.get("value", ""), amount.get("currency", "")]
    return [item.get(name, "") for name in names] + money + [item.get("eventCode", ""), item.get("success", "")]


def _psp(text: str) -> str:
    return text.removeprefix(_LINK).upper().ljust(2 * _REFERENCE_BYTES, "0")[: 2 * _REFERENCE_BYTES]


def _status(payment: ProviderPayment) -> str:
    """Return the link's status; a payer whose slow method has failed may pay in another way while the link lives."""
    if payment.status == "declined":
        return "expired" if (payment.expires_at or payment.created_at) <= timestamps.now() else "active"
    return _STATUS.get(payment.status, payment.status)


def _time(stored: str) -> str:
    return stored.partition(".")[0] + "+00:00"


def _read_expiry(fields: Mapping[str, Any]) -> str:
    """Return when the link ends: as asked, at most 70 days from now, or after a day."""
    now = timestamps.to_seconds(timestamps.now())
    asked = fields.get("expiresAt")
    if asked is None:
        return timestamps.from_epoch(now + _DEFAULT_LIFE_SECONDS)
    try:
        at = timestamps.parse(asked, "expiresAt")
    except Refusal as refusal:
        raise read.refuse("expiresAt", refusal.message) from None
    if not now < timestamps.to_seconds(at) <= now + _LONGEST_LIFE_SECONDS:
        raise read.refuse("expiresAt", "expiresAt must be within 70 days")
    return at
