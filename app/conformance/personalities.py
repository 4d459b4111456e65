"""The providers that the sandbox emulates, with what is particular to each: of every adapter that Sluice brings."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import replace

from app.conformance.emulator import Traits
from app.conformance.sandbox_emulator import Personality
from app.local.emulated_accounts import EMULATED, NewAccount, new_standard_secret, with_key
from app.providers.credentials import API_KEY


def _mistake(render: Callable[[str], object], status: int = 400) -> Callable[[str], tuple[int, bytes]]:
    return lambda message: (status, json.dumps(render(message)).encode())


def _custom_account(api_key: str) -> NewAccount:
    call = json.dumps({"path": "/v1/payments", "method": "POST", "answer": {"reference": "reference"}})
    return NewAccount({API_KEY: api_key, "create_call": call}, api_key, new_standard_secret())


_SANDBOX = Personality(
    "sandbox",
    Traits(
        currency="USD",
        states=tuple(
            {"status": status, "received_amount": "25.00", "received_currency": "USD"}
            for status in ("open", "processing", "paid", "underpaid", "declined", "cancelled", "expired")
        ),
        unknown_state={"status": "melted"},
        mistake=_mistake(lambda message: {"error": {"code": "invalid_field", "message": message}}),
    ),
    new_account=lambda: with_key(f"key_{secrets.token_hex(16)}", new_standard_secret()),
    path="",
)
# The sandbox as an app of a tenant's own; its names are the sandbox's.
_CUSTOM = replace(
    _SANDBOX,
    new_account=lambda: _custom_account(f"key_{secrets.token_hex(16)}"),
)
_STRIPE = Personality(
    "stripe",
    Traits(
        currency="USD",
        # https://docs.stripe.com/api/checkout/sessions/object: no_payment_required is of sessions without an amount.
        states=(
            {"status": "open", "payment_status": "unpaid"},
            {"status": "complete", "payment_status": "unpaid"},
            {"status": "complete", "payment_status": "paid"},
            {"status": "expired", "payment_status": "unpaid"},
        ),
        unknown_state={"status": "melted"},
        mistake=_mistake(
            lambda message: {"error": {"type": "invalid_request_error", "message": message, "param": "success_url"}}
        ),
    ),
    new_account=EMULATED["stripe"],
    path="/stripe",
    live_change={"livemode": True},
)
_PAYSTACK = Personality(
    "paystack",
    Traits(
        currency="NGN",
        states=tuple(
            {"data.status": status}
            for status in (
                *("abandoned", "failed", "ongoing", "pending", "processing", "queued", "reversed", "success"),
            )
        ),
        unknown_state={"data.status": "melted"},
        mistake=_mistake(lambda message: {"status": False, "message": message, "code": "invalid_params"}),
    ),
    new_account=EMULATED["paystack"],
    path="/paystack",
    live_change={"data.domain": "live"},
)
_ADYEN = Personality(
    "adyen",
    Traits(
        currency="EUR",
        # CheckoutService-v71, PaymentLinkResponse.
        states=tuple({"status": each} for each in ("active", "completed", "expired", "paid", "paymentPending")),
        unknown_state={"status": "melted"},
        mistake=_mistake(
            lambda message: {"status": 422, "errorCode": "702", "message": message, "errorType": "validation"}, 422
        ),
    ),
    new_account=EMULATED["adyen"],
    path="/adyen",
    live_change={"live": "true"},
)
_RAZORPAY = Personality(
    "razorpay",
    Traits(
        currency="INR",
        states=tuple(
            {"status": status, "amount_paid": paid}
            for status, paid in (
                *(("created", 0), ("partially_paid", 100), ("paid", 2500), ("cancelled", 0), ("expired", 0)),
            )
        ),
        unknown_state={"status": "melted"},
        mistake=_mistake(
            lambda message: {"error": {"code": "BAD_REQUEST_ERROR", "description": message, "field": "callback_url"}}
        ),
    ),
    new_account=EMULATED["razorpay"],
    path="/razorpay",
)

_GOCARDLESS = Personality(
    "gocardless",
    Traits(
        currency="GBP",
        # The states of a billing request; fulfilled is read with its payment.
        states=tuple(
            {"billing_requests.status": status} for status in ("pending", "ready_to_fulfil", "fulfilling", "cancelled")
        ),
        unknown_state={"billing_requests.status": "melted"},
        mistake=_mistake(
            lambda message: {
                "error": {
                    "message": message,
                    "type": "validation_failed",
                    "code": 422,
                    "errors": [{"field": "redirect_uri", "message": message}],
                }
            },
            422,
        ),
    ),
    new_account=EMULATED["gocardless"],
    path="/gocardless",
)
_MOLLIE = Personality(
    "mollie",
    Traits(
        currency="EUR",
        # https://docs.mollie.com/reference/get-payment
        states=tuple(
            {"status": status} for status in ("open", "pending", "authorized", "paid", "canceled", "expired", "failed")
        ),
        unknown_state={"status": "melted"},
        mistake=_mistake(
            lambda message: {"status": 422, "title": "Unprocessable Entity", "detail": message, "field": "redirectUrl"},
            422,
        ),
    ),
    new_account=EMULATED["mollie"],
    path="/mollie",
    live_change={"_embedded.entity.mode": "live"},
)


_PAYPAL = Personality(
    "paypal",
    Traits(
        currency="USD",
        # https://developer.paypal.com/docs/api/orders/v2/#orders_get
        states=tuple(
            {"status": status} for status in ("CREATED", "SAVED", "APPROVED", "VOIDED", "PAYER_ACTION_REQUIRED")
        ),
        unknown_state={"status": "MELTED"},
        mistake=_mistake(
            lambda message: {"name": "INVALID_REQUEST", "details": [{"issue": "INVALID", "description": message}]}
        ),
        side_paths=("/v1/oauth2/token",),
    ),
    new_account=EMULATED["paypal"],
    path="/paypal",
)

# By the name of the adapter.
PERSONALITIES = {
    "adyen": _ADYEN,
    "custom": _CUSTOM,
    "gocardless": _GOCARDLESS,
    "mollie": _MOLLIE,
    "paypal": _PAYPAL,
    "paystack": _PAYSTACK,
    "razorpay": _RAZORPAY,
    "sandbox": _SANDBOX,
    "stripe": _STRIPE,
}
